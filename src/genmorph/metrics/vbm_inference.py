"""Voxels of a t-map over a threshold: uncorrected, false discovery rate, maximum statistic.

All are two-sided. The papers show uncorrected maps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.vbm_moments import Differences, Maps, people_matrix
from genmorph.metrics.vbm_statistics import TMap
from genmorph.metrics.vbm_variances import add_low_variance, squared_standard_error
from genmorph.seeds import derive_seed

UNCORRECTED, FALSE_DISCOVERY, FAMILY_WISE = CORRECTIONS = (
    "uncorrected",
    "false discovery rate",
    "family-wise",
)
# of permuted statistics held at a time
VALUES_AT_A_TIME = 1 << 19
LEAST_AT_A_TIME = 8
VOXELS_AT_A_TIME = 1 << 12
# two orders of summing one and the same statistic differ by less
TIE = 1e-9


@dataclass(frozen=True)
class Suprathreshold:
    """Voxels over a threshold.

    Attributes
    ----------
    mask : ndarray of bool or None
        On the grid; None when the threshold is not defined.
    settings : dict
    values : dict of float
        `threshold_p` (greatest p that is over it), `threshold_t` (|t| that must be exceeded),
        `peak_p_corrected` (of the greatest |t|): what there is of them.
    reason : str
        Why the threshold is not defined; '' when it is.
    """

    mask: np.ndarray | None
    settings: dict[str, Any]
    values: dict[str, float] = field(default_factory=dict)
    reason: str = ""


def p_values(t_map: TMap) -> np.ndarray:
    """Two-sided p of every voxel from Student's distribution; NaN where t is not defined."""
    from scipy.special import stdtr

    return 2 * stdtr(t_map.degrees_of_freedom, -np.abs(t_map.t))


# -- thresholds ------------------------------------------------------------------------------------


def uncorrected(t_map: TMap, level: float = 0.001) -> Suprathreshold:
    """Voxels with p of at most `level`, each on its own."""
    from scipy.stats import t as student

    _check_level(level)
    values = {"threshold_p": level}
    if not isinstance(t_map.degrees_of_freedom, np.ndarray):
        values["threshold_t"] = float(student.isf(level / 2, t_map.degrees_of_freedom))
    return Suprathreshold(
        p_values(t_map) <= level, _settings(UNCORRECTED, level, "Student's t"), values
    )


def false_discovery_rate(t_map: TMap, level: float = 0.05) -> Suprathreshold:
    """Voxels of a false discovery rate of at most `level` (Benjamini and Hochberg 1995).

    Their p-values control it for independent voxels, and for the positive dependence that
    smoothing makes (Benjamini and Yekutieli 2001).
    """
    from scipy.stats import false_discovery_control

    _check_level(level)
    found = p_values(t_map)[t_map.tested]
    over = false_discovery_control(found, method="bh") <= level
    mask = np.zeros(t_map.mask.shape, dtype=bool)
    mask[t_map.tested] = over
    return Suprathreshold(
        mask,
        _settings(FALSE_DISCOVERY, level, "Benjamini-Hochberg of the p of Student's t"),
        {"threshold_p": float(found[over].max())} if over.any() else {},
    )


def family_wise(t_map: TMap, null: MaximumNull, level: float = 0.05) -> Suprathreshold:
    """Voxels whose |t| exceeds the greatest |t| of all but a share `level` of the permutations."""
    _check_level(level)
    settings = _settings(FAMILY_WISE, level, "maximum |t| over the mask") | null.settings
    peak = {"peak_p_corrected": float(null.p_values(np.nanmax(np.abs(t_map.t))))}
    threshold = null.threshold(level)
    if threshold is None:
        return Suprathreshold(
            None,
            settings,
            peak,
            reason=f"{len(null.maxima)} permutations cannot reach p of {level:g}: "
            f"the least is {1 / len(null.maxima):.3g}",
        )
    with np.errstate(invalid="ignore"):
        mask = np.abs(t_map.t) > threshold * (1 + TIE)
    return Suprathreshold(mask, settings, peak | {"threshold_t": threshold})


