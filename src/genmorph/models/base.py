"""What most models have in common of what training asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from genmorph.models.interface import Progress


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
