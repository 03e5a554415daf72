"""Options of αWGAN."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from genmorph.models.options.base import FourChannels, ModelOptions


class AlphaWGANOptions(ModelOptions):
    """The auto-encoding Wasserstein GAN of Kwon et al. (2019; P1's baseline).

    Notes
    -----
    P1 trained the authors' released code. From it: layers, widths, 1000 latent numbers, weight 10
    of L1 and of the gradient penalties, one step of each part in turn, Adam with rate 0.0002,
    batches of 4, batch normalisation even within the critics. Not taken over: the optimiser of
    encoder and generator steps twice in each turn there, which no text mentions; random flips
    (`mirror_probability`, an option of training) and intensity factors of its data loader, which
    P1 does not mention.

    The released network is for 64x64x64 voxels; on another grid its last convolution covers what
    four halvings leave, 5x6x5 at P1's size.
    """

    latent_size: int = Field(1000, ge=1, description="numbers of a code")
    channels: FourChannels = Field(
        (64, 128, 256, 512), description="hidden channels from fine to coarse"
    )
    code_channels: PositiveInt = Field(4096, description="hidden channels of the code critic")
    normalisation: Literal["batch", "instance", "none"] = Field(
        "batch", description="in encoder and generator"
    )
    critic_normalisation: Literal["batch", "instance", "none"] = Field(
        "batch",
        description="in the critic; batch is the released code's, though a gradient penalty is "
        "meant for one volume alone",
    )
    code_normalisation: Literal["batch", "none"] = Field("batch", description="in the code critic")
    negative_slope: float = Field(0.2, ge=0, description="of the leaky rectifiers")
    reconstruction_weight: float = Field(
        10.0, ge=0, description="of the mean distance of reconstructions"
    )
    pixel_loss: Literal["l1", "mse"] = Field("l1", description="distance of reconstructions")
    adversarial_weight: float = Field(
        1.0, ge=0, description="of what the critics say in the loss of encoder and generator"
    )
    gradient_penalty_weight: float = Field(10.0, ge=0, description="in the loss of each critic")
    encoder_input: Literal["volume", "difference_from_mean"] = Field(
        "volume", description="what the encoder sees; the difference lacks what all scans share"
    )
    generator_start: Literal["grey", "training_mean"] = Field(
        "grey",
        description="what a generator of weight zero puts out; the training mean, which no paper "
        "starts from, lets a very short run show brains",
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the mean image of the training scans is used."""
        return self.encoder_input == "difference_from_mean" or self.generator_start != "grey"
