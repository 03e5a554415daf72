"""Options of VAE-GAN."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from genmorph.models.options.adversarial import EncodingOptions


class VAEGANOptions(EncodingOptions):
    """The VAE-GAN of Larsen et al. (2015) in three dimensions (baseline of P2).

    Notes
    -----
    From the released code of Kwon et al. (2019): distances of reconstructions are squared
    differences of voxels, where Larsen et al. compare features of the discriminator; the generator
    wants the discriminator's cross-entropy to be large; KL is a mean over code numbers; Adam with
    rate 0.0001, batches of 4.
    """

    head_channels: PositiveInt = Field(
        2048, description="hidden channels between encoder and mean or variance of a code"
    )
    generator_reconstruction_weight: float = Field(
        20.0, ge=0, description="of reconstructions in the loss of the generator (γ)"
    )
    encoder_reconstruction_weight: float = Field(
        10.0, ge=0, description="of reconstructions in the loss of the encoder (β)"
    )
    adversarial_weight: float = Field(
        1.0, ge=0, description="of what the critic says in the loss of the generator"
    )
