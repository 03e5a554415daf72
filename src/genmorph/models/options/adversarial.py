"""What the options of the adversarial models have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from genmorph.models.options.base import ModelOptions

Channels = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class AdversarialOptions(ModelOptions):
    """A generator of volumes and a critic of volumes, as in the code of Kwon et al. (2019).

    Notes
    -----
    The released networks halve 64x64x64 voxels four times. On another grid, more `channels` halve
    more often, and the last convolution covers what the halvings leave: 5x6x5 at P1's size.
    """

    latent_size: int = Field(1000, ge=1, description="numbers of a code")
    channels: Channels = Field(
        (64, 128, 256, 512),
        description="hidden channels from fine to coarse; as many as the grid is halved",
    )
    normalisation: Literal["batch", "instance", "none"] = Field(
        "batch", description="in encoder and generator"
    )
    critic_normalisation: Literal["batch", "instance", "none"] = Field(
        "batch",
        description="in the critic; batch is the released code's, though a gradient penalty is "
        "meant for one volume alone",
    )
    negative_slope: float = Field(0.2, ge=0, description="of the leaky rectifiers")
    generator_start: Literal["grey", "training_mean"] = Field(
        "grey",
        description="what a generator of weight zero puts out; the training mean, which no paper "
        "starts from, lets a very short run show brains",
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the mean image of the training scans is used."""
        return self.generator_start != "grey"


class EncodingOptions(AdversarialOptions):
    """An adversarial model that encodes too."""

    encoder_input: Literal["volume", "difference_from_mean"] = Field(
        "volume", description="what the encoder sees; the difference lacks what all scans share"
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the mean image of the training scans is used."""
        return self.encoder_input == "difference_from_mean" or super().starts_from_mean


class CodeCriticOptions(EncodingOptions):
    """An adversarial autoencoder with a critic of codes: α-GAN and αWGAN."""

    code_channels: PositiveInt = Field(4096, description="hidden channels of the code critic")
    code_normalisation: Literal["batch", "none"] = Field("batch", description="in the code critic")
    reconstruction_weight: float = Field(
        10.0, ge=0, description="of the mean distance of reconstructions"
    )
    pixel_loss: Literal["l1", "mse"] = Field("l1", description="distance of reconstructions")
    adversarial_weight: float = Field(
        1.0, ge=0, description="of what the critics say in the loss of encoder and generator"
    )