def over_threshold(t_map: TMap, values: Mapping[str, float]) -> np.ndarray:
    """Voxels over the threshold that a measurement's values name, as a mask on the grid.

    A false discovery rate that no voxel reached leaves no threshold, so no voxel is over it.
    """
    if "threshold_p" in values:
        return p_values(t_map) <= values["threshold_p"]
    if "threshold_t" in values:
        with np.errstate(invalid="ignore"):
            return np.abs(t_map.t) > values["threshold_t"] * (1 + TIE)
    return np.zeros(t_map.mask.shape, dtype=bool)


def _settings(correction: str, level: float, statistic: str) -> dict[str, Any]:
    return {
        "correction": correction,
        "level": level,
        "threshold_statistic": statistic,
        "sides": "two-sided",
    }


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise MeasurementError(f"VBM: level {level}", "set it between 0 and 1")


# -- permutation of the maximum --------------------------------------------------------------------


@dataclass(frozen=True)
class MaximumNull:
    """Greatest |t| over the mask, for each way to label the people.

    Attributes
    ----------
    maxima : ndarray, shape (permutations,)
        The labels as they are come first.
    settings : dict
    """

    maxima: np.ndarray
    settings: dict[str, Any]

    def threshold(self, level: float) -> float | None:
        """|t| that at most a share `level` of the maxima exceeds; None when they are too few."""
        allowed = math.floor(level * len(self.maxima) + TIE)
        if allowed < 1:
            return None
        return float(np.sort(self.maxima)[::-1][allowed])

    def p_values(self, t: np.ndarray) -> np.ndarray:
        """Share of the maxima that reach |t|, of each t; NaN where t is."""
        ascending = np.sort(self.maxima)
        below = np.searchsorted(ascending, np.abs(t) / (1 + TIE), side="left")
        # one division, so that 10 of 200 are 0.05 and not a little more
        return np.where(np.isnan(t), np.nan, (len(ascending) - below) / len(ascending))


