"""VAE-GAN, baseline of P2: a variational autoencoder whose generator also has a critic.

Larsen et al., "Autoencoding beyond pixels using a learned similarity metric" (2015), in the
three-dimensional form of the released code of Kwon et al. (2019). Each step has three phases:
encoder, generator, critic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from genmorph.models.adversarial import (
    AdversarialModel,
    Convolver,
    Generator,
    convolved_sizes,
    encoder_input,
    judged,
)
from genmorph.models.blocks import kl_divergence, posterior_sample
from genmorph.models.options.vae_gan import VAEGANOptions


class Encoder(nn.Module):
    """Halving convolutions, then two fully connected layers each for mean and log variance."""

    def __init__(self, options: VAEGANOptions, shape: Sequence[int]) -> None:
        super().__init__()
        self.features = Convolver(options, shape, None, options.normalisation)
        rest = convolved_sizes(shape, len(options.channels))[-1]
        incoming = options.channels[-1] * math.prod(rest)
        self.to_mean = self._head(incoming, options)
        self.to_log_variance = self._head(incoming, options)

    @staticmethod
    def _head(incoming: int, options: VAEGANOptions) -> nn.Sequential:
        width, batch = options.head_channels, options.normalisation == "batch"
        return nn.Sequential(
            nn.Linear(incoming, width),
            nn.BatchNorm1d(width) if batch else nn.Identity(),
            nn.ReLU(),
            nn.Linear(width, options.latent_size),
        )

    def forward(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """`[n, 1, x, y, z]` to mean and log variance `[n, latent_size]`."""
        features = self.features(volumes).flatten(1)
        return self.to_mean(features), self.to_log_variance(features)


class VAEGAN(AdversarialModel):
    """The variational autoencoder with a critic."""

    architecture = "vae_gan"
    learning: ClassVar = {
        "encoder": ("encoder",),
        "generator": ("generator",),
        "critic": ("critic",),
    }

    options: VAEGANOptions

    def _make_parts(self) -> None:
        options, shape = self.options, self.shape
        self.encoder = Encoder(options, shape)
        self.generator = Generator(options, shape, code_bias=True)
        self.critic = Convolver(options, shape, 1, options.critic_normalisation)

    def encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance `[n, latent_size]` of codes given volumes `[n, x, y, z]`."""
        return self._encode(2 * volumes[:, None] - 1)

    def _encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(encoder_input(self, volumes))
        return mean.float(), log_variance.float()

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` decoded from the posterior mean."""
        return self.decode(self.encode(volumes)[0])

    def _normalises_codes(self) -> bool:
        return self.options.normalisation == "batch"

    def _encoder_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        mean, log_variance = self._encode(real)
        rebuilt = self._generate(posterior_sample(mean, log_variance, generators))
        return {
            "reconstruction": self.options.encoder_reconstruction_weight
            * (real - rebuilt).square().mean(),
            "kl": kl_divergence(mean, log_variance).mean() / self.options.latent_size,
        }

    def _generator_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            codes = posterior_sample(*self._encode(real), generators)
        rebuilt, drawn = self._generate(codes), self._generate(random_codes)
        adversarial = self.options.adversarial_weight
        return {
            "generator_reconstruction": self.options.generator_reconstruction_weight
            * (real - rebuilt).square().mean(),
            "adversarial_samples": -adversarial * judged(self.critic(drawn), true=False),
            "adversarial_reconstructions": -adversarial * judged(self.critic(rebuilt), true=False),
        }

    def _critic_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            codes = posterior_sample(*self._encode(real), generators)
            rebuilt, drawn = self._generate(codes), self._generate(random_codes)
        return {
            "critic_real": judged(self.critic(real), true=True),
            "critic_samples": judged(self.critic(drawn), true=False),
            "critic_reconstructions": judged(self.critic(rebuilt), true=False),
        }
