"""What training and sampling ask of a model; neither knows one by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

    from genmorph.models.options.base import ModelOptions


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
    options: ModelOptions
    shape: tuple[int, int, int]
    phases: tuple[str, ...]  # parts of a step, each with weights and an optimiser of its own

    def trained_in(self, phase: str) -> Iterator[torch.nn.Parameter]:
        """Weights that a phase changes; each weight belongs to one phase."""

    def acts(self, phase: str, progress: Progress) -> bool:
        """Whether a phase takes part in the step that follows `progress`."""

    def losses(
        self,
        volumes: torch.Tensor,
        *,
        phase: str,
        progress: Progress,
        generators: Sequence[torch.Generator],
    ) -> dict[str, torch.Tensor]:
        """Scalar terms of a phase's loss, weighted: the loss is their sum.

        Noise comes from `generators`, one for each volume, so that a batch can be shared out
        among devices. `forward` is the same function. The first phase can also be had without
        gradients: it is what is watched on validation scans.
        """

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """Values that follow a schedule, to stand beside the losses in the training log."""

    def fit_after_training(self, batches: Iterable[torch.Tensor]) -> None:
        """Estimate what is no trained weight, when the weights are final; kept in buffers.

        `batches` go once through all training volumes in their order, `[n, x, y, z]`; they are read
        as they are asked for, so a model that asks for none costs nothing.
        """

    def sample(self, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """One new volume for each generator, whatever the others are: `[n, x, y, z]`."""

    def reconstruct(self, volumes: torch.Tensor) -> torch.Tensor:
        """Volumes after encoding and decoding without noise: `[n, x, y, z]`."""
