"""Uncertainty of a distance between two sets of volumes, by half-samples of their people."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import person
from genmorph.seeds import derive_seed

# with fewer, a half holds too few people for its distance to say anything of the whole
FEWEST_PEOPLE = 20
SPREAD_OVER = "half-samples of people without replacement"

Groups = Sequence[Sequence[int]]
Statistic = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]


def groups_of_people(ids: Sequence[str]) -> list[list[int]]:
    """Rows of each person; a volume that names no person is a group of its own.

    Examples
    --------
    >>> groups_of_people(["sub-01_ses-1", "sub-02", "sub-01_ses-2", "sample-0", "sample-1"])
    [[0, 2], [1], [3], [4]]
    """
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        groups.setdefault(person(name) or name, []).append(row)
    return list(groups.values())


def mean_of_each_person(ids: Sequence[str], values: np.ndarray) -> np.ndarray:
    """One value a person, the mean over the person's rows, in the order of `groups_of_people`.

    Examples
    --------
    >>> mean_of_each_person(["sub-01_ses-1", "sub-02", "sub-01_ses-2"], np.array([1.0, 5.0, 3.0]))
    array([2., 5.])
    """
    numbers: dict[str, int] = {}
    group = np.array(
        [numbers.setdefault(person(name) or name, len(numbers)) for name in ids], dtype=np.intp
    )
    return np.bincount(group, weights=values) / np.bincount(group)


def too_few_people(**sides: Groups) -> str:
    """Why half-samples would say nothing: a side with fewer than 20 people; '' when none has.

    Examples
    --------
    >>> too_few_people(generated=[[0], [1]], reference=[[row] for row in range(20)])
    'generated 2 people or unnamed volumes; at least 20 are needed'
    """
    few = [
        f"{side} {len(groups)} people or unnamed volumes"
        for side, groups in sides.items()
        if len(groups) < FEWEST_PEOPLE
    ]
    return "; ".join([*few, f"at least {FEWEST_PEOPLE} are needed"]) if few else ""


@dataclass(frozen=True)
class HalfSamples:
    """A statistic over half-samples of people.

    Attributes
    ----------
    mean, spread : dict of str to float
        Mean and SD of each value over the repeats.
    """

    mean: dict[str, float]
    spread: dict[str, float]


def half_samples(
    statistic: Statistic, groups_a: Groups, groups_b: Groups, *, repeats: int, seed: int
) -> HalfSamples:
    """Mean and standard deviation of a statistic over half-samples of the people on both sides.

    Each repeat draws half of the people of each side without replacement, with all rows of a
    person. For a mean over n people the half-sample mean, of m = n/2 people out of the finite n,
    varies by (1/m - 1/n) σ² = σ²/n: as much as the mean of all n varies between samples of n. So
    the SD over half-samples stands for the standard error of the value of all n; with an odd n it
    is slightly greater.

    For statistics that are no means it is an approximation. That of the unbiased kernel distance
    between equal distributions, whose variance goes with 1/n², comes out √3 times too great:
    4/n² at n/2, less the 1/n² that halves of the same people share. Too wide, not too narrow.

    The SD belongs around the value of all rows, not around the mean of the half-samples: a Fréchet
    distance is biased upwards by a small n, and a half has half of it. How far their mean lies from
    the value of all rows shows that effect of n. A bootstrap is no
    alternative: it repeats rows, which are then as alike as no two scans are, so that covariances
    lose rank and the distance is biased upwards.

    Parameters
    ----------
    statistic : callable
        Takes the rows drawn of either side, ascending, and returns values by name: all of them
        see the same draw.
    groups_a, groups_b : sequence of sequence of int
        Rows of each person, as `groups_of_people` gives them.
    repeats : int
        At least 2.
    seed : int
        The same seed draws the same people.

    Returns
    -------
    HalfSamples

    Raises
    ------
    MeasurementError
        When a side has fewer than 20 people, or there are fewer than two repeats.
    """
    if reason := too_few_people(first=groups_a, second=groups_b):
        raise MeasurementError(f"half-samples: {reason}")
    if repeats < 2:
        raise MeasurementError(
            f"half-samples: {repeats} repeats have no spread",
            "set half_sample_repeats of the measure to 2 or more",
        )
    found = []
    for repeat in range(repeats):
        generator = np.random.default_rng(derive_seed(seed, "half-samples", repeat))
        found.append(statistic(_half(groups_a, generator), _half(groups_b, generator)))
    by_name = {name: [values[name] for values in found] for name in found[0]}
    return HalfSamples(
        mean={name: statistics.fmean(values) for name, values in by_name.items()},
        spread={name: statistics.stdev(values) for name, values in by_name.items()},
    )


def _half(groups: Groups, generator: np.random.Generator) -> np.ndarray:
    drawn = generator.permutation(len(groups))[: len(groups) // 2]
    return np.sort(np.concatenate([groups[number] for number in drawn]))
