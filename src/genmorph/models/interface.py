"""What training and sampling ask of a model; neither knows one by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

    from genmorph.validation import Options


class Progress(NamedTuple):
    """How far training is, for weights and rates that follow a schedule.

    Attributes
    ----------
    step : int
        Optimiser steps done before this one.
    epoch : float
        Passes over the training data done before this step, fractions included.
    epochs : float
        Passes of the whole run.
    """

    step: int
    epoch: float
    epochs: float


class GenerativeModel(Protocol):
    """A `torch.nn.Module` that offers what follows.

    Volumes are `[n, x, y, z]` tensors of intensities in [0, 1]; random numbers come from
    generators on the CPU, so that a seed means the same on every device.
    """

    architecture: str
    options: Options
    shape: tuple[int, int, int]

    def losses(
        self, volumes: torch.Tensor, *, progress: Progress, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Scalar terms of the training loss, weighted: the loss is their sum.

        `forward` is the same function, so that several devices can share a step.
        """

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """Values that follow a schedule, to stand beside the losses in the training log."""

    def sample(self, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """One new volume for each generator, whatever the others are: `[n, x, y, z]`."""

    def reconstruct(self, volumes: torch.Tensor) -> torch.Tensor:
        """Volumes after encoding and decoding without noise: `[n, x, y, z]`."""
