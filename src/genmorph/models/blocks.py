"""What P1's autoencoders share: blocks of convolutions, the encoder, the posterior."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmorph.errors import ConfigError
from genmorph.models.base import Model
from genmorph.models.interface import Progress
from genmorph.models.options.base import AutoencoderOptions

LEVELS = 4
LOG_VARIANCE_WEIGHTS = 0.1  # a chosen first log variance is nearly the same for all scans
HEAD_WEIGHT_SPREAD = 1e-4  # so small that an untrained model returns what it starts from


def check_grid(architecture: str, shape: Sequence[int]) -> None:
    """Refuse grids that cannot be halved four times.

    Raises
    ------
    ConfigError
        When a single voxel would be left, or the grid has not three axes.
    """
    if len(shape) != 3 or math.prod(grid_sizes(shape)[0]) < 2:
        raise ConfigError(
            f"grid {tuple(shape)}: {architecture} halves a grid of three axes four times",
            "use more than 16 voxels along one axis at least",
        )


def resize(volumes: Tensor, size: Sequence[int]) -> Tensor:
    """Volumes `[n, channels, ...]` on another grid of the same extent, trilinearly."""
    if tuple(volumes.shape[2:]) == tuple(size):
        return volumes
    return F.interpolate(volumes, size=tuple(size), mode="trilinear", align_corners=False)


def grid_sizes(shape: Sequence[int]) -> list[tuple[int, int, int]]:
    """Grids from coarse to fine: the bottleneck, then levels 1 to 4.

    Each is a sixteenth, an eighth, ... of the volume's, rounded up where it does not divide.

    Examples
    --------
    >>> grid_sizes((80, 96, 80))[:2]
    [(5, 6, 5), (10, 12, 10)]
    >>> grid_sizes((40, 48, 40))[:2]
    [(3, 3, 3), (5, 6, 5)]
    """
    return [
        tuple(math.ceil(size / 2**halvings) for size in shape)  # type: ignore[misc]
        for halvings in range(LEVELS, -1, -1)
    ]


class Block(nn.Module):
    """Scaling to a given grid and convolutions (supplement, figure 6)."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: Sequence[int],
        options: AutoencoderOptions,
        *,
        scale_first: bool = True,
    ) -> None:
        super().__init__()
        self.size = tuple(size)
        self.scale_first = scale_first
        normalised = options.normalisation == "instance"
        layers: list[nn.Module] = []
        for number in range(options.block_convolutions):
            incoming = channels_in if number == 0 else channels_out
            # a bias would be taken away again by the normalisation
            layers.append(nn.Conv3d(incoming, channels_out, 3, padding=1, bias=not normalised))
            if normalised:
                layers.append(nn.InstanceNorm3d(channels_out))
            layers.append(nn.LeakyReLU(options.negative_slope))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """`[n, channels_in, ...]` to `[n, channels_out, *size]`."""
        if self.scale_first:
            return self.layers(resize(features, self.size))
        return resize(self.layers(features), self.size)


class Encoder(nn.Module):
    """Four down-scaling blocks, then one layer that gives mean and log variance of z."""

    def __init__(self, options: AutoencoderOptions, sizes: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        widths = (1, *options.channels)
        coarser = sizes[-2::-1]  # from half the volume's grid down to the bottleneck
        scale_first = options.downscaling == "before_convolutions"
        self.blocks = nn.Sequential(
            *(
                Block(widths[i], widths[i + 1], coarser[i], options, scale_first=scale_first)
                for i in range(LEVELS)
            )
        )
        self.to_posterior = nn.Linear(widths[-1] * math.prod(sizes[0]), 2 * options.latent_size)
        if options.initial_log_variance is not None:
            with torch.no_grad():
                self.to_posterior.weight[options.latent_size :] *= LOG_VARIANCE_WEIGHTS
                self.to_posterior.bias[options.latent_size :] = options.initial_log_variance

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Volumes `[n, 1, x, y, z]` to mean and log variance `[n, latent_size]`."""
        mean, log_variance = self.to_posterior(self.blocks(volumes).flatten(1)).chunk(2, dim=1)
        return mean, log_variance


class VariationalAutoencoder(Model, ABC):
    """What training and sampling ask of both models, given `encode` and `decode`.

    A subclass says how it encodes, decodes, and what its losses are.
    """

    options: AutoencoderOptions

    @abstractmethod
    def encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance `[n, latent_size]` of z given volumes `[n, x, y, z]`."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` for latents `[n, latent_size]`."""

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` decoded from the posterior mean."""
        return self.decode(self.encode(volumes)[0])

    def draw_latents(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Latents `[n, latent_size]` from the prior, one for each generator."""
        device = next(self.parameters()).device
        return standard_normal(generators, self.options.latent_size).to(device)

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Volumes `[n, x, y, z]` from the prior, one for each generator."""
        return self.decode(self.draw_latents(generators))

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """β at a moment of training."""
        return {"beta": self.options.beta_at(progress.epoch, progress.epochs)}


# -- posterior and loss (equation 2) ---------------------------------------------------------------


def standard_normal(generators: Sequence[torch.Generator], *size: int) -> Tensor:
    """Standard normal numbers `[n, *size]` on the CPU, a row from each generator.

    A row depends on its own generator alone, so a batch may be shared out among devices.
    """
    return torch.stack([torch.randn(size, generator=generator) for generator in generators])


def posterior_sample(
    mean: Tensor, log_variance: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """A draw `[n, d]` from N(mean, exp(log_variance)) for each volume."""
    noise = standard_normal(generators, *mean.shape[1:]).to(mean.device)
    return mean + noise * torch.exp(0.5 * log_variance)


def pixel_distance(one: Tensor, other: Tensor, kind: str) -> Tensor:
    """Absolute (`l1`) or squared (`mse`) differences, voxel by voxel."""
    difference = one - other
    return difference.abs() if kind == "l1" else difference.square()


def reduce_voxels(values: Tensor, reduction: str) -> Tensor:
    """Sum or mean over all but the batch, then the mean over the batch: `[n, ...]` to a scalar."""
    flat = values.flatten(1)
    return (flat.sum(1) if reduction == "sum" else flat.mean(1)).mean()


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) from N(0, I), a sum over dimensions: `[n, d]` to `[n]`."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
