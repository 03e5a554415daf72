"""The 3D VAE with reversible layers, baseline of P2 (section 3.1).

A reversible layer (Gomez et al., "The reversible residual network", 2017) gives back its input from
its output, so that training need not keep its activations.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genmorph.errors import ConfigError
from genmorph.models.base import AroundMean
from genmorph.models.blocks import (
    VariationalAutoencoder,
    kl_divergence,
    posterior_sample,
    reduce_voxels,
)
from genmorph.models.interface import Progress
from genmorph.models.options.vae3d import VAE3DOptions


def pooled_sizes(shape: Sequence[int], halvings: int) -> list[tuple[int, ...]]:
    """Grids from the volume's to the coarsest, each half the one before, rounded down.

    Examples
    --------
    >>> pooled_sizes((64, 64, 64), 4)[-1]
    (4, 4, 4)
    """
    return [tuple(size // 2**k for size in shape) for k in range(halvings + 1)]


def _convolve(width: int, options: VAE3DOptions) -> list[nn.Module]:
    return [
        nn.Conv3d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm3d(width),
        nn.LeakyReLU(options.negative_slope),
    ]


class ReversibleLayer(nn.Module):
    """Additive coupling: y₁ = x₁ + F(x₂), y₂ = x₂ + G(y₁), of the two halves of the channels."""

    def __init__(self, options: VAE3DOptions) -> None:
        super().__init__()
        self.recomputes = options.memory == "recompute"

        def function() -> nn.Sequential:
            half = options.width // 2
            layers = (_convolve(half, options) for _ in range(options.coupling_convolutions))
            return nn.Sequential(*(part for layer in layers for part in layer))

        self.first, self.second = function(), function()

    def forward(self, features: Tensor) -> Tensor:
        """`[n, width, ...]` to the same shape."""
        if not (self.recomputes and torch.is_grad_enabled()):
            return self.couple(features)
        # what is lost in half precision could not be computed again
        with torch.autocast(features.device.type, enabled=False):
            return _Recomputed.apply(self, features.float(), *self.parameters())

    def couple(self, features: Tensor) -> Tensor:
        """As `forward`; activations are kept where gradients are."""
        one, other = features.chunk(2, dim=1)
        one = one + self.first(other)
        return torch.cat([one, other + self.second(one)], dim=1)

    def inverse(self, features: Tensor) -> Tensor:
        """The input of `forward` from its output.

        In training it holds as long as the batch is the same: normalisation takes its statistics
        from the batch, which it sees again. Running statistics stay as they are.
        """
        with torch.no_grad(), _running_statistics_kept(self):
            one, other = features.chunk(2, dim=1)
            other = other - self.second(one)
            return torch.cat([one - self.first(other), other], dim=1)


class _Recomputed(torch.autograd.Function):
    """A reversible layer that keeps its output alone."""

    @staticmethod
    def forward(
        context: Any, layer: ReversibleLayer, features: Tensor, *weights: nn.Parameter
    ) -> Tensor:
        context.layer = layer
        with torch.no_grad():
            made = layer.couple(features)
        context.save_for_backward(made)
        return made

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (made,) = context.saved_tensors
        layer: ReversibleLayer = context.layer
        weights = list(layer.parameters())
        features = layer.inverse(made).requires_grad_(True)
        with torch.enable_grad(), _running_statistics_kept(layer):
            again = layer.couple(features)
        learning = [weight for weight in weights if weight.requires_grad]
        found = torch.autograd.grad(again, [features, *learning], gradient)
        of_weights = iter(found[1:])
        return (
            None,
            found[0],
            *(next(of_weights) if weight.requires_grad else None for weight in weights),
        )


@contextlib.contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """A second look at a batch does not count for the statistics gathered in training."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm3d)]
    before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, seen) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(seen)


