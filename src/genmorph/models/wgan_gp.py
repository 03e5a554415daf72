"""WGAN-GP, baseline of P2: a generator and a critic of volumes.

Gulrajani et al., "Improved training of Wasserstein GANs" (2017), in the three-dimensional form of
the released code of Kwon et al. (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from genmorph.models.adversarial import AdversarialModel, Convolver, Generator, gradient_penalty
from genmorph.models.interface import Progress
from genmorph.models.options.wgan_gp import WGANGPOptions


class Critic(nn.Module):
    """Halving convolutions, the last of which puts out scores of parts of a volume."""

    def __init__(self, options: WGANGPOptions, shape: Sequence[int]) -> None:
        super().__init__()
        self.features = Convolver(options, shape, None, options.critic_normalisation)
        self.to_scores = nn.Conv3d(options.channels[-1], 1, 4, stride=2, padding=1)

    def forward(self, volumes: Tensor) -> Tensor:
        """`[n, 1, x, y, z]` to `[n, parts]`."""
        return self.to_scores(self.features(volumes)).flatten(1)


class WGANGP(AdversarialModel):
    """The Wasserstein GAN with gradient penalty."""

    architecture = "wgan_gp"
    further_halvings = 1
    # the generator first: its loss can be had without gradients, which validation asks for
    learning: ClassVar = {"generator": ("generator",), "critic": ("critic",)}

    options: WGANGPOptions

    def _make_parts(self) -> None:
        self.generator = Generator(self.options, self.shape, code_bias=True)
        self.critic = Critic(self.options, self.shape)

    def acts(self, phase: str, progress: Progress) -> bool:
        """Whether it is the phase's turn."""
        every = {"generator": self.options.generator_every, "critic": self.options.critic_every}
        return progress.step % every[phase] == 0

    def _generator_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        return {"adversarial_samples": -self.critic(self._generate(random_codes)).mean()}

    def _critic_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            drawn = self._generate(random_codes)
        penalty = gradient_penalty(self.critic, real, drawn, generators, self.options.penalty_norm)
        return {
            "critic_real": -self.critic(real).mean(),
            "critic_samples": self.critic(drawn).mean(),
            "critic_penalty_samples": self.options.gradient_penalty_weight * penalty,
        }
