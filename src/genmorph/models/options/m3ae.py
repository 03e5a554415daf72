"""Options of M3AE."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from genmorph.models.options.base import AutoencoderOptions

BETA_OF_PRESET = {"supplement": 6.0, "text": 3.0}

ThreeWeights = tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]
FourWeights = tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]


class M3AEOptions(AutoencoderOptions):
    """The multiscale metamorphic autoencoder (P1).

    Notes
    -----
    What the paper leaves open, and what is done here:

    - Reshaping half of z, 256 numbers, "to a shape of [128,5,6,5]" is impossible: each decoder
      has a fully connected layer of 256 -> 19200 in front.
    - The block (figure 6) is not described in words beyond its scaling: `block_convolutions`,
      `normalisation`, `negative_slope`. The scaling stands first in both kinds of block, as the
      down-scaling block is said to differ by nothing else; `downscaling` moves it.
    - β is 3 in section 3 and 6, warmed up, in the supplement: `preset`.
    - φ in equation 3: the displacement (deformation minus identity) in voxels of its own level,
      as a norm of the deformation itself would punish the identity; `penalised_field`.
    - Fields and intensities of a coarse level: up-sampled and applied on the full grid, as the
      template would lose its detail otherwise; `transform_resolution`.
    - Norms in the losses: sums over voxels, KL a sum over latent dimensions, all of them means
      over the batch; `reduction`. The weights γ assume sums over 80x96x80 voxels and are not
      rescaled on another grid: on a coarser grid the KL term weighs more against them.
    - First weights: torch's own, and what `initial_log_variance` says. A narrow first posterior
      and `encoder_input: difference_from_template` let a very short run learn from its latents;
      both are off unless asked for.
    - Number of squarings, and how β rises within the warm-up: `integration_steps`,
      `beta_warmup_unit`.
    """

    latent_size: int = Field(
        512, ge=2, multiple_of=2, description="dimensions of z; each decoder is given one half"
    )
    template: Literal["scan", "training_mean"] = Field(
        "scan",
        description="what is transformed: one training scan (P1), or the mean of all, which is "
        "nearer to people whom no training scan is like",
    )
    encoder_input: Literal["volume", "difference_from_template"] = Field(
        "volume", description="what the encoder sees; the difference lacks what all scans share"
    )
    integration_steps: int = Field(
        7, ge=0, le=20, description="squarings that turn a velocity into a deformation"
    )
    transform_resolution: Literal["full_resolution", "native_resolution"] = Field(
        "full_resolution",
        description="grid on which a level transforms the volume: the whole, or its own",
    )
    preset: Literal["supplement", "text"] = Field(
        "supplement", description="part of the paper that beta is taken from when not given"
    )
    penalised_field: Literal["displacement", "velocity"] = Field(
        "displacement", description="field in the three penalties, in voxels of its own level"
    )
    intermediate_weights: ThreeWeights = Field(
        (0.25, 0.25, 0.5), description="γ1: distance of the volume after levels 1-3 from the scan"
    )
    intensity_weights: FourWeights = Field(
        (0.6, 1.2, 1.2, 2.4), description="γ2: squared intensity terms of levels 1-4"
    )
    smoothness_weights: ThreeWeights = Field(
        (0.6, 1.2, 1.2), description="γ3: squared gradient of the fields of levels 1-3"
    )
    divergence_weights: ThreeWeights = Field(
        (0.6, 1.2, 1.2), description="γ4: squared divergence of the fields of levels 1-3"
    )
    magnitude_weights: ThreeWeights = Field(
        (0.6, 1.2, 1.2), description="γ5: squared length of the fields of levels 1-3"
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the template is the mean image of the training scans."""
        return self.template == "training_mean"

    @model_validator(mode="before")
    @classmethod
    def _beta_of_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and "beta" not in values:
            preset = values.get("preset")
            if isinstance(preset, str) and preset in BETA_OF_PRESET:
                return {**values, "beta": BETA_OF_PRESET[preset]}
        return values
