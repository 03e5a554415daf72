"""What the adversarial models share, after the released code of Kwon et al. (2019).

Within these models intensities lie in [-1, 1], as the generator ends in a hyperbolic tangent;
outside they lie in [0, 1] like those of every model.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmorph.errors import ConfigError
from genmorph.models.base import Model
from genmorph.models.blocks import HEAD_WEIGHT_SPREAD, standard_normal
from genmorph.models.interface import Progress
from genmorph.models.options.adversarial import (
    AdversarialOptions,
    CodeCriticOptions,
    EncodingOptions,
)

LARGEST_TANGENT = 0.9999  # where the mean image is put before the tangent; 1 has no finite place


def convolved_sizes(shape: Sequence[int], layers: int) -> list[tuple[int, int, int]]:
    """Grids from the volume's to the coarsest: each convolution (edge 4, stride 2) halves one.

    Examples
    --------
    >>> convolved_sizes((80, 96, 80), 4)[-1]
    (5, 6, 5)
    """
    sizes = [tuple(shape)]
    for _ in range(layers):
        sizes.append(tuple((size + 2 - 4) // 2 + 1 for size in sizes[-1]))
    return sizes


def _normalisation(kind: str, channels: int) -> nn.Module:
    return {
        "batch": nn.BatchNorm3d,
        "instance": lambda n: nn.InstanceNorm3d(n, affine=True),
        "none": lambda _: nn.Identity(),
    }[kind](channels)


class Convolver(nn.Module):
    """Halving convolutions and one that covers what is left: the critic, or the encoder.

    Volumes `[n, 1, x, y, z]` to `[n, outputs]`, or to the features `[n, channels, ...]` in front of
    the last convolution when `outputs` is None.
    """

    def __init__(
        self,
        options: AdversarialOptions,
        shape: Sequence[int],
        outputs: int | None,
        normalisation: str,
    ) -> None:
        super().__init__()
        widths = (1, *options.channels)
        layers: list[nn.Module] = []
        for number, (incoming, outgoing) in enumerate(itertools.pairwise(widths)):
            layers.append(nn.Conv3d(incoming, outgoing, 4, stride=2, padding=1, bias=number == 0))
            if number > 0:
                layers.append(_normalisation(normalisation, outgoing))
            layers.append(nn.LeakyReLU(options.negative_slope))
        if outputs is not None:
            rest = convolved_sizes(shape, len(options.channels))[-1]
            layers += [nn.Conv3d(widths[-1], outputs, rest, bias=False), nn.Flatten()]
        self.layers = nn.Sequential(*layers)

    def forward(self, volumes: Tensor) -> Tensor:
        """`[n, 1, x, y, z]` to `[n, outputs]` or to features."""
        return self.layers(volumes)


class Generator(nn.Module):
    """Codes `[n, latent_size]` to what the tangent makes volumes of, `[n, 1, x, y, z]`.

    Parameters
    ----------
    options : AdversarialOptions
    shape : sequence of int
        Grid of a volume.
    code_bias : bool
        Whether the first layer, fully connected, has a bias for each of its outputs.
    """

    def __init__(
        self, options: AdversarialOptions, shape: Sequence[int], *, code_bias: bool = False
    ) -> None:
        super().__init__()
        self.sizes = convolved_sizes(shape, len(options.channels))[::-1]
        widths = options.channels[::-1]
        self.from_code = nn.ConvTranspose3d(
            options.latent_size, widths[0], self.sizes[0], bias=False
        )
        self.code_bias = nn.Parameter(torch.zeros(widths[0], *self.sizes[0])) if code_bias else None
        self.norms = nn.ModuleList(_normalisation(options.normalisation, w) for w in widths)
        self.convolutions = nn.ModuleList(
            nn.Conv3d(incoming, outgoing, 3, padding=1, bias=outgoing == 1)
            for incoming, outgoing in zip(widths, (*widths[1:], 1), strict=True)
        )
        if options.generator_start == "training_mean":
            nn.init.normal_(self.convolutions[-1].weight, std=HEAD_WEIGHT_SPREAD)
            nn.init.zeros_(self.convolutions[-1].bias)

    def forward(self, codes: Tensor) -> Tensor:
        """`[n, latent_size]` to `[n, 1, x, y, z]`."""
        features = self.from_code(codes[:, :, None, None, None])
        if self.code_bias is not None:
            features = features + self.code_bias
        for norm, convolution, size in zip(
            self.norms, self.convolutions, self.sizes[1:], strict=True
        ):
            features = F.interpolate(torch.relu(norm(features)), size=size, mode="nearest")
            features = convolution(features)
        return features


class CodeCritic(nn.Module):
    """Three fully connected layers: codes `[n, latent_size]` to `[n, 1]`."""

    def __init__(self, options: CodeCriticOptions) -> None:
        super().__init__()
        width, layers = options.code_channels, []
        for incoming in (options.latent_size, width):
            layers.append(nn.Linear(incoming, width))
            if options.code_normalisation == "batch":
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.LeakyReLU(options.negative_slope))
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """`[n, latent_size]` to `[n, 1]`."""
        return self.layers(codes)


class AdversarialModel(Model, ABC):
    """A generator that puts volumes out through a tangent, and parts that learn in turn.

    A subclass makes its parts in `_make_parts`, says which of them learns in which phase, and has
    a method `_{phase}_terms(real, random_codes, generators)` for each.

    Parameters
    ----------
    options : AdversarialOptions
    shape : tuple of int
        Grid of a volume.
    mean : ndarray or None
        Mean image `[x, y, z]` of the training scans, for the options that name it; None leaves
        grey.

    Raises
    ------
    ConfigError
        When the grid is too small for the convolutions, or is not the mean's.
    """

    architecture: str
    learning: ClassVar[dict[str, tuple[str, ...]]]  # {phase: names of the parts that learn}
    further_halvings = 0  # beyond those of the hidden channels

    def __init__(
        self,
        options: AdversarialOptions,
        shape: tuple[int, int, int],
        mean: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        halvings = len(options.channels) + self.further_halvings
        if len(shape) != 3 or min(convolved_sizes(shape, halvings)[-1]) < 1:
            raise ConfigError(
                f"grid {tuple(shape)}: {self.architecture} halves a grid of three axes "
                f"{halvings} times",
                f"use at least {2**halvings} voxels along each axis, or fewer channels",
            )
        if mean is not None and tuple(mean.shape) != tuple(shape):
            raise ConfigError(f"mean image {tuple(mean.shape)} for volumes of {tuple(shape)}")
        self.options, self.shape = options, tuple(shape)
        self._make_parts()
        values = np.full(shape, 0.5) if mean is None else np.asarray(mean)
        self.register_buffer("mean_volume", torch.tensor(2 * values.astype(np.float32) - 1))
        start = np.arctanh(np.clip(2 * values - 1, -LARGEST_TANGENT, LARGEST_TANGENT))
        self.register_buffer("start", torch.tensor(start.astype(np.float32)))

    @abstractmethod
    def _make_parts(self) -> None:
        """Make the networks of the model, once options and shape are known."""

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases of a step, in their order."""
        return tuple(self.learning)

    def trained_in(self, phase: str) -> Iterator[nn.Parameter]:
        """Weights that a phase changes."""
        parts = (self.get_submodule(name) for name in self.learning[phase])
        return (weights for part in parts for weights in part.parameters())

    def decode(self, codes: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` in [0, 1] for codes `[n, latent_size]`."""
        return (self._generate(codes)[:, 0].float() + 1) / 2

    def _generate(self, codes: Tensor) -> Tensor:
        volumes = self.generator(codes)
        if self.options.generator_start == "training_mean":
            volumes = volumes + self.start
        return torch.tanh(volumes)

    def draw_codes(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Standard normal codes `[n, latent_size]`, one for each generator."""
        return standard_normal(generators, self.options.latent_size).to(self.start.device)

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Volumes `[n, x, y, z]` from the prior, one for each generator."""
        return self.decode(self.draw_codes(generators))

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """Volumes after encoding and decoding.

        Raises
        ------
        ConfigError
            When the model has no encoder.
        """
        raise ConfigError(
            f"{self.architecture} has no encoder and reconstructs nothing",
            "ask for its samples alone",
        )

    def losses(
        self,
        volumes: Tensor,
        *,
        phase: str | None = None,
        progress: Progress,
        generators: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """Terms of one phase's loss; the loss is their sum.

        Parameters
        ----------
        volumes : Tensor
            `[n, x, y, z]` in [0, 1].
        phase : str
            One of `phases`; default: the first.
        progress : Progress
            Not used: no weight follows a schedule.
        generators : sequence of torch.Generator
            One for each volume, on the CPU; give random codes and the mixing of penalties.

        Returns
        -------
        dict of str to Tensor
            Scalars, means over the batch. A critic's terms start with its name.

        Raises
        ------
        ConfigError
            When batch normalisation of codes is given a single volume to learn from.
        """
        if self.training and len(volumes) < 2 and self._normalises_codes():
            raise ConfigError(
                f"{self.architecture}: batch normalisation of codes needs two volumes in a step",
                "set batch_size to 2 or more with drop_last: true, or code_normalisation: none",
            )
        real, random_codes = 2 * volumes[:, None] - 1, self.draw_codes(generators)
        terms = getattr(self, f"_{phase or self.phases[0]}_terms")
        return terms(real, random_codes, generators)

    def _normalises_codes(self) -> bool:
        """Whether numbers without a grid are normalised by their batch."""
        return False


class AutoEncodingGAN(AdversarialModel):
    """Encoder, generator, a critic of volumes and one of codes: α-GAN and αWGAN."""

    learning: ClassVar = {
        "autoencoder": ("encoder", "generator"),
        "critic": ("critic",),
        "code_critic": ("code_critic",),
    }

    options: CodeCriticOptions

    def _make_parts(self) -> None:
        options, shape = self.options, self.shape
        self.encoder = Convolver(options, shape, options.latent_size, options.normalisation)
        self.generator = Generator(options, shape)
        self.critic = Convolver(options, shape, 1, options.critic_normalisation)
        self.code_critic = CodeCritic(options)

    def encode(self, volumes: Tensor) -> Tensor:
        """Codes `[n, latent_size]` of volumes `[n, x, y, z]` in [0, 1]."""
        return self._encode(2 * volumes[:, None] - 1)

    def _encode(self, volumes: Tensor) -> Tensor:
        return self.encoder(encoder_input(self, volumes))

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` decoded from their codes."""
        return self.decode(self.encode(volumes))

    def _normalises_codes(self) -> bool:
        return self.options.code_normalisation == "batch"


def encoder_input(model: AdversarialModel, volumes: Tensor) -> Tensor:
    """What an encoder sees of volumes `[n, 1, x, y, z]` in [-1, 1]."""
    options: EncodingOptions = model.options  # type: ignore[assignment]
    if options.encoder_input == "difference_from_mean":
        return volumes - model.mean_volume
    return volumes


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    one: Tensor,
    other: Tensor,
    generators: Sequence[torch.Generator],
    norm: str = "volume",
) -> Tensor:
    """Mean of (|gradient of the critic| - 1)² at random points between two batches.

    Gulrajani et al. (2017), equation 3, without its weight.

    Parameters
    ----------
    critic : callable
        `[n, ...]` to `[n, 1]`.
    one, other : Tensor
        `[n, ...]`, pairwise.
    generators : sequence of torch.Generator
        One for each pair; gives where between the two its point lies.
    norm : {'volume', 'voxel'}
        Length of the gradient over all elements of a volume or code, or over the channels of each
        voxel.
    """
    mixing = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    mixing = mixing.to(one.device).view(-1, *[1] * (one.dim() - 1))
    # critic phases see their inputs as constants; only the points' gradient is wanted
    points = (mixing * one.detach() + (1 - mixing) * other.detach()).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    gradient = gradient.flatten(1) if norm == "volume" else gradient
    return (gradient.norm(dim=1) - 1).square().mean()


def judged(scores: Tensor, *, true: bool) -> Tensor:
    """Mean cross-entropy of a critic's scores (before their sigmoid) with what should be said."""
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(true)))
