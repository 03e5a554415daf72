"""Densities of latent stacks that a likelihood is compared among: normal, with and without noise.

A latent stack of a volume is `[L, T]`: L components of the codes of T slices. Components are
independent of each other in all of these (P2, section 2.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from genmorph.errors import MeasurementError

if TYPE_CHECKING:
    import torch

COMPONENTS_AT_ONCE = 64  # bounds the memory


class LatentDensity(Protocol):
    """A density p(y) of latent stacks `[n, L, T]`."""

    def log_density(self, codes: torch.Tensor) -> torch.Tensor:
        """log p(y), `[n]`."""

    def expected_log_density(self, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        """E[log p(y)] of independent normal numbers with this mean and SD, `[n]`."""


class DiagonalGaussian:
    """Independent normal numbers: the density that knows nothing of neighbouring slices.

    Parameters
    ----------
    mean, variance : Tensor
        `[L, T]`.
    """

    def __init__(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        self.mean, self.variance = mean.double(), variance.double()

    def log_density(self, codes: torch.Tensor) -> torch.Tensor:
        """log p(y) of codes `[n, L, T]`: `[n]`, float64.

        Raises
        ------
        MeasurementError
            When a number of the codes never varies.
        """
        if not (self.variance > 0).all():
            raise MeasurementError(
                f"{int((self.variance <= 0).sum())} numbers of the codes are the same in all "
                "volumes"
            )
        distance = (codes.double() - self.mean).square() / self.variance
        logarithms = self.variance.log() + math.log(2 * math.pi)
        return -0.5 * (distance + logarithms).sum((1, 2))

    def expected_log_density(self, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        """E[log p(y)] of independent normal numbers, `[n]`, float64; errors as `log_density`."""
        at_mean = self.log_density(mean)
        return at_mean - 0.5 * (deviation.double().square() / self.variance).sum((1, 2))


class NoisyGaussian:
    """Normal stacks W z + μ of a Gaussian over slices, with independent noise on each number.

    Its covariances W Wᵀ + diag(noise) have full rank however few volumes W was estimated from.

    Parameters
    ----------
    mean : Tensor
        μ, `[L, T]`.
    matrix : Tensor
        W, `[L, T, rank]`.
    noise : Tensor
        Variances `[L, T]`, all positive.

    Raises
    ------
    MeasurementError
        When the noise is too weak to make up for the rank.
    """

    def __init__(self, mean: torch.Tensor, matrix: torch.Tensor, noise: torch.Tensor) -> None:
        import torch

        self.mean = mean.double()
        self._roots: list[torch.Tensor] = []
        precisions = []
        for some in _chunks(len(mean)):
            own = matrix[some].double()
            covariance = own @ own.mT + torch.diag_embed(noise[some].double())
            root, failed = torch.linalg.cholesky_ex(covariance)
            if failed.any():
                raise MeasurementError(
                    f"{int((failed > 0).sum())} components of the codes hardly vary in some slice"
                )
            unit = torch.eye(root.shape[1]).to(root).expand_as(root)
            inverse = torch.linalg.solve_triangular(root, unit, upper=False)
            precisions.append(inverse.square().sum(1))  # diagonal of (R Rᵀ)⁻¹
            self._roots.append(root)
        self._precisions = torch.cat(precisions)

    def log_density(self, codes: torch.Tensor) -> torch.Tensor:
        """log p(y) of codes `[n, L, T]`: `[n]`, float64."""
        import torch

        centred = (codes.double() - self.mean).permute(1, 2, 0)  # [L, T, n]
        total = torch.full_like(centred[0, 0], -0.5 * self.mean.numel() * math.log(2 * math.pi))
        for some, root in zip(_chunks(len(self.mean)), self._roots, strict=True):
            whitened = torch.linalg.solve_triangular(root, centred[some], upper=False)
            total -= 0.5 * whitened.square().sum((0, 1))
            total -= root.diagonal(dim1=1, dim2=2).log().sum()
        return total

    def expected_log_density(self, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
        """E[log p(y)] of independent normal numbers, `[n]`, float64."""
        rest = (self._precisions * deviation.double().square()).sum((1, 2))
        return self.log_density(mean) - 0.5 * rest


def _chunks(components: int) -> Iterator[slice]:
    for first in range(0, components, COMPONENTS_AT_ONCE):
        yield slice(first, first + COMPONENTS_AT_ONCE)
