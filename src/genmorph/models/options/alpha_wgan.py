"""Options of αWGAN."""

from __future__ import annotations

from pydantic import Field

from genmorph.models.options.adversarial import CodeCriticOptions


class AlphaWGANOptions(CodeCriticOptions):
    """The auto-encoding Wasserstein GAN of Kwon et al. (2019; baseline of P1 and P2).

    Notes
    -----
    P1 and P2 trained the authors' released code. From it: layers, widths, 1000 latent numbers,
    weight 10 of L1 and of the gradient penalties, one step of each part in turn, Adam with rate
    0.0002, batches of 4, batch normalisation even within the critics. Not taken over: the optimiser
    of encoder and generator steps twice in each turn there, which no text mentions; random flips
    (`mirror_probability`, an option of training) and intensity factors of its data loader, which
    neither paper mentions.
    """

    gradient_penalty_weight: float = Field(10.0, ge=0, description="in the loss of each critic")
