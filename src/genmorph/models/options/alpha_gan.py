"""Options of α-GAN."""

from __future__ import annotations

from genmorph.models.options.adversarial import CodeCriticOptions


class AlphaGANOptions(CodeCriticOptions):
    """The auto-encoding GAN of Rosca et al. (2017) in three dimensions (baseline of P2).

    Notes
    -----
    From the released code of Kwon et al. (2019): the networks of αWGAN, whose critics judge by
    cross-entropy and have no gradient penalty; weight 10 of L1, Adam with rate 0.0002, batches
    of 4. Its optimiser of the generator steps twice in each turn, which is not taken over.

    P2 prints, for 256 voxels an edge, instance normalisation in place of batch normalisation and
    none in the code critic, though its table has no such row: `normalisation: instance`,
    `critic_normalisation: instance`, `code_normalisation: none`.
    """
