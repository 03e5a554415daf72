"""What all options, and those of P1's two variational autoencoders, have in common."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, PositiveInt

from genmorph.validation import Options

FourChannels = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class ModelOptions(Options):
    """Options of any model."""

    @property
    def starts_from_mean(self) -> bool:
        """Whether the model is built from the mean image of its training scans."""
        return False


class CentredOptions(ModelOptions):
    """Options of a model that may describe what is left when the training mean is taken away."""

    describes: Literal["volumes", "differences_from_mean"] = Field(
        "volumes",
        description="what is encoded and decoded: intensities, or their differences from the "
        "training mean, as no paper has it, for runs too short to learn what all scans share",
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the model is built from the mean image of its training scans."""
        return self.describes == "differences_from_mean"


class AutoencoderOptions(ModelOptions):
    """What P1's two variational autoencoders share: the encoder, its blocks, the KL term."""

    latent_size: int = Field(512, ge=2, multiple_of=2, description="dimensions of z")
    channels: FourChannels = Field(
        (16, 32, 64, 128), description="hidden channels from fine to coarse"
    )
    block_convolutions: PositiveInt = Field(2, description="3x3x3 convolutions in a block")
    normalisation: Literal["instance", "none"] = Field(
        "instance", description="after each convolution of a block"
    )
    negative_slope: float = Field(0.2, ge=0, description="of the leaky rectifier in a block")
    downscaling: Literal["before_convolutions", "after_convolutions"] = Field(
        "before_convolutions", description="where an encoder block halves the grid"
    )
    initial_log_variance: float | None = Field(
        None, description="of the posterior before training; null leaves the layer's first weights"
    )
    beta: float = Field(6.0, ge=0, description="weight of KL after warm-up (equation 2)")
    beta_warmup_epochs: float = Field(
        10.0, ge=0, description="epochs over which beta rises from 0; fewer in a short run"
    )
    beta_warmup_fraction: float = Field(
        1 / 3, ge=0, le=1, description="warm-up is never longer than this share of all epochs"
    )
    beta_warmup_unit: Literal["epoch", "step"] = Field(
        "epoch", description="beta rises at the start of each epoch, or with each step"
    )
    pixel_loss: Literal["l1", "mse"] = Field(
        "l1",
        description="distance of volumes in the loss (equations 2 and 3: l1, whose best single "
        "image is a median; that of squared differences is the mean)",
    )
    reduction: Literal["sum", "mean"] = Field(
        "sum", description="over voxels, in every term but KL, which is a sum over dimensions"
    )

    def beta_at(self, epoch: float, epochs: float) -> float:
        """Weight of KL at a moment of training (supplement, section B).

        Parameters
        ----------
        epoch : float
            Epochs done, fractions included.
        epochs : float
            Epochs of the whole run.

        Returns
        -------
        float
            Rises linearly from 0 to `beta` over the shorter of `beta_warmup_epochs` and
            `beta_warmup_fraction * epochs`.
        """
        warmup = min(self.beta_warmup_epochs, self.beta_warmup_fraction * epochs)
        done = math.floor(epoch) if self.beta_warmup_unit == "epoch" else epoch
        return self.beta if done >= warmup else self.beta * done / warmup