def permute_maximum(
    first: Maps | np.ndarray,
    second: Maps | np.ndarray,
    t_map: TMap,
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> MaximumNull:
    """Greatest |t| over the mask when people change sides, as often as asked for.

    Nichols and Holmes (2002). People, never scans, exchange their group; in a paired design each
    person's difference changes its sign. When there are no more different ways than asked for, each
    is taken once; else they are drawn, and the labels as they are count as one of them. The test
    that each way gets is that of `t_map`, low-variance correction included.

    With groups of unequal variance an exchange of labels tests that the distributions are equal,
    not the means alone.

    Parameters
    ----------
    first, second : mapping of str to ndarray, or ndarray
        What `t_map` was made of. Their values in its mask stand in memory together.
    t_map : TMap
        Names the test, and the voxels: those whose t is defined.
    permutations : int
        Ways to label people, the labels as they are included.
    seed : int

    Returns
    -------
    MaximumNull

    Raises
    ------
    MeasurementError
        When fewer than two permutations are asked for, or the maps are not those of `t_map`.
    """
    if permutations < 2:
        raise MeasurementError(f"VBM: {permutations} permutations", "ask for 1000 or more")
    generator = np.random.default_rng(derive_seed(seed, "vbm", "permutations"))
    if t_map.settings["design"] == "paired":
        _, matrix = people_matrix(Differences(first, second), t_map.tested)
        ways, every = _sign_flips(len(matrix), permutations, generator)
        statistic = _PairedStatistic(matrix)
    else:
        matrices = [people_matrix(maps, t_map.tested)[1] for maps in (first, second)]
        people = len(matrices[0]), len(matrices[1])
        ways, every = _relabellings(*people, permutations, generator)
        statistic = _TwoSampleStatistic(np.concatenate(matrices), t_map.settings["variance"])
    maxima = _maxima(statistic, ways, t_map.settings["low_variance_fraction"])
    observed = float(np.nanmax(np.abs(t_map.t)))
    if not math.isclose(maxima[0], observed, rel_tol=1e-6):
        raise MeasurementError(
            f"VBM: the greatest |t| is {maxima[0]:.6g} by these maps, {observed:.6g} by the map",
            "give the maps that the t-map was made of, in the same order of sides",
        )
    return MaximumNull(
        maxima,
        {
            "permutations_asked": permutations,
            "permutations_drawn": "every way once"
            if every
            else "at random, with the labels as they are",
            "permutation_seed": seed,
            "exchanged": "signs of people's differences"
            if t_map.settings["design"] == "paired"
            else "group labels of people",
        },
    )


def _maxima(
    statistic: _PairedStatistic | _TwoSampleStatistic, ways: np.ndarray, fraction: float | None
) -> np.ndarray:
    """Greatest |t| of each way, some ways at a time."""
    step = max(LEAST_AT_A_TIME, VALUES_AT_A_TIME // statistic.voxels)
    found = []
    for start in range(0, len(ways), step):
        difference, squared_error = statistic(ways[start : start + step])
        squared_error[squared_error <= 0] = np.nan
        add_low_variance(squared_error, fraction)
        np.square(difference, out=difference)
        np.divide(difference, squared_error, out=difference)
        found.append(np.nanmax(difference, axis=1))
    return np.sqrt(np.concatenate(found))


class _TwoSampleStatistic:
    """Difference of means and its squared standard error, by who is called first.

    Sums over people of all ways at once are products of the labels with the maps and with their
    squares. Each voxel's mean over all people is taken out first, so that no digits are lost.
    """

    def __init__(self, matrix: np.ndarray, variance: str) -> None:
        self.matrix, self.variance = matrix, variance
        self.mean = matrix.mean(axis=0, dtype=np.float64)
        self.voxels = matrix.shape[1]

    def __call__(self, called_first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of labels `[ways, people]`, 1 for the first group: two arrays `[ways, voxels]`."""
        shape = len(called_first), self.voxels
        ones = int(called_first[0].sum())
        people = ones, called_first.shape[1] - ones
        means = np.empty((2, *shape))
        squares = np.empty((2, *shape))
        for start in range(0, self.voxels, VOXELS_AT_A_TIME):
            block = slice(start, start + VOXELS_AT_A_TIME)
            values = self.matrix[:, block] - self.mean[block]
            squared = values * values
            np.matmul(called_first, values, out=means[0][:, block])
            np.matmul(called_first, squared, out=squares[0][:, block])
            np.subtract(values.sum(axis=0), means[0][:, block], out=means[1][:, block])
            np.subtract(squared.sum(axis=0), squares[0][:, block], out=squares[1][:, block])
            for side, n in enumerate(people):
                sums = means[side][:, block]
                squares[side][:, block] -= sums * sums / n
                sums /= n
        np.maximum(squares, 0, out=squares)
        difference = means[0] - means[1]
        if self.variance == "reml":
            means += self.mean  # which voxels are responsive depends on the means themselves
        return difference, squared_standard_error(means, squares, people, variance=self.variance)


class _PairedStatistic:
    """Mean difference and its squared standard error, by the sign that each person's takes."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix
        self.people, self.voxels = matrix.shape
        self.squares = np.einsum("ij,ij->j", matrix, matrix, dtype=np.float64)

    def __call__(self, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of signs `[ways, people]`: two arrays `[ways, voxels]`."""
        mean = signs @ self.matrix
        mean /= self.people
        squared_error = self.squares - self.people * np.square(mean)
        np.maximum(squared_error, 0, out=squared_error)
        squared_error /= self.people * (self.people - 1)
        return mean, squared_error


def _relabellings(
    first: int, second: int, wanted: int, generator: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Labels `[ways, people]`, 1 for the first group, the true ones first; whether it is all."""
    people = first + second
    every = math.comb(people, first) <= wanted
    if every:
        # in this order the first combination is the true one
        chosen = np.array(list(itertools.combinations(range(people), first)))
    else:
        drawn = generator.random((wanted - 1, people)).argsort(axis=1)[:, :first]
        chosen = np.concatenate([np.arange(first)[None], drawn])
    labels = np.zeros((len(chosen), people))
    np.put_along_axis(labels, chosen, 1, axis=1)
    return labels, every


def _sign_flips(
    people: int, wanted: int, generator: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Signs `[ways, people]`, all +1 first; whether it is all there are."""
    every = 2**people <= wanted
    if every:
        return np.array(list(itertools.product((1.0, -1.0), repeat=people))), True
    drawn = generator.integers(0, 2, (wanted - 1, people)) * -2.0 + 1
    return np.concatenate([np.ones((1, people)), drawn]), False