class Encoder(nn.Module):
    """Volumes `[n, 1, x, y, z]` to mean and log variance of z."""

    def __init__(self, options: VAE3DOptions, rest: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv3d(1, options.width, 3, padding=1, bias=False),
            nn.BatchNorm3d(options.width),
            nn.LeakyReLU(options.negative_slope),
            nn.MaxPool3d(2),
        ]
        for _ in range(options.halvings - 1):
            layers += [ReversibleLayer(options), nn.MaxPool3d(2)]
        if options.last_reversible:
            layers.append(ReversibleLayer(options))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        incoming = options.width * math.prod(rest)
        self.to_mean = nn.Linear(incoming, options.latent_size)
        self.to_log_variance = nn.Linear(incoming, options.latent_size)

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """`[n, 1, x, y, z]` to two tensors `[n, latent_size]`."""
        features = self.layers(volumes)
        return self.to_mean(features), self.to_log_variance(features)


class Decoder(nn.Module):
    """Latents `[n, latent_size]` to `[n, 1, x, y, z]`: the encoder's mirror."""

    def __init__(self, options: VAE3DOptions, sizes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        coarsest = (options.width, *sizes[-1])
        layers: list[nn.Module] = [
            nn.Linear(options.latent_size, math.prod(coarsest)),
            nn.Unflatten(1, coarsest),
        ]
        if options.last_reversible:
            layers.append(ReversibleLayer(options))
        for size in sizes[-2:0:-1]:
            layers += [nn.Upsample(size, mode="nearest"), ReversibleLayer(options)]
        self.layers = nn.Sequential(
            *layers,
            nn.Upsample(sizes[0], mode="nearest"),
            *_convolve(options.width, options),
            nn.Conv3d(options.width, 1, 3, padding=1),
        )

    def forward(self, latents: Tensor) -> Tensor:
        """`[n, latent_size]` to `[n, 1, x, y, z]`."""
        return self.layers(latents)


class VAE3D(VariationalAutoencoder):
    """The 3D variational autoencoder.

    Parameters
    ----------
    options : VAE3DOptions
    shape : tuple of int
        Grid of a volume.
    start : ndarray or None
        Mean image of the training scans, used when `describes` says so.

    Raises
    ------
    ConfigError
        When the grid is too small to be halved as often as asked.
    """

    architecture = "vae3d"

    options: VAE3DOptions  # type: ignore[assignment]

    def __init__(
        self,
        options: VAE3DOptions,
        shape: tuple[int, int, int],
        start: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        sizes = pooled_sizes(shape, options.halvings)
        if len(shape) != 3 or min(sizes[-1]) < 2:
            raise ConfigError(
                f"grid {tuple(shape)}: vae3d halves a grid of three axes {options.halvings} times "
                "and normalises what is left by its batch",
                f"use at least {2 ** (options.halvings + 1)} voxels along each axis, or fewer "
                "halvings",
            )
        self.options, self.shape = options, tuple(shape)
        self.around = AroundMean(options, shape, start)
        self.encoder = Encoder(options, sizes[-1])
        self.decoder = Decoder(options, sizes)

    def encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance `[n, latent_size]` of z given volumes `[n, x, y, z]`."""
        mean, log_variance = self.encoder(self.around.take(volumes)[:, None])
        return mean.float(), log_variance.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` for latents `[n, latent_size]`."""
        return self.around.give(self.decoder(latents)[:, 0].float())

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """Nothing follows a schedule."""
        return {}

    def losses(
        self,
        volumes: Tensor,
        *,
        phase: str = "all",
        progress: Progress,
        generators: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """Terms of the loss: sums over voxels and latent dimensions, means over the batch.

        Parameters
        ----------
        volumes : Tensor
            `[n, x, y, z]`.
        phase : str
            The only one there is.
        progress : Progress
            Not used: no weight follows a schedule.
        generators : sequence of torch.Generator
            One for each volume, on the CPU; give the noise of the posterior sample.

        Returns
        -------
        dict of str to Tensor
            Scalars: reconstruction (squared differences), kl.
        """
        mean, log_variance = self.encode(volumes)
        made = self.decode(posterior_sample(mean, log_variance, generators))
        return {
            "reconstruction": reduce_voxels((volumes - made).square(), "sum"),
            "kl": self.options.kl_weight * kl_divergence(mean, log_variance).mean(),
        }
