"""βVAE, P1's first baseline: M3AE's encoder and one decoder that puts out the volume itself.

The paper names Higgins et al. (2017) and gives β alone (section 3). Encoder, hidden channels and
latent size are those of M3AE, so that the two differ by what their decoders put out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from genmorph.errors import ConfigError
from genmorph.models.blocks import (
    HEAD_WEIGHT_SPREAD,
    LEVELS,
    Block,
    Encoder,
    VariationalAutoencoder,
    check_grid,
    grid_sizes,
    kl_divergence,
    pixel_distance,
    posterior_sample,
    reduce_voxels,
)
from genmorph.models.interface import Progress
from genmorph.models.options.beta_vae import BetaVAEOptions


class Decoder(nn.Module):
    """Four up-scaling blocks and a convolution: latents `[n, d]` to `[n, 1, x, y, z]`."""

    def __init__(self, options: BetaVAEOptions, sizes: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        widths = options.channels[::-1]
        self.bottleneck = (widths[0], *sizes[0])
        self.from_latent = nn.Linear(options.latent_size, math.prod(self.bottleneck))
        self.blocks = nn.Sequential(
            *(
                Block(widths[max(level - 1, 0)], widths[level], sizes[level + 1], options)
                for level in range(LEVELS)
            )
        )
        self.head = nn.Conv3d(widths[-1], 1, 3, padding=1)
        if options.output == "difference_from_mean":
            nn.init.normal_(self.head.weight, std=HEAD_WEIGHT_SPREAD)
            nn.init.zeros_(self.head.bias)

    def forward(self, latents: Tensor) -> Tensor:
        """`[n, d]` to `[n, 1, x, y, z]`."""
        return self.head(self.blocks(self.from_latent(latents).unflatten(1, self.bottleneck)))


class BetaVAE(VariationalAutoencoder):
    """The β variational autoencoder.

    Parameters
    ----------
    options : BetaVAEOptions
    shape : tuple of int
        Grid of a volume.
    mean : ndarray or None
        Mean image `[x, y, z]` of the training scans, for the options that name it; None leaves
        zeros.

    Raises
    ------
    ConfigError
        When the grid is too small to be halved four times, or is not the mean's.
    """

    architecture = "beta_vae"

    def __init__(
        self, options: BetaVAEOptions, shape: tuple[int, int, int], mean: np.ndarray | None = None
    ) -> None:
        super().__init__()
        check_grid(self.architecture, shape)
        if mean is not None and tuple(mean.shape) != tuple(shape):
            raise ConfigError(f"mean image {tuple(mean.shape)} for volumes of {tuple(shape)}")
        sizes = grid_sizes(shape)
        self.options, self.shape = options, tuple(shape)
        self.encoder = Encoder(options, sizes)
        self.decoder = Decoder(options, sizes)
        values = np.zeros(shape, np.float32) if mean is None else mean
        self.register_buffer("mean_image", torch.tensor(np.asarray(values, np.float32)))

    def encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance `[n, latent_size]` of z given volumes `[n, x, y, z]`."""
        if self.options.encoder_input == "difference_from_mean":
            volumes = volumes - self.mean_image
        mean, log_variance = self.encoder(volumes[:, None])
        return mean.float(), log_variance.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` for latents `[n, latent_size]`."""
        volumes = self.decoder(latents)[:, 0].float()
        if self.options.output == "difference_from_mean":
            return self.mean_image + volumes
        return torch.sigmoid(volumes) if self.options.output == "sigmoid" else volumes

    def losses(
        self,
        volumes: Tensor,
        *,
        phase: str = "all",
        progress: Progress,
        generators: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """Terms of equation 2; the loss is their sum.

        Parameters
        ----------
        volumes : Tensor
            `[n, x, y, z]`.
        phase : str
            The only one there is.
        progress : Progress
            Decides β.
        generators : sequence of torch.Generator
            One for each volume, on the CPU; give the noise of the posterior sample.

        Returns
        -------
        dict of str to Tensor
            Scalars: reconstruction, kl.
        """
        mean, log_variance = self.encode(volumes)
        made = self.decode(posterior_sample(mean, log_variance, generators))
        beta = self.options.beta_at(progress.epoch, progress.epochs)
        return {
            "reconstruction": reduce_voxels(
                pixel_distance(volumes, made, self.options.pixel_loss), self.options.reduction
            ),
            "kl": beta * kl_divergence(mean, log_variance).mean(),
        }
