"""Options of WGAN-GP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from genmorph.models.options.adversarial import AdversarialOptions


class WGANGPOptions(AdversarialOptions):
    """The Wasserstein GAN with gradient penalty in three dimensions (baseline of P2).

    Notes
    -----
    P2 trained the released code of Kwon et al. (2019), which differs from Gulrajani et al. (2017):

    - it takes five steps of the generator to one of the critic, the text five of the critic to one
      of the generator: `generator_every: 5`, `critic_every: 1`;
    - it takes the norm of the gradient at each voxel, where the text's is over the whole volume:
      `penalty_norm: voxel`;
    - its critic has batch normalisation, which the text advises against: `critic_normalisation`.

    Defaults are the released code's, but for the norm. Here a step shows the same volumes to both
    parts, so that the critic sees one batch in five.
    """

    gradient_penalty_weight: float = Field(10.0, ge=0, description="in the loss of the critic")
    penalty_norm: Literal["volume", "voxel"] = Field(
        "volume", description="what the gradient's length is taken over"
    )
    generator_every: PositiveInt = Field(1, description="the generator learns in each such step")
    critic_every: PositiveInt = Field(5, description="the critic learns in each such step")
