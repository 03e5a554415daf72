"""αWGAN, baseline of P1 and P2: an autoencoder with a critic of volumes and a critic of codes.

Kwon, Han, Kim, "Generation of 3D brain MRI using auto-encoding generative adversarial networks"
(2019). Each step has three phases, in this order: encoder and generator, critic, code critic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genmorph.models.adversarial import AutoEncodingGAN, gradient_penalty
from genmorph.models.blocks import pixel_distance
from genmorph.models.options.alpha_wgan import AlphaWGANOptions


class AlphaWGAN(AutoEncodingGAN):
    """The auto-encoding Wasserstein GAN; see `AdversarialModel` for what it is made from."""

    architecture = "alpha_wgan"
    options: AlphaWGANOptions

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
