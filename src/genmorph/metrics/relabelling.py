"""Nearer to one set of people than to another: how sure is it, when people may swap labels?

Distances go from volumes to people. Some people are called training and as many held-out; how much
nearer a volume is to the first than to the second is its `contrast`. Both p values here relabel
whole people and assume no distribution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import person
from genmorph.metrics.nearest import Products
from genmorph.seeds import derive_seed

# equal sums taken in another order differ in their last digits
TOLERANCE = 1e-12
RADIUS_STEP = 1.1


@dataclass(frozen=True)
class TwoSides:
    """Who is compared: drawn training people, then as many held-out people as a draw has.

    Attributes
    ----------
    scan_ids : list of str
        Scans of all people, person after person.
    first : ndarray of int
        Where each person's scans begin.
    drawn : int
        Training people; they come before the held-out people.
    draws : ndarray of int
        `[draws, m]`, places among the people.
    """

    scan_ids: list[str]
    first: np.ndarray
    drawn: int
    draws: np.ndarray

    @classmethod
    def choose(
        cls,
        training: Iterable[str],
        held_out: Iterable[str],
        *,
        people: int | None,
        draws: int | None,
        seed: int,
    ) -> TwoSides:
        """Draw people of both sides, equally many.

        Parameters
        ----------
        training, held_out : iterable of str
            Scan ids. A scan that names no person is a person of its own.
        people : int, optional
            m, at most; None takes as many as both sides have.
        draws : int, optional
            Of m training people each, one after another of a shuffled list, from its start again
            when it ends; None takes as many as it needs to have everybody in one.
        seed : int

        Raises
        ------
        MeasurementError
            When a side is empty, or somebody stands on both.
        """
        sides = {"training": scans_of_people(training), "held-out": scans_of_people(held_out)}
        for name, side in sides.items():
            if not side:
                raise MeasurementError(f"memorisation: no {name} volumes")
        if both := sorted(set(sides["training"]) & set(sides["held-out"])):
            raise MeasurementError(
                f"memorisation: {', '.join(both[:3])} on both sides, training and held-out",
                "compare splits that share nobody",
            )
        shuffled = [_shuffled(side, seed, name) for name, side in sides.items()]
        m = min(*map(len, shuffled), people or len(shuffled[0]))
        wanted = draws or math.ceil(len(shuffled[0]) / m)
        chosen = shuffled[0][: wanted * m], shuffled[1][:m]
        groups = [sides["training"][name] for name in chosen[0]]
        groups += [sides["held-out"][name] for name in chosen[1]]
        sizes = [len(group) for group in groups]
        return cls(
            scan_ids=[scan_id for group in groups for scan_id in group],
            first=np.cumsum([0, *sizes[:-1]]),
            drawn=len(chosen[0]),
            draws=np.arange(wanted * m).reshape(wanted, m) % len(chosen[0]),
        )

    @property
    def per_side(self) -> int:
        """m."""
        return self.draws.shape[1]

    @property
    def people(self) -> int:
        """All of them, of both sides."""
        return len(self.first)

    @property
    def held_out(self) -> np.ndarray:
        """Places of the held-out people."""
        return np.arange(self.drawn, self.people)

    @property
    def first_scans(self) -> list[str]:
        """One scan of each person."""
        return [self.scan_ids[place] for place in self.first]

    def to_people(self, squared: np.ndarray) -> np.ndarray:
        """Distances `[..., people]`, each to the nearest of a person's scans `[..., scans]`."""
        return np.minimum.reduceat(squared, self.first, axis=-1)

    def nearest(self, squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of distances `[rows, people]`, the least to each draw `[rows, draws]` and to the held-out
        people `[rows, 1]`."""
        return squared[:, self.draws].min(2), squared[:, self.held_out].min(1)[:, None]


def scans_of_people(scan_ids: Iterable[str]) -> dict[str, list[str]]:
    """Scans of each person in the order of their names; one that names nobody is a person.

    Examples
    --------
    >>> scans_of_people(["sub-2", "sub-1_ses-2", "sub-1_ses-1", "a"])
    {'a': ['a'], 'sub-1': ['sub-1_ses-1', 'sub-1_ses-2'], 'sub-2': ['sub-2']}
    """
    found: dict[str, list[str]] = {}
    for scan_id in sorted(scan_ids):
        found.setdefault(person(scan_id) or scan_id, []).append(scan_id)
    return found


def _shuffled(people: Iterable[str], seed: int, side: str) -> list[str]:
    names = sorted(people)
    order = np.random.default_rng(derive_seed(seed, "memorisation", side)).permutation(len(names))
    return [names[place] for place in order]


def contrast(training: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """(held-out - training) / (held-out + training) of squared distances, broadcast.

    It rises as the ratio of the distances falls: 1 for a copy of a training scan, -1 for one of a
    held-out scan, 0 where both are equally far. Bounded, so that no single copy decides a mean.

    Examples
    --------
    >>> contrast(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    array([1. , 0.5])
    """
    return (held_out - training) / (held_out + training)


# -- of all volumes together -----------------------------------------------------------------------


def p_of_labels(squared: np.ndarray, two: TwoSides, *, permutations: int, seed: int) -> float:
    """p of the mean contrast, over volumes and draws, when people are relabelled at random.

    (1 + permutations with a mean as great) / (1 + permutations). Volumes may depend on each other
    as they like, which they do when a model repeats itself.

    Parameters
    ----------
    squared : ndarray
        `[volumes, people]`, squared distances.
    two : TwoSides
    permutations, seed : int
    """
    generator = np.random.default_rng(derive_seed(seed, "memorisation", "permutations"))
    observed = contrast(*two.nearest(squared)).mean()
    as_great = sum(
        contrast(*two.nearest(squared[:, generator.permutation(two.people)])).mean()
        >= observed - TOLERANCE
        for _ in range(permutations)
    )
    return (1 + int(as_great)) / (1 + permutations)


# -- of one volume ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FreshPeople:
    """Real people as examples of volumes that know no more of training people than their mean.

    A volume near the mean of the training people lies nearer to the most typical people than a
    person does, whoever they are, and a little nearer to training people than to others. So each
    person is drawn towards that mean until no further from it than the volume in question, and a
    blurred volume is compared with blends as blurred.

    Attributes
    ----------
    own : Products
        Of one scan of each person with the scans of all.
    alike : ndarray
        `[placements, people, people]`: products of those scans, both placed alike.
    two : TwoSides
    permutations, seed : int
    """

    own: Products
    alike: np.ndarray
    two: TwoSides
    permutations: int
    seed: int

    def p(self, observed: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """p of volumes: (1 + sum over people of the share as great) / (1 + people).

        The share of a person is over permutations of the labels that call the person held-out;
        the person is then nobody's neighbour.

        Parameters
        ----------
        observed : ndarray
            Contrast of each volume between all drawn training people and the held-out people.
        radii : ndarray
            Distance of each volume from the mean of the training people, as `radii` gives it.
        """
        generator = np.random.default_rng(derive_seed(self.seed, "memorisation", "fresh people"))
        levels = rounded_down(radii)
        as_great = np.zeros((self.two.people, len(observed)))
        seen = np.zeros(self.two.people)
        for _ in range(self.permutations):
            place = generator.permutation(self.two.people)
            called_held_out = place[self.two.held_out]
            seen[called_held_out] += 1
            blends = _Blends(self, place)
            for level in np.unique(levels):
                same = levels == level
                found = blends.contrast(level)[:, None] >= observed[same] - TOLERANCE
                as_great[np.ix_(called_held_out, same)] += found
        shares = as_great[seen > 0] / seen[seen > 0][:, None]
        return (1 + shares.sum(0)) / (1 + len(shares))

    def radii(self, products: Products) -> np.ndarray:
        """Distance from the mean of the training people, of each row of products with the scans."""
        training = self.two.first[: self.two.drawn]
        with_mean = products.cross[:, :, training].mean(2)
        of_mean = self.alike[0, : self.two.drawn, : self.two.drawn].mean()
        return np.sqrt((products.row_energy - 2 * with_mean + of_mean).min(0).clip(0))


class _Blends:
    """People called held-out under one permutation, drawn towards the mean of those called
    training."""

    def __init__(self, people: FreshPeople, place: np.ndarray) -> None:
        self.two, self.place, self.own = people.two, place, people.own
        training, self.held_out = place[: self.two.drawn], place[self.two.held_out]
        self.cross = people.own.cross[:, self.held_out]
        self.energy = people.own.row_energy[:, self.held_out]
        self.mean_cross = people.own.cross[:, training].mean(1, keepdims=True)
        self.with_mean = people.alike[:, self.held_out][:, :, training].mean(2)
        self.mean_energy = people.alike[:, training][:, :, training].mean((1, 2))[:, None]
        self.radii = np.sqrt((self.energy - 2 * self.with_mean + self.mean_energy)[0].clip(0))

    def contrast(self, radius: float) -> np.ndarray:
        """Contrast of each person called held-out, no further than `radius` from the mean."""
        share = np.minimum(1.0, radius / self.radii)
        rest = 1 - share
        cross = share[:, None] * self.cross + rest[:, None] * self.mean_cross
        energy = share**2 * self.energy + 2 * share * rest * self.with_mean
        energy += rest**2 * self.mean_energy
        blends = Products(cross, energy, self.own.column_energy)
        squared = self.two.to_people(blends.squared().min(0))[:, self.place]
        np.fill_diagonal(squared[:, self.two.drawn :], np.inf)
        training, held_out = self.two.nearest(squared)
        return contrast(training.min(1), held_out[:, 0])


def rounded_down(radii: np.ndarray) -> np.ndarray:
    """Radii down to the next power of 1.1, so that few differ; 0 stays 0.

    Down, as a blend nearer to the mean has the wider contrasts.
    """
    with np.errstate(divide="ignore"):
        steps = np.floor(np.log(radii) / np.log(RADIUS_STEP))
    return np.where(radii > 0, RADIUS_STEP**steps, 0.0)
