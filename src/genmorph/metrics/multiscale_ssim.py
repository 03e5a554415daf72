"""Multi-scale structural similarity (MS-SSIM) of volumes, in two definitions.

`wang`
    Wang, Simoncelli and Bovik (2003, equation 7), carried to three axes: the contrast-structure
    term of each scale and the luminance term of the coarsest, to the power of the standard weights,
    each a mean over the voxels whose window lies inside the grid. A negative mean counts as zero.
    With 11 taps and five scales it is what MONAI and pytorch-msssim compute. Both refuse grids
    whose coarsest scale is narrower than the window; here the window narrows (see `definition`).
`kwon`
    As the code of Kwon et al. (2019) computes the numbers of P2 and P3: a mean over every voxel
    with mirrored borders, constants of a data range of 1 on intensities in [-1, 1], and the
    similarity of the coarsest scale once for each finer scale, so to four times its weight. A
    negative mean has no such power: the value is then not defined.

Values of the two definitions, of two data ranges or of two windows do not compare.

Windows are applied axis by axis as products with band matrices, in single precision, in blocks
along the axis so that few zeros are multiplied. Mean and variance of a volume are computed once
for all the pairs it is in.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from genmorph.errors import MeasurementError, did_you_mean

if TYPE_CHECKING:
    import torch

Mode = Literal["wang", "kwon"]

K1, K2 = 0.01, 0.03
SIGMA_VOXELS = 1.5
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
TAPS, FEWEST_TAPS = 11, 3
KWON_TAPS = 13  # scipy.ndimage.gaussian_filter cuts its window four SDs from the centre
KWON_COARSEST_POWER = 4
# voxels along an axis that one block of a band matrix gives
BLOCK = 48


# -- definition ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Definition:
    """Everything that decides an MS-SSIM on one grid.

    Attributes
    ----------
    mode : {'wang', 'kwon'}
    shape : tuple of int
        Grid of the finest scale.
    taps : int
        Width of the window along an axis, at every scale.
    weights : tuple of float
        Power of each scale, finest first. Their sum is 1.
    coarsest_power : int
        How often the term of the coarsest scale enters.
    data_range : float
        Decides the two constants.
    intensity_range : tuple of float
        What 0 and 1 of a volume become before anything is computed.
    """

    mode: Mode
    shape: tuple[int, ...]
    taps: int
    weights: tuple[float, ...]
    coarsest_power: int
    data_range: float
    intensity_range: tuple[float, float]

    @property
    def constants(self) -> tuple[float, float]:
        """The constants of the luminance and the contrast-structure term."""
        return (K1 * self.data_range) ** 2, (K2 * self.data_range) ** 2

    @property
    def settings(self) -> dict[str, Any]:
        """What a reader has to know of the definition, as JSON values."""
        inside = self.mode == "wang"
        return {
            "mode": self.mode,
            "data_range": self.data_range,
            "intensity_range": list(self.intensity_range),
            "constants": [round(constant, 12) for constant in self.constants],
            "window": "gaussian",
            "window_taps": self.taps,
            "window_sigma_voxels": SIGMA_VOXELS,
            "border": "mean over windows inside the grid"
            if inside
            else "mirrored; mean over every voxel",
            "scales": len(self.weights),
            "scale_weights": [round(weight, 6) for weight in self.weights],
            "coarser_scale": "means of 2x2x2 voxels, an odd last plane left out",
            "coarsest_power": self.coarsest_power,
            "negative_terms": "zero" if inside else "not defined",
            "precision": "float32",
        }


def definition(
    shape: Sequence[int],
    *,
    mode: Mode,
    data_range: float,
    intensity_range: tuple[float, float] = (0.0, 1.0),
    coarsest_power: int | None = None,
) -> Definition:
    """The MS-SSIM of a grid.

    In mode `wang` five scales with a window of 11 taps need at least 176 voxels along every axis.
    On a smaller grid the window, at all scales, is the greatest odd number of taps that fits the
    coarsest scale; its SD stays 1.5 voxels. Where not even 3 taps fit the coarsest of five, scales
    are left out from the coarse end until they do, and the weights of the others are divided by
    their sum.

    Parameters
    ----------
    shape : sequence of int
    mode : {'wang', 'kwon'}
    data_range : float
        Decides the constants, hence the value. The code behind `kwon` has 1.
    intensity_range : tuple of float
        Volumes in [0, 1] are brought to this range first; that of the papers is (-1, 1).
    coarsest_power : {4, 1}, optional
        Of `kwon`: 4 (default) as its code has it, 1 as the definition of MS-SSIM has it.

    Raises
    ------
    MeasurementError
        When the mode is unknown, a number makes no sense, or the grid is too small.

    Examples
    --------
    >>> [definition(3 * (side,), mode="wang", data_range=1.0).taps for side in (64, 128, 160, 192)]
    [3, 7, 9, 11]
    >>> len(definition((24, 40, 40), mode="wang", data_range=1.0).weights)
    4
    """
    if mode not in get_args(Mode):
        raise MeasurementError(f"MS-SSIM: mode {mode!r}", did_you_mean(mode, get_args(Mode)))
    if not (math.isfinite(data_range) and data_range > 0):
        raise MeasurementError(f"MS-SSIM: data range {data_range}", "give a positive number")
    low, high = map(float, intensity_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise MeasurementError(
            f"MS-SSIM: intensity range {low} to {high}", "give two numbers, the lower first"
        )
    if len(shape) != 3:
        raise MeasurementError(f"MS-SSIM: grid {tuple(shape)}, three axes expected")
    if mode == "wang":
        if coarsest_power not in (None, 1):
            raise MeasurementError(
                f"MS-SSIM: coarsest power {coarsest_power} in mode wang", "it belongs to mode kwon"
            )
        taps, scales = _window_that_fits(min(shape))
        power = 1
    else:
        power = KWON_COARSEST_POWER if coarsest_power is None else coarsest_power
        if power not in (1, KWON_COARSEST_POWER):
            raise MeasurementError(f"MS-SSIM: coarsest power {power}", "give 4 or 1")
        taps, scales = KWON_TAPS, len(WEIGHTS)
        _check_side(min(shape), 2 ** (scales - 1))
    weights = WEIGHTS[:scales]
    total = math.fsum(weights)
    return Definition(
        mode=mode,
        shape=tuple(map(int, shape)),
        taps=taps,
        weights=weights if scales == len(WEIGHTS) else tuple(weight / total for weight in weights),
        coarsest_power=power,
        data_range=float(data_range),
        intensity_range=(low, high),
    )


def _window_that_fits(side: int) -> tuple[int, int]:
    """Taps and scales on a grid whose shortest axis has `side` voxels."""
    _check_side(side, FEWEST_TAPS)
    scales = len(WEIGHTS)
    while side >> (scales - 1) < FEWEST_TAPS:
        scales -= 1
    coarsest = side >> (scales - 1)
    return min(TAPS, coarsest if coarsest % 2 else coarsest - 1), scales


def _check_side(side: int, fewest: int) -> None:
    if side < fewest:
        raise MeasurementError(
            f"MS-SSIM: an axis of {side} voxels", f"volumes need {fewest} along every axis"
        )


# -- moments of one volume -------------------------------------------------------------------------


@dataclass(frozen=True)
class ScaleMoments:
    """A volume at one scale with its local moments, shared by all pairs it takes part in.

    Attributes
    ----------
    image : Tensor
        `[x, y, z]`, float32. Its zero is the volume's: the lower end of the intensity range is
        added to means where the luminance needs it, since variances do not depend on it and lose
        fewer digits around zero.
    mean, variance : Tensor
        Under the window, `[x, y, z]`; smaller than the image where windows lie inside the grid.
    """

    image: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor


def scale_moments(volume: np.ndarray, how: Definition) -> tuple[ScaleMoments, ...]:
    """Local mean and variance of a volume at every scale.

    Parameters
    ----------
    volume : ndarray
        `[x, y, z]`, in [0, 1].
    how : Definition

    Returns
    -------
    tuple of ScaleMoments
        Finest first: about 3.4 times the memory of the volume.

    Raises
    ------
    MeasurementError
        When the volume is not on the definition's grid.
    """
    import torch

    if volume.shape != how.shape:
        raise MeasurementError(f"MS-SSIM: a volume {volume.shape} on the grid {how.shape}")
    low, high = how.intensity_range
    image = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))
    if high - low != 1:
        image = image * (high - low)
    scales = []
    for scale in range(len(how.weights)):
        if scale:
            image = torch.nn.functional.avg_pool3d(image[None], 2)[0]
        mean = _smooth(image, how)
        variance = _smooth(image.square(), how).sub_(mean.square())
        scales.append(ScaleMoments(image, mean, variance))
    return tuple(scales)


def _smooth(image: torch.Tensor, how: Definition) -> torch.Tensor:
    """Weighted mean under the window around each voxel."""
    for _ in range(3):
        image = _smooth_first_axis(image, how.taps, inside=how.mode == "wang")
    return image


def _smooth_first_axis(image: torch.Tensor, taps: int, *, inside: bool) -> torch.Tensor:
    """Weighted mean along the first axis of `[x, y, z]`, which becomes the last: `[y, z, x]`.

    Three times it leaves the axes as they were, and all reading and writing is in long rows.
    """
    import torch

    size = len(image)
    matrix = torch.from_numpy(_band_matrix(size, taps, inside=inside))
    smoothed = torch.empty((*image.shape[1:], len(matrix)))
    before, after = (0, taps - 1) if inside else (taps // 2, taps // 2)
    for first in range(0, len(matrix), BLOCK):
        stop = min(first + BLOCK, len(matrix))
        # planes whose weighted means the planes first..stop are
        needed = slice(max(first - before, 0), min(stop + after, size))
        torch.mm(
            image[needed].flatten(1).T,
            matrix[first:stop, needed].T,
            out=smoothed.flatten(0, 1)[:, first:stop],
        )
    return smoothed


@functools.lru_cache(maxsize=32)
def _band_matrix(size: int, taps: int, *, inside: bool) -> np.ndarray:
    """The window of every voxel along an axis as rows of a matrix, float32.

    `[size, size]` with mirrored borders (the edge repeated), or the rows of windows that lie
    inside, `[size - taps + 1, size]`.
    """
    reach = taps // 2
    weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / SIGMA_VOXELS))
    mirrored = np.pad(np.eye(size), ((reach, reach), (0, 0)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, taps, axis=0)
    matrix = windows @ (weights / weights.sum())
    return (matrix[reach : size - reach] if inside else matrix).astype(np.float32)


# -- similarity of two volumes ---------------------------------------------------------------------


def ms_ssim(
    first: Sequence[ScaleMoments], second: Sequence[ScaleMoments], how: Definition
) -> float:
    """MS-SSIM of two volumes.

    Parameters
    ----------
    first, second : sequence of ScaleMoments
        As `scale_moments` gives them with the same definition.
    how : Definition

    Returns
    -------
    float
        At most 1. In mode `wang` not negative; in mode `kwon` NaN where the mean of a term is
        negative, which has no real power.
    """
    terms = [_contrast_structure(*pair, how) for pair in zip(first[:-1], second[:-1], strict=True)]
    terms.append(_similarity(first[-1], second[-1], how))
    powers = [*how.weights[:-1], how.weights[-1] * how.coarsest_power]
    if how.mode == "wang":
        terms = [max(term, 0.0) for term in terms]
    elif min(terms) < 0:
        return math.nan
    return math.prod(term**power for term, power in zip(terms, powers, strict=True))


def _contrast_structure(first: ScaleMoments, second: ScaleMoments, how: Definition) -> float:
    return _contrast_structure_map(first, second, how).mean().item()


def _similarity(first: ScaleMoments, second: ScaleMoments, how: Definition) -> float:
    constant, low = how.constants[0], how.intensity_range[0]
    mean_a, mean_b = first.mean + low, second.mean + low
    luminance = (2 * mean_a * mean_b + constant) / (mean_a.square() + mean_b.square() + constant)
    structure = _contrast_structure_map(first, second, how)
    return (luminance * structure).mean().item()


def _contrast_structure_map(
    first: ScaleMoments, second: ScaleMoments, how: Definition
) -> torch.Tensor:
    constant = how.constants[1]
    covariance = _smooth(first.image * second.image, how).sub_(first.mean * second.mean)
    return covariance.mul_(2).add_(constant).div_(first.variance + second.variance + constant)
