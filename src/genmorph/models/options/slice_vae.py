"""Options of the slice VAE."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from genmorph.models.options.base import CentredOptions


class SliceVAEOptions(CentredOptions):
    """The 2D VAE of coronal slices with a Gaussian over slices (P2).

    Notes
    -----
    Where the paper and its released code differ, or the paper is silent:

    - The paper prints 4, 5, 6 halving blocks for slices of 64, 128, 256 pixels; the code has one
      more, the first of which does not double the channels, so that a code has 256 channels on 2x2
      pixels, 1024 numbers, at every size: `depth`.
    - The code is never put into evaluation mode: batch normalisation takes the mean and variance
      of the slices at hand, also when it encodes and decodes single volumes: `batch_statistics`.
    - The printed W = U S^½ / √N has not the sample covariance, U S / √N of the code has:
      `gaussian_factor`. The code keeps 64 axes of 64 slices, 128 of 128, 64 of 256:
      `gaussian_rank`.
    - The code leaves out slices past its batch size of 128, so that half of a volume of 256 slices
      is never seen; here a step sees all slices, or some drawn at random:
      `slices_per_volume`.
    - Sums run over a volume's slices, pixels and code numbers, means over the volumes of a step.
    """

    latent_channels: PositiveInt = Field(
        256,
        description="channels of a code; halved once for each block upwards, so that the first "
        "layer has 16, 8, 4 for slices of 64, 128, 256 pixels",
    )
    depth: Literal["released", "printed"] = Field(
        "released",
        description="number of halving blocks: of the released code, whose codes are 2x2 pixels, "
        "or of the paper, whose codes are 4x4",
    )
    negative_slope: float = Field(0.2, ge=0, description="of the leaky rectifiers")
    kl_weight: float = Field(0.2, ge=0, description="of KL in the loss (section 3.1)")
    batch_statistics: Literal["volume", "running"] = Field(
        "volume",
        description="what batch normalisation takes after training: mean and variance of the "
        "slices of the volume at hand, or those gathered in training",
    )
    slices_per_volume: PositiveInt | None = Field(
        None, description="slices of a volume that a step sees, drawn at random; null: all"
    )
    gaussian_volumes: PositiveInt = Field(
        400, description="N: training volumes, the first of them, that mean and covariance are of"
    )
    gaussian_rank: PositiveInt | None = Field(
        None, description="axes of the Gaussian kept for each component; null: all"
    )
    gaussian_factor: Literal["covariance", "paper_sqrt"] = Field(
        "covariance",
        description="W of the Gaussian: U S / √N, or U S^½ / √N as printed, whose samples do not "
        "have the sample covariance",
    )
