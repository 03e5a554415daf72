"""Options of training, importable without torch.

They share one flat name space with the options of a model in `models:` and `overrides:`; a test
holds the two apart.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from genmorph.validation import Options


class TrainingOptions(Options):
    """How a model is trained. Defaults are P1's where it states them."""

    epochs: PositiveInt = Field(30, description="passes over the training scans (P1: 30)")
    max_volume_steps: PositiveInt | None = Field(
        None,
        description="end after this many volumes seen in all, whatever epochs says; null: never",
    )
    batch_size: PositiveInt = Field(
        4, description="volumes of one optimiser step, over all devices (P1 does not state it)"
    )
    drop_last: bool = Field(
        False,
        description="leave out an epoch's last batch when it is smaller, as batch normalisation "
        "wants",
    )
    mirror_probability: float = Field(
        0.0,
        ge=0,
        le=1,
        description="of showing a scan with left and right exchanged; no paper's, for few scans",
    )
    optimizer: Literal["adamw", "adam"] = Field("adamw", description="P1: AdamW")
    learning_rate: float = Field(3e-4, gt=0, description="at the start (P1: 0.0003)")
    learning_rate_schedule: Literal["constant", "exponential", "cosine"] = Field(
        "constant", description="over the steps of the run; cosine falls to zero at its end"
    )
    learning_rate_decay: float = Field(
        1.0, gt=0, le=1, description="factor of each step when the schedule is exponential"
    )
    weight_decay: float = Field(0.01, ge=0, description="of AdamW (P1 does not state it)")
    gradient_clip: float | None = Field(
        None, gt=0, description="longest gradient (norm over all weights); null: any length"
    )
    validation_every_epochs: PositiveInt = Field(
        1, description="how often the losses of the validation scans are taken"
    )
    checkpoint_every_epochs: PositiveInt = Field(
        1, description="how often the resumable state is written"
    )
    checkpoint_every_steps: PositiveInt | None = Field(
        None, description="also after this many steps, for long epochs; null: only with epochs"
    )
    memory_gb: float = Field(
        4.0,
        ge=0,
        description="scans are kept in memory as stored, in each process, when they fit in this "
        "much; the job asks for it",
    )
    tensorboard: bool = Field(True, description="write events for TensorBoard")
