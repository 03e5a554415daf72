"""α-GAN, baseline of P2: αWGAN's parts, whose critics tell true from false by cross-entropy.

Rosca et al., "Variational approaches for auto-encoding generative adversarial networks" (2017), in
the three-dimensional form of the released code of Kwon et al. (2019). Phases as those of αWGAN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genmorph.models.adversarial import AutoEncodingGAN, judged
from genmorph.models.blocks import pixel_distance
from genmorph.models.options.alpha_gan import AlphaGANOptions


class AlphaGAN(AutoEncodingGAN):
    """The auto-encoding GAN; see `AdversarialModel` for what it is made from."""

    architecture = "alpha_gan"
    options: AlphaGANOptions

    def _autoencoder_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        codes = self._encode(real)
        rebuilt, drawn = self._generate(codes), self._generate(random_codes)
        adversarial = self.options.adversarial_weight
        return {
            "reconstruction": self.options.reconstruction_weight
            * pixel_distance(real, rebuilt, self.options.pixel_loss).mean(),
            "adversarial_codes": adversarial * judged(self.code_critic(codes), true=True),
            "adversarial_samples": adversarial * judged(self.critic(drawn), true=True),
            "adversarial_reconstructions": adversarial * judged(self.critic(rebuilt), true=True),
        }

    def _critic_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            rebuilt, drawn = self._generate(self._encode(real)), self._generate(random_codes)
        return {
            "critic_real": 2 * judged(self.critic(real), true=True),
            "critic_samples": judged(self.critic(drawn), true=False),
            "critic_reconstructions": judged(self.critic(rebuilt), true=False),
        }

    def _code_critic_terms(
        self, real: Tensor, random_codes: Tensor, generators: Sequence[torch.Generator]
    ) -> dict[str, Tensor]:
        with torch.no_grad():
            codes = self._encode(real)
        return {
            "code_critic_random": judged(self.code_critic(random_codes), true=True),
            "code_critic_encoded": judged(self.code_critic(codes), true=False),
        }
