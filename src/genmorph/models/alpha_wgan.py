"""αWGAN, P1's second baseline: an autoencoder with a critic of volumes and a critic of codes.

Kwon, Han, Kim, "Generation of 3D brain MRI using auto-encoding generative adversarial networks"
(2019). Each step has three phases, in this order: encoder and generator, critic, code critic.

Within the model intensities lie in [-1, 1], as the generator ends in a hyperbolic tangent;
outside they lie in [0, 1] like those of every model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmorph.errors import ConfigError
from genmorph.models.blocks import HEAD_WEIGHT_SPREAD, pixel_distance, standard_normal
from genmorph.models.interface import Progress
from genmorph.models.options.alpha_wgan import AlphaWGANOptions

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
    """Four halving convolutions and one that covers what is left: the critic, or the encoder.

    Volumes `[n, 1, x, y, z]` to `[n, outputs]`.
    """

    def __init__(
        self, options: AlphaWGANOptions, shape: Sequence[int], outputs: int, normalisation: str
    ) -> None:
        super().__init__()
        widths = (1, *options.channels)
        layers: list[nn.Module] = []
        for number, (incoming, outgoing) in enumerate(itertools.pairwise(widths)):
            layers.append(nn.Conv3d(incoming, outgoing, 4, stride=2, padding=1, bias=number == 0))
            if number > 0:
                layers.append(_normalisation(normalisation, outgoing))
            layers.append(nn.LeakyReLU(options.negative_slope))
        rest = convolved_sizes(shape, len(options.channels))[-1]
        layers += [nn.Conv3d(widths[-1], outputs, rest, bias=False), nn.Flatten()]
        self.layers = nn.Sequential(*layers)

    def forward(self, volumes: Tensor) -> Tensor:
        """`[n, 1, x, y, z]` to `[n, outputs]`."""
        return self.layers(volumes)


class Generator(nn.Module):
    """Codes `[n, latent_size]` to what the tangent makes volumes of, `[n, 1, x, y, z]`."""

    def __init__(self, options: AlphaWGANOptions, shape: Sequence[int]) -> None:
        super().__init__()
        self.sizes = convolved_sizes(shape, len(options.channels))[::-1]
        widths = options.channels[::-1]
        self.from_code = nn.ConvTranspose3d(
            options.latent_size, widths[0], self.sizes[0], bias=False
        )
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
        for norm, convolution, size in zip(
            self.norms, self.convolutions, self.sizes[1:], strict=True
        ):
            features = F.interpolate(torch.relu(norm(features)), size=size, mode="nearest")
            features = convolution(features)
        return features


class CodeCritic(nn.Module):
    """Three fully connected layers: codes `[n, latent_size]` to `[n, 1]`."""

    def __init__(self, options: AlphaWGANOptions) -> None:
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


class AlphaWGAN(nn.Module):
    """The auto-encoding Wasserstein GAN.

    Parameters
    ----------
    options : AlphaWGANOptions
    shape : tuple of int
        Grid of a volume.
    mean : ndarray or None
        Mean image `[x, y, z]` of the training scans, for `generator_start: training_mean`; None
        leaves zeros.

    Raises
    ------
    ConfigError
        When the grid is too small for the convolutions, or is not the mean's.
    """

    architecture = "alpha_wgan"
    phases = ("autoencoder", "critic", "code_critic")

    def __init__(
        self, options: AlphaWGANOptions, shape: tuple[int, int, int], mean: np.ndarray | None = None
    ) -> None:
        super().__init__()
        if len(shape) != 3 or min(convolved_sizes(shape, len(options.channels))[-1]) < 1:
            raise ConfigError(
                f"grid {tuple(shape)}: alpha_wgan halves a grid of three axes four times",
                "use at least 16 voxels along each axis",
            )
        if mean is not None and tuple(mean.shape) != tuple(shape):
            raise ConfigError(f"mean image {tuple(mean.shape)} for volumes of {tuple(shape)}")
        self.options, self.shape = options, tuple(shape)
        self.encoder = Convolver(options, shape, options.latent_size, options.normalisation)
        self.generator = Generator(options, shape)
        self.critic = Convolver(options, shape, 1, options.critic_normalisation)
        self.code_critic = CodeCritic(options)
        values = np.full(shape, 0.5) if mean is None else np.asarray(mean)
        self.register_buffer("mean_volume", torch.tensor(2 * values.astype(np.float32) - 1))
        start = np.arctanh(np.clip(2 * values - 1, -LARGEST_TANGENT, LARGEST_TANGENT))
        self.register_buffer("start", torch.tensor(start.astype(np.float32)))

    def encode(self, volumes: Tensor) -> Tensor:
        """Codes `[n, latent_size]` of volumes `[n, x, y, z]` in [0, 1]."""
        return self._encode(2 * volumes[:, None] - 1)

    def _encode(self, volumes: Tensor) -> Tensor:
        if self.options.encoder_input == "difference_from_mean":
            volumes = volumes - self.mean_volume
        return self.encoder(volumes)

    def decode(self, codes: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` in [0, 1] for codes `[n, latent_size]`."""
        return (self._generate(codes)[:, 0].float() + 1) / 2

    def _generate(self, codes: Tensor) -> Tensor:
        volumes = self.generator(codes)
        if self.options.generator_start == "training_mean":
            volumes = volumes + self.start
        return torch.tanh(volumes)

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` decoded from their codes."""
        return self.decode(self.encode(volumes))

    def draw_codes(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Standard normal codes `[n, latent_size]`, one for each generator."""
        return standard_normal(generators, self.options.latent_size).to(self.start.device)

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Volumes `[n, x, y, z]` from the prior, one for each generator."""
        return self.decode(self.draw_codes(generators))

    def scheduled(self, progress: Progress) -> dict[str, float]:
        """Nothing follows a schedule."""
        return {}

    def trained_in(self, phase: str) -> Iterator[nn.Parameter]:
        """Weights that a phase changes."""
        parts = {
            "autoencoder": (self.encoder, self.generator),
            "critic": (self.critic,),
            "code_critic": (self.code_critic,),
        }[phase]
        return (weights for part in parts for weights in part.parameters())

    def losses(
        self,
        volumes: Tensor,
        *,
        phase: str = "autoencoder",
        progress: Progress,
        generators: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """Terms of one phase's loss; the loss is their sum.

        Parameters
        ----------
        volumes : Tensor
            `[n, x, y, z]` in [0, 1].
        phase : {'autoencoder', 'critic', 'code_critic'}
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
        if self.training and len(volumes) < 2 and self.options.code_normalisation == "batch":
            raise ConfigError(
                "alpha_wgan: batch normalisation of the code critic needs two volumes in a step",
                "set batch_size to 2 or more with drop_last: true, or code_normalisation: none",
            )
        real, random_codes = 2 * volumes[:, None] - 1, self.draw_codes(generators)
        terms = getattr(self, f"_{phase}_terms")
        return terms(real, random_codes, generators)

    def forward(self, volumes: Tensor, **how: Any) -> dict[str, Tensor]:
        """As `losses`: what a training step calls, so that several devices can share it."""
        return self.losses(volumes, **how)

    def _autoencoder_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        codes = self._encode(real)
        rebuilt, drawn = self._generate(codes), self._generate(random_codes)
        adversarial = self.options.adversarial_weight
        return {
            "reconstruction": self.options.reconstruction_weight
            * pixel_distance(real, rebuilt, self.options.pixel_loss).mean(),
            "adversarial_codes": -adversarial * self.code_critic(codes).mean(),
            "adversarial_samples": -adversarial * self.critic(drawn).mean(),
            "adversarial_reconstructions": -adversarial * self.critic(rebuilt).mean(),
        }

    def _critic_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            rebuilt, drawn = self._generate(self._encode(real)), self._generate(random_codes)
        penalty = self.options.gradient_penalty_weight
        return {
            "critic_real": -2 * self.critic(real).mean(),
            "critic_samples": self.critic(drawn).mean(),
            "critic_reconstructions": self.critic(rebuilt).mean(),
            "critic_penalty_samples": penalty
            * gradient_penalty(self.critic, real, drawn, generators),
            "critic_penalty_reconstructions": penalty
            * gradient_penalty(self.critic, real, rebuilt, generators),
        }

    def _code_critic_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            codes = self._encode(real)
        return {
            "code_critic_random": -self.code_critic(random_codes).mean(),
            "code_critic_encoded": self.code_critic(codes).mean(),
            "code_critic_penalty": self.options.gradient_penalty_weight
            * gradient_penalty(self.code_critic, codes, random_codes, generators),
        }


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    one: Tensor,
    other: Tensor,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Mean of (|gradient of the critic| - 1)² at random points between two batches.

    Gulrajani et al. (2017), equation 3, without its weight. The norm is taken over all elements of
    a volume or code.

    Parameters
    ----------
    critic : callable
        `[n, ...]` to `[n, 1]`.
    one, other : Tensor
        `[n, ...]`, pairwise.
    generators : sequence of torch.Generator
        One for each pair; gives where between the two its point lies.
    """
    mixing = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    mixing = mixing.to(one.device).view(-1, *[1] * (one.dim() - 1))
    # critic phases see their inputs as constants; only the points' gradient is wanted
    points = (mixing * one.detach() + (1 - mixing) * other.detach()).requires_grad_(True)
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
