"""The slice VAE (P2): a 2D autoencoder of coronal slices, and a Gaussian over the slices' codes.

Volokitin et al., "Modelling the Distribution of 3D Brain MRI using a 2D Slice VAE" (2020). The
autoencoder is trained first; mean and covariance of its codes along a volume's slices are taken
from the training volumes when its weights are final.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmorph.errors import ConfigError
from genmorph.models.base import AroundMean, Model
from genmorph.models.blocks import posterior_sample
from genmorph.models.interface import Progress
from genmorph.models.options.slice_vae import SliceVAEOptions
from genmorph.models.slice_gaussian import SliceGaussian

CORONAL = 1  # axis of a volume that runs from back to front
LEAST_CODE = 2  # pixels along the shorter edge of the released code's grid


def slice_sizes(size: Sequence[int], depth: str) -> list[tuple[int, int]]:
    """Grids of a slice from its own to that of its code, each half the one before.

    Examples
    --------
    >>> slice_sizes((64, 64), "released")
    [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]
    >>> slice_sizes((64, 64), "printed")[-1]
    (4, 4)
    """
    halvings = int(math.log2(min(size) / LEAST_CODE)) - (depth == "printed")
    return [tuple(math.ceil(edge / 2**k) for edge in size) for k in range(halvings + 1)]


def channel_widths(options: SliceVAEOptions, halvings: int) -> list[int]:
    """Channels after the first layer and after each halving block.

    Examples
    --------
    >>> channel_widths(SliceVAEOptions(), 5)
    [16, 16, 32, 64, 128, 256]
    >>> channel_widths(SliceVAEOptions(depth="printed"), 4)
    [16, 32, 64, 128, 256]
    """
    last = options.latent_channels
    doublings = halvings - (options.depth == "released")
    widths = [last // 2**k for k in range(doublings, -1, -1)]
    return [widths[0], *widths] if options.depth == "released" else widths


class BatchNormalisation(nn.BatchNorm2d):
    """Batch normalisation that may go on with the statistics at hand after training."""

    def __init__(self, channels: int, options: SliceVAEOptions) -> None:
        super().__init__(channels)
        self.own_statistics = options.batch_statistics == "volume"

    def forward(self, features: Tensor) -> Tensor:
        """`[n, channels, ...]` to the same shape."""
        if self.training or not self.own_statistics:
            return super().forward(features)
        return F.batch_norm(
            features, None, None, self.weight, self.bias, training=True, eps=self.eps
        )


def _convolution(incoming: int, outgoing: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(incoming, outgoing, 3, stride=stride, padding=1)


class HalvingBlock(nn.Module):
    """Residual block to half the grid (`ResDown` of section 3.1).

    Parameters
    ----------
    activated : bool
        Both branches end in a rectifier; in the block that puts out a code neither does.
    """

    def __init__(
        self, incoming: int, outgoing: int, options: SliceVAEOptions, *, activated: bool = True
    ) -> None:
        super().__init__()
        rectifier = nn.LeakyReLU(options.negative_slope)
        last = rectifier if activated else nn.Identity()
        self.branch = nn.Sequential(
            _convolution(incoming, incoming, stride=2),
            BatchNormalisation(incoming, options),
            rectifier,
            _convolution(incoming, outgoing),
            BatchNormalisation(outgoing, options),
            last,
        )
        self.shortcut = nn.Sequential(
            _convolution(incoming, outgoing, stride=2), BatchNormalisation(outgoing, options), last
        )

    def forward(self, features: Tensor) -> Tensor:
        """`[n, incoming, h, w]` to `[n, outgoing, ceil(h / 2), ceil(w / 2)]`."""
        return self.branch(features) + self.shortcut(features)


class DoublingBlock(nn.Module):
    """Residual block to a finer grid, the mirror of `HalvingBlock`."""

    def __init__(
        self, incoming: int, outgoing: int, size: tuple[int, int], options: SliceVAEOptions
    ) -> None:
        super().__init__()
        rectifier = nn.LeakyReLU(options.negative_slope)
        self.branch = nn.Sequential(
            _convolution(incoming, incoming),
            nn.Upsample(size, mode="nearest"),
            BatchNormalisation(incoming, options),
            rectifier,
            _convolution(incoming, outgoing),
            BatchNormalisation(outgoing, options),
            rectifier,
        )
        # the released code rectifies its shortcut twice: a slope of 0.2 becomes one of 0.04
        self.shortcut = nn.Sequential(
            _convolution(incoming, outgoing),
            nn.Upsample(size, mode="nearest"),
            BatchNormalisation(outgoing, options),
            rectifier,
            rectifier,
        )

    def forward(self, features: Tensor) -> Tensor:
        """`[n, incoming, h, w]` to `[n, outgoing, *size]`."""
        return self.branch(features) + self.shortcut(features)


class SliceEncoder(nn.Module):
    """Slices `[n, 1, h, w]` to mean and log standard deviation of their codes."""

    def __init__(self, options: SliceVAEOptions, widths: Sequence[int]) -> None:
        super().__init__()
        *pairs, last = itertools.pairwise(widths)
        self.layers = nn.Sequential(
            _convolution(1, widths[0]),
            BatchNormalisation(widths[0], options),
            nn.LeakyReLU(options.negative_slope),
            *(HalvingBlock(*pair, options) for pair in pairs),
        )
        self.to_mean = HalvingBlock(*last, options, activated=False)
        self.to_log_deviation = HalvingBlock(*last, options, activated=False)

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """`[n, 1, h, w]` to two tensors `[n, latent_channels, ...]`."""
        features = self.layers(slices)
        return self.to_mean(features), self.to_log_deviation(features)


class SliceDecoder(nn.Module):
    """Codes `[n, latent_channels, ...]` to slices `[n, 1, h, w]`."""

    def __init__(
        self,
        options: SliceVAEOptions,
        widths: Sequence[int],
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__()
        upwards = itertools.pairwise(widths[::-1])
        self.layers = nn.Sequential(
            *(
                DoublingBlock(*pair, size, options)
                for pair, size in zip(upwards, sizes[-2::-1], strict=True)
            ),
            _convolution(widths[0], widths[0]),
            BatchNormalisation(widths[0], options),
            nn.LeakyReLU(options.negative_slope),
            _convolution(widths[0], 1),
        )

    def forward(self, codes: Tensor) -> Tensor:
        """`[n, latent_channels, ...]` to `[n, 1, h, w]`."""
        return self.layers(codes)


class SliceVAE(Model):
    """The slice VAE with its Gaussian over slices.

    Parameters
    ----------
    options : SliceVAEOptions
    shape : tuple of int
        Grid of a volume; its second axis counts the coronal slices.
    start : ndarray or None
        Mean image of the training scans, used when `describes` says so.

    Raises
    ------
    ConfigError
        When a slice cannot be halved as often as `depth` asks, or `latent_channels` not be halved
        with it.
    """

    architecture = "slice_vae"
    # copies of the model on other devices need not be told of the Gaussian at each step
    _ddp_params_and_buffers_to_ignore = tuple(
        f"gaussian.{name}"
        for name in ("mean", "axes", "variances", "residual", "modelled_axes", "volumes")
    )

    def __init__(
        self,
        options: SliceVAEOptions,
        shape: tuple[int, int, int],
        start: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape[0], shape[2]) < 4 * LEAST_CODE:
            raise ConfigError(
                f"grid {tuple(shape)}: slice_vae halves coronal slices down to 2 pixels",
                "use at least 8 voxels along the first and last axis",
            )
        sizes = slice_sizes((shape[0], shape[2]), options.depth)
        widths = channel_widths(options, len(sizes) - 1)
        doublings = len(set(widths)) - 1
        if widths[0] * 2**doublings != options.latent_channels or widths[0] < 1:
            raise ConfigError(
                f"latent_channels {options.latent_channels} cannot be halved for each of the "
                f"{len(sizes) - 1} blocks of a slice of {sizes[0]} pixels",
                "use a power of two that is large enough",
            )
        self.options, self.shape = options, tuple(shape)
        self.around = AroundMean(options, shape, start)
        self.code_shape = (options.latent_channels, *sizes[-1])
        self.encoder = SliceEncoder(options, widths)
        self.decoder = SliceDecoder(options, widths, sizes)
        self.gaussian = SliceGaussian(
            math.prod(self.code_shape),
            shape[CORONAL],
            options.gaussian_rank,
            options.gaussian_factor,
        )

    # -- slices and volumes ------------------------------------------------------------------------

    def encode(self, volumes: Tensor) -> Tensor:
        """Posterior means of all slices of volumes `[n, x, y, z]`: codes `[n, L, T]`."""
        return self.posterior(volumes)[0]

    def posterior(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log SD of the codes of all slices of volumes `[n, x, y, z]`: two `[n, L, T]`.

        Volumes are encoded one by one, as batch normalisation may look at a volume's slices.
        """
        found = [self.encoder(slices[:, None]) for slices in _slices(self.around.take(volumes))]
        mean, log_deviation = (
            torch.stack([part.flatten(1).T for part in parts]).float()
            for parts in zip(*found, strict=True)
        )
        return mean, log_deviation

    def decode(self, codes: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` for codes `[n, L, T]`, decoded slice by slice."""
        made = [self.decoder(one.T.unflatten(1, self.code_shape))[:, 0] for one in codes]
        return self.around.give(torch.stack(made, dim=0).movedim(1, 1 + CORONAL).float())

    def reconstruct(self, volumes: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` decoded from the posterior means of their slices."""
        return self.decode(self.encode(volumes))

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Volumes `[n, x, y, z]` from the Gaussian over slices, one for each generator."""
        return self.decode(self.gaussian.draw(generators))

    # -- training ----------------------------------------------------------------------------------

    def losses(
        self,
        volumes: Tensor,
        *,
        phase: str = "all",
        progress: Progress,
        generators: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """Terms of the loss, sums over a volume's slices and means over volumes.

        Parameters
        ----------
        volumes : Tensor
            `[n, x, y, z]`.
        phase : str
            The only one there is.
        progress : Progress
            Not used: no weight follows a schedule.
        generators : sequence of torch.Generator
            One for each volume, on the CPU; choose its slices and give the posterior's noise.

        Returns
        -------
        dict of str to Tensor
            Scalars: reconstruction (squared differences), kl.
        """
        seen = self.around.take(volumes)
        chosen = [self._choose(one, own) for one, own in zip(seen, generators, strict=True)]
        slices = torch.cat(chosen)[:, None]
        mean, log_deviation = (part.float() for part in self.encoder(slices))
        per_volume = len(chosen[0])
        codes = posterior_sample(
            mean.unflatten(0, (-1, per_volume)),
            2 * log_deviation.unflatten(0, (-1, per_volume)),
            generators,
        )
        made = self.decoder(codes.flatten(0, 1)).float()
        kl = 0.5 * (mean.square() + (2 * log_deviation).exp() - 1) - log_deviation
        return {
            "reconstruction": (slices - made).square().sum() / len(volumes),
            "kl": self.options.kl_weight * kl.sum() / len(volumes),
        }

    def _choose(self, volume: Tensor, generator: torch.Generator) -> Tensor:
        """Slices `[t, x, z]` of a volume that a step sees, in their order."""
        slices, wanted = volume.movedim(CORONAL, 0), self.options.slices_per_volume
        if wanted is None or wanted >= len(slices):
            return slices
        order = torch.randperm(len(slices), generator=generator)[:wanted].sort().values
        return slices[order.to(slices.device)]

    def fit_after_training(self, batches: Iterable[Tensor]) -> None:
        """Estimate the Gaussian over slices from the first training volumes (section 2.1)."""
        self.gaussian.fit(self._codes_of_first(batches))

    def _codes_of_first(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        left = self.options.gaussian_volumes
        for volumes in batches:
            yield self.encode(volumes[:left])
            left -= len(volumes)
            if left <= 0:
                return


def _slices(volumes: Tensor) -> Iterator[Tensor]:
    """Coronal slices `[T, x, z]` of each volume."""
    return iter(volumes.movedim(1 + CORONAL, 1))
