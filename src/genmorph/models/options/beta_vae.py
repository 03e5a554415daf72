"""Options of the βVAE."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from genmorph.models.options.base import AutoencoderOptions


class BetaVAEOptions(AutoencoderOptions):
    """The β variational autoencoder (P1's baseline).

    Notes
    -----
    The paper gives β = 3 and no more. Encoder, channels and latent size are taken from M3AE; the
    warm-up of β, described for M3AE alone, is off. A short run may start from the training mean
    (`output`, `encoder_input`); neither is the paper's.
    """

    beta: float = Field(3.0, ge=0, description="weight of KL (section 3)")
    beta_warmup_epochs: float = Field(0.0, ge=0, description="epochs over which beta rises from 0")
    encoder_input: Literal["volume", "difference_from_mean"] = Field(
        "volume", description="what the encoder sees; the difference lacks what all scans share"
    )
    output: Literal["volume", "sigmoid", "difference_from_mean"] = Field(
        "volume",
        description="what the decoder puts out: intensities, intensities through a sigmoid, or "
        "what is added to the training mean",
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the mean image of the training scans is used."""
        return "difference_from_mean" in (self.encoder_input, self.output)
