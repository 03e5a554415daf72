"""What most models have in common of what training asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genmorph.errors import ConfigError
from genmorph.models.interface import Progress
from genmorph.models.options.base import CentredOptions


class Model(nn.Module):
    """A model with one phase, no schedule, and nothing to do after training."""

    phases: tuple[str, ...] = ("all",)

    def trained_in(self, phase: str) -> Iterator[nn.Parameter]:
        """All weights: there is one phase."""
        return self.parameters()

    def acts(self, phase: str, progress: Progress) -> bool:
        """Every phase takes part in every step."""
        return True

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """Nothing follows a schedule."""
        return {}

    def fit_after_training(self, batches: Iterable[Tensor]) -> None:
        """Nothing is left to estimate."""

    def forward(self, volumes: Tensor, **how: Any) -> dict[str, Tensor]:
        """As `losses`: what a training step calls, so that several devices can share it."""
        return self.losses(volumes, **how)


class AroundMean(nn.Module):
    """The training mean, taken away before encoding and added after decoding where that is asked.

    Parameters
    ----------
    options : CentredOptions
    shape : sequence of int
        Grid of a volume.
    mean : ndarray or None
        Mean image of the training scans; None leaves a place for weights to come.

    Raises
    ------
    ConfigError
        When the mean has another grid.
    """

    mean: Tensor

    def __init__(
        self, options: CentredOptions, shape: Sequence[int], mean: np.ndarray | None
    ) -> None:
        super().__init__()
        self.used = options.starts_from_mean
        if self.used:
            if mean is not None and tuple(mean.shape) != tuple(shape):
                raise ConfigError(f"mean image {tuple(mean.shape)} for volumes of {tuple(shape)}")
            values = torch.zeros(*shape) if mean is None else torch.from_numpy(mean.copy())
            self.register_buffer("mean", values.float())

    def take(self, volumes: Tensor) -> Tensor:
        """What is encoded of volumes `[n, x, y, z]`."""
        return volumes - self.mean if self.used else volumes

    def give(self, decoded: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` from what was decoded."""
        return decoded + self.mean if self.used else decoded
