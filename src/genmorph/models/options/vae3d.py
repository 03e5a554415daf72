"""Options of the 3D VAE."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from genmorph.models.options.base import CentredOptions


class VAE3DOptions(CentredOptions):
    """The 3D VAE with reversible layers (baseline of P2).

    Notes
    -----
    P2 prints the encoders for 64 (512 code numbers, a reversible layer in front of the last) and
    for 128 voxels an edge (1024, without); at 256 it "did not converge" and is not described. Open
    there, and done here:

    - a reversible layer with "3 conv_16": additive coupling of the two halves of 16 channels
      (Gomez et al. 2017), each of its two functions three convolutions on its half;
    - the decoder is "symmetric": nearest neighbours in place of max pooling, and a last
      convolution to intensities;
    - loss: squared differences summed over voxels, and KL with weight 1, as the weight of 0.2 is
      given for the slice VAE alone.
    """

    latent_size: int = Field(512, ge=1, description="dimensions of z; 1024 for 128 voxels an edge")
    width: int = Field(16, ge=2, multiple_of=2, description="channels of all layers")
    halvings: PositiveInt = Field(
        4, description="max poolings; 5 for 128 voxels an edge: 4x4x4 are left"
    )
    last_reversible: bool = Field(
        True, description="a reversible layer on the coarsest grid; false for 128 voxels an edge"
    )
    coupling_convolutions: PositiveInt = Field(
        3, description="convolutions in each of the two functions of a reversible layer"
    )
    memory: Literal["recompute", "store"] = Field(
        "recompute",
        description="activations of reversible layers: computed again backwards from what they put "
        "out, or kept; the gradients are the same",
    )
    negative_slope: float = Field(0.2, ge=0, description="of the leaky rectifiers")
    kl_weight: float = Field(1.0, ge=0, description="of KL in the loss")
