"""The Gaussian over slices of P2 (section 2.1): one for each component of a slice's code.

A volume of T slices has T codes of L numbers. Component l of all its slices is a vector of T
numbers, whose mean and covariance over the training volumes make new volumes; components are
independent of each other.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from genmorph.errors import MeasurementError, TrainingError, WeightsError
from genmorph.models.blocks import standard_normal

CHUNK = 32  # volumes whose products are added up at once
COMPONENTS_AT_ONCE = 64  # that are decomposed at once: bounds the memory
LEAST_VARIANCE = 1e-10  # of a component's largest: below, a direction counts as none


class SliceStatistics:
    """Sums over volumes for mean and covariance of each component, in one pass.

    Sums are double precision and of differences from the first volume, so that little is lost when
    the mean is large; no more than `CHUNK` volumes are held at once.

    Parameters
    ----------
    components, slices : int
        L and T.
    """

    def __init__(self, components: int, slices: int, device: torch.device | str = "cpu") -> None:
        like = {"dtype": torch.float64, "device": device}
        self.volumes = 0
        self._first: Tensor | None = None
        self._waiting: list[Tensor] = []
        self._sums = torch.zeros(components, slices, **like)
        self._products = torch.zeros(components, slices, slices, **like)

    def add(self, codes: Tensor) -> None:
        """Count volumes whose codes are `[n, L, T]`."""
        codes = codes.to(self._sums)
        if self._first is None:
            self._first = codes[0].clone()
        self._waiting += list(codes - self._first)
        self.volumes += len(codes)
        if len(self._waiting) >= CHUNK:
            self._add_waiting()

    def _add_waiting(self) -> None:
        if not self._waiting:
            return
        chunk = torch.stack(self._waiting, dim=2)  # [L, T, n]
        self._waiting = []
        self._sums += chunk.sum(2)
        self._products.baddbmm_(chunk, chunk.transpose(1, 2))

    def mean(self) -> Tensor:
        """Mean of the codes, `[L, T]`."""
        self._add_waiting()
        if self._first is None:
            raise TrainingError("a Gaussian over slices needs volumes to be estimated from")
        return self._first + self._sums / self.volumes

    def covariances(self) -> Iterator[Tensor]:
        """Covariances divided by N, `[some components, T, T]`, in the order of components."""
        self._add_waiting()
        shift = self._sums / self.volumes
        for first in range(0, len(shift), COMPONENTS_AT_ONCE):
            some = slice(first, first + COMPONENTS_AT_ONCE)
            yield self._products[some] / self.volumes - shift[some, :, None] * shift[some, None, :]


class SliceGaussian(nn.Module):
    """Independent Gaussians N(μ_l, Σ_l) over the slices, kept by their principal axes.

    Parameters
    ----------
    components, slices : int
        L and T.
    rank : int or None
        Axes kept for each component; None or more than T keeps all.
    factor : {'covariance', 'paper_sqrt'}
        W of y = W z + μ. With Y = U S V* the centred codes of N volumes as columns, `covariance` is
        U S / √N, whose samples have the sample covariance. `paper_sqrt` is U S^½ / √N as printed in
        section 2.1, whose samples have not.

    Notes
    -----
    All numbers are buffers and so part of a checkpoint. The released code keeps 64 axes at sizes 64
    and 256 and 128 at size 128.
    """

    def __init__(
        self, components: int, slices: int, rank: int | None = None, factor: str = "covariance"
    ) -> None:
        super().__init__()
        self.factor = factor
        self.rank = min(rank or slices, slices)
        self.register_buffer("mean", torch.zeros(components, slices))
        self.register_buffer("axes", torch.zeros(components, slices, self.rank))
        self.register_buffer("variances", torch.zeros(components, self.rank))
        # mean variance along the directions that `log_density` does not model one by one
        self.register_buffer("residual", torch.zeros(components))
        self.register_buffer("modelled_axes", torch.zeros((), dtype=torch.int64))
        self.register_buffer("volumes", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def fit(self, codes: Iterable[Tensor]) -> None:
        """Estimate all from batches of codes `[n, L, T]`, each looked at once.

        Raises
        ------
        TrainingError
            When there is not one volume.
        """
        statistics = SliceStatistics(*self.mean.shape, device=self.mean.device)
        for batch in codes:
            statistics.add(batch)
        self.mean.copy_(statistics.mean())
        self.volumes.fill_(statistics.volumes)
        spectrum = []
        for place, covariance in enumerate(statistics.covariances()):
            values, vectors = torch.linalg.eigh(covariance)
            values, vectors = values.flip(1).clamp(min=0), vectors.flip(2)
            some = slice(place * COMPONENTS_AT_ONCE, place * COMPONENTS_AT_ONCE + len(values))
            self.axes[some] = _with_fixed_signs(vectors[:, :, : self.rank])
            self.variances[some] = values[:, : self.rank]
            spectrum.append(values)
        values = torch.cat(spectrum)
        modelled = _modelled_axes(values, statistics.volumes, self.rank)
        self.modelled_axes.fill_(modelled)
        if modelled < values.shape[1]:
            self.residual.copy_(values[:, modelled:].mean(1))
        if self.factor == "paper_sqrt":
            print(
                "warning: slice_vae: gaussian_factor paper_sqrt draws codes whose covariance is "
                "not that of the training codes",
                file=sys.stderr,
                flush=True,
            )

    def draw(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Codes `[n, L, T]`, one volume for each generator.

        Raises
        ------
        WeightsError
            When nothing has been fitted.
        """
        self._check_fitted()
        noise = standard_normal(generators, *self.variances.shape).to(self.mean.device)
        return self.mean + torch.einsum("ltp,nlp->nlt", self.matrix(), noise)

    def matrix(self) -> Tensor:
        """W of each component, `[L, T, rank]`."""
        if self.factor == "paper_sqrt":
            volumes = self.volumes.to(self.variances)
            singular = (self.variances * volumes).sqrt()
            return self.axes * (singular.sqrt() / volumes.sqrt())[:, None, :]
        return self.axes * self.variances.sqrt()[:, None, :]

    @property
    def covariance_kind(self) -> str:
        """Which covariance `log_density` takes, in words."""
        self._check_fitted()
        modelled, slices = int(self.modelled_axes), self.mean.shape[1]
        if modelled == slices:
            return "sample covariance"
        return f"probabilistic PCA, {modelled} of {slices} axes and a residual variance"

    def log_density(self, codes: Tensor, covariance: str = "full_rank") -> Tensor:
        """log p(y) of the latent stacks of volumes; not the density of the volumes themselves.

        Parameters
        ----------
        codes : Tensor
            `[n, L, T]`.
        covariance : {'full_rank', 'sample'}
            `full_rank`: the sample covariance where it has full rank and all axes are kept, else
            probabilistic PCA (Tipping and Bishop 1999), which gives all directions beyond the
            modelled axes their mean variance; `covariance_kind` says which. The modelled axes are
            those kept, or half of the directions that the volumes span when all of these are kept.
            `sample`: the sample covariance or an error.

        Returns
        -------
        Tensor, shape (n,), float64
            Natural logarithm; comparable among codes of one encoder alone.

        Raises
        ------
        MeasurementError
            When the covariance asked for has no density.
        """
        self._check_fitted()
        modelled, slices = int(self.modelled_axes), self.mean.shape[1]
        if covariance == "sample" and modelled < slices:
            raise MeasurementError(
                f"the sample covariance of {int(self.volumes)} volumes with {self.rank} axes kept "
                f"has no density over {slices} slices",
                "ask for covariance full_rank, or fit more volumes than slices and keep all axes",
            )
        variances, residual = self._modelled_variances()
        centred = codes.double() - self.mean.double()
        along = torch.einsum("ltp,nlt->nlp", self.axes[:, :, :modelled].double(), centred)
        distance = (along.square() / variances).sum(2)
        logarithms = variances.log().sum(1)
        if modelled < slices:
            rest = (centred.square().sum(2) - along.square().sum(2)).clamp(min=0)
            distance = distance + rest / residual[:, 0]
            logarithms = logarithms + (slices - modelled) * residual[:, 0].log()
        return -0.5 * (distance + logarithms + slices * math.log(2 * math.pi)).sum(1)

    def expected_log_density(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """E[log p(y)] for y of independent normal numbers, in closed form.

        With precision P_l of component l it is log p(mean) - ½ Σ_l Σ_t P_l[t, t] deviation²[l, t].

        Parameters
        ----------
        mean, deviation : Tensor
            `[n, L, T]`: a posterior's mean and SD.

        Returns
        -------
        Tensor, shape (n,), float64

        Raises
        ------
        MeasurementError
            As `log_density` with covariance `full_rank`.
        """
        at_mean = self.log_density(mean)
        variances, residual = self._modelled_variances()
        axes = self.axes[:, :, : variances.shape[1]].double()
        precision = (axes.square() / variances[:, None, :]).sum(2)
        if variances.shape[1] < axes.shape[1]:
            # what is left of each slice's own direction beyond the modelled axes
            rest = (1 - axes.square().sum(2)).clamp(min=0)
            precision = precision + rest / residual
        return at_mean - 0.5 * (precision * deviation.double().square()).sum((1, 2))

    def _modelled_variances(self) -> tuple[Tensor, Tensor]:
        """Variances along the modelled axes `[L, axes]` and beyond them `[L, 1]`, float64."""
        modelled, slices = int(self.modelled_axes), self.mean.shape[1]
        residual = self.residual.double()[:, None]
        if modelled < slices and not (residual > 0).all():
            raise MeasurementError("some component of the codes is the same in all volumes")
        return self.variances[:, :modelled].double(), residual

    def _check_fitted(self) -> None:
        if not int(self.volumes):
            raise WeightsError(
                "slice_vae: its Gaussian over slices was never estimated",
                "train the model with `genmorph train`, which estimates it at the end",
            )


def _modelled_axes(values: Tensor, volumes: int, rank: int) -> int:
    """Axes that the density models one by one; the same number for all components.

    Parameters
    ----------
    values : Tensor
        Variances `[L, T]`, falling.
    """
    spanned = int((values > LEAST_VARIANCE * values[:, :1]).sum(1).min())
    spanned = min(spanned, volumes - 1)
    if spanned >= values.shape[1]:
        return rank
    # were all spanned directions modelled, nothing would be left to tell the others' variance
    return rank if rank < spanned else spanned // 2


def _with_fixed_signs(axes: Tensor) -> Tensor:
    """Axes whose largest entry is positive: the sign of an eigenvector is arbitrary."""
    largest = axes.abs().argmax(dim=1, keepdim=True)
    return axes * torch.where(axes.gather(1, largest) < 0, -1.0, 1.0)
