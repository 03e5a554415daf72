"""Memorisation: are generated volumes nearer to training people than to people never seen?

None of the papers measures it; P5 names privacy as an open question. Each generated volume has a
distance to the nearest of m training people and to the nearest of m held-out people. Two questions
are put to them, each with a p that assumes no distribution:

- of all volumes together (`global_p`): would other people called training do as well? The labels
  'training' and 'held-out' are permuted, people being the units;
- of one volume (`p` of each, `share_flagged`): does it favour one side as no real person does?
  Labels alone cannot tell: whoever its nearest person is, half of all permutations call that person
  training. So real people, their neighbours relabelled in the same way, are what it is held
  against, each as near to the mean of all people as the volume is, so that blur is no excuse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from genmorph.errors import MeasurementError, did_you_mean
from genmorph.metrics.frechet import POSITIONS, REFERENCE_SHAPE
from genmorph.metrics.measurement import Measurement, counts
from genmorph.metrics.nearest import (
    FeatureSpace,
    ImageSpace,
    Placement,
    Space,
    inner_products,
)
from genmorph.metrics.relabelling import FreshPeople, TwoSides, contrast, p_of_labels

if TYPE_CHECKING:
    from genmorph.metrics.features import Extractor

# of the typical squared distance between people: nearer than this are two files of one scan
SAME_SCAN = 1e-8
FEWEST_PERMUTATIONS = 100  # so that everybody is called held-out in some of them
SPACES = ("image", "feature")

Volumes = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class NearestPair:
    """A generated volume and its nearest scans.

    Attributes
    ----------
    generated, training, held_out : str
        Ids; the training scan is the nearest of all that were drawn.
    training_distance, held_out_distance : float
    placement : Placement
        How the generated volume lay over the training scan.
    p : float or None
        None when people are too few for one.
    """

    generated: str
    training: str
    held_out: str
    training_distance: float
    held_out_distance: float
    placement: Placement
    p: float | None

    @property
    def ratio(self) -> float | None:
        """Training over held-out distance; None for a copy of a held-out scan."""
        if self.held_out_distance == 0:
            return None
        return self.training_distance / self.held_out_distance


@dataclass(frozen=True)
class Memorisation:
    """What the measure gives.

    Attributes
    ----------
    measurement : Measurement
    nearest : tuple of NearestPair
        One for each generated volume; those most like a copy first.
    """

    measurement: Measurement
    nearest: tuple[NearestPair, ...]


def measure_memorisation(
    generated: Volumes,
    training: Volumes,
    held_out: Volumes,
    *,
    space: Literal["image", "feature"] = "image",
    extractor: Extractor | None = None,
    blur_voxels: float = 1.0,
    shift_voxels: int = 1,
    mirror: bool = True,
    positions: Sequence[int] = POSITIONS,
    reference_shape: Sequence[int] = REFERENCE_SHAPE,
    averaged_slices: bool = False,
    people: int | None = None,
    draws: int | None = None,
    permutations: int = 1000,
    alpha: float = 0.05,
    seed: int = 0,
    chunk: int = 16,
) -> Memorisation:
    """Compare distances to the nearest training person and to the nearest held-out person.

    Where training people outnumber held-out people, m of them are drawn several times, so that a
    copy of any of them is seen. A volume's own p then takes all drawn people together, and the real
    people it is held against are given as many.

    Parameters
    ----------
    generated, training, held_out : mapping of str to ndarray
        Volume `[x, y, z]` by id; may be read on each access, and more than once.
    space : {'image', 'feature'}
        What distances are taken between; see `ImageSpace` and `FeatureSpace`.
    extractor : Extractor, optional
        Gives the features, in feature space.
    blur_voxels : float
        SD of the Gaussian blur of every volume before anything else.
    shift_voxels : int
        Greatest shift compared, in image space.
    mirror : bool
        Also compare mirror images.
    positions, reference_shape, averaged_slices
        Of the feature space.
    people : int, optional
        m, people on each side, at most; None takes as many as both sides have.
    draws : int, optional
        Draws of m training people; None takes as many as it needs to have everybody in one.
    permutations : int
        Random permutations of the labels.
    alpha : float
        A volume is flagged when its p is at most this.
    seed : int
        Decides who is drawn, and the permutations.
    chunk : int
        Volumes of each side held in memory at once. Beside them stand products of each volume, in
        each placement, with each scan: 8 bytes each.

    Returns
    -------
    Memorisation
        Values `share_flagged` (of fresh people at most about alpha would be), `global_p`,
        `median_ratio` (distance to the nearest training person over that to the nearest held-out
        person, over volumes and draws) and `share_nearer_to_training` (half, of fresh people). For
        each volume `nearest_training` over all draws, `nearest_held_out`, their `ratio`, and `p`.

    Raises
    ------
    MeasurementError
        When a side is empty, a person or a scan stands on both sides, grids differ, a volume is
        constant or not finite, or a setting has no meaning.
    """
    _check_settings(permutations, alpha, chunk, people, draws)
    image = ImageSpace(blur_voxels=blur_voxels, shift_voxels=shift_voxels, mirror=mirror)
    where: Space = image
    if space != "image":
        if space != "feature" or extractor is None:
            raise MeasurementError(
                "memorisation: feature space needs an extractor"
                if space == "feature"
                else f"memorisation: no space '{space}'; {did_you_mean(space, SPACES)}"
            )
        where = FeatureSpace(
            extractor,
            blur_voxels=blur_voxels,
            positions=positions,
            reference_shape=reference_shape,
            averaged=averaged_slices,
            mirror=mirror,
        )
    if not generated:
        raise MeasurementError("memorisation: no generated volumes")
    two = TwoSides.choose(training, held_out, people=people, draws=draws, seed=seed)
    scans = _Scans(training, held_out, two.scan_ids)
    firsts = _Scans(training, held_out, two.first_scans)

    own = inner_products(where, firsts, scans, chunk=chunk)
    _check_apart(two.to_people(own.squared().min(0)), two)
    made = inner_products(where, generated, scans, chunk=chunk)
    squared = made.squared()
    to_people = two.to_people(squared.min(0))

    without = dict(_too_few(two, permutations, alpha))
    values = _summary(to_people, two)
    ps: list[float | None] = [None] * len(generated)
    if "share_flagged" not in without:
        alike = inner_products(where, firsts, firsts, chunk=chunk, together=True).cross
        fresh = FreshPeople(own, alike, two, permutations, seed)
        found = fresh.p(_contrast_of_volumes(to_people, two), fresh.radii(made))
        ps = [float(p) for p in found]
        values["share_flagged"] = float(np.mean(found <= alpha))
    if "global_p" not in without:
        values["global_p"] = p_of_labels(to_people, two, permutations=permutations, seed=seed)
    pairs = [
        _nearest(name, squared[:, row], two, where, p)
        for row, (name, p) in enumerate(zip(generated, ps, strict=True))
    ]
    measurement = Measurement(
        measure="memorisation",
        values=values,
        n={
            **counts(generated=list(generated), training=list(training), held_out=list(held_out)),
            "people_per_side": two.per_side,
            "draws": len(two.draws),
            "training_people_drawn": two.drawn,
        },
        settings={
            **where.settings,
            "statistic": "contrast (h² - t²) / (h² + t²) of the distances h to the nearest "
            "held-out and t to the nearest training person",
            "global_p": "mean contrast over volumes and draws; people relabelled at random, "
            "(1 + as great) / (1 + permutations)",
            "p": "contrast over all draws, against one scan of each real person under permutations "
            "that call the person held-out, blended with the mean of those called training until "
            "no further from it than the volume; (1 + sum of shares as great) / (1 + people)",
            "people": people,
            "draw_choice": "successive people of a shuffled list, "
            + ("until all are drawn" if draws is None else f"{draws} times"),
            "permutations": permutations,
            "alpha": alpha,
            "seed": seed,
        },
        notes=(*without.values(), *_notes(values, to_people, two, alpha)),
        per_scan={pair.generated: _row(pair) for pair in pairs},
    )
    order = np.argsort(-_contrast_of_volumes(to_people, two), kind="stable")
    return Memorisation(measurement, tuple(pairs[row] for row in order))


class _Scans(Mapping[str, np.ndarray]):
    """Some scans of both sides, each read when it is asked for."""

    def __init__(self, training: Volumes, held_out: Volumes, scan_ids: Sequence[str]) -> None:
        self._sides = {name: training if name in training else held_out for name in scan_ids}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._sides[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sides)

    def __len__(self) -> int:
        return len(self._sides)


def _contrast_of_volumes(to_people: np.ndarray, two: TwoSides) -> np.ndarray:
    """Contrast of each volume between all drawn training people and the held-out people."""
    training, held_out = two.nearest(to_people)
    return contrast(training.min(1), held_out[:, 0])


# -- what is told ----------------------------------------------------------------------------------


def _too_few(two: TwoSides, permutations: int, alpha: float) -> Iterable[tuple[str, str]]:
    """Values that people are too few for, each with its reason."""
    least = 1 / (two.people + 1)
    if two.per_side < 2:
        yield "share_flagged", "share_flagged: n/a with one person on a side; 2 are needed."
    elif least > alpha:
        yield (
            "share_flagged",
            f"share_flagged: n/a, as {two.people} people give a volume no p below {least:.3g}, and "
            f"alpha is {alpha:g}.",
        )
    ways = math.comb(two.people, two.per_side)
    least = max(1 / ways, 1 / (permutations + 1))
    if least > alpha:
        yield (
            "global_p",
            f"global_p: n/a, as {ways} ways to label {two.people} people and {permutations} "
            f"permutations give no p below {least:.3g}, and alpha is {alpha:g}.",
        )


def _summary(to_people: np.ndarray, two: TwoSides) -> dict[str, float]:
    """Ratio and share over volumes and draws, from squared distances to people."""
    training, held_out = two.nearest(to_people)
    values = {"share_nearer_to_training": float(np.mean(training < held_out))}
    with np.errstate(divide="ignore"):
        ratio = float(np.median(np.sqrt(training / held_out)))
    return values | ({"median_ratio": ratio} if math.isfinite(ratio) else {})


def _nearest(
    generated: str, squared: np.ndarray, two: TwoSides, space: Space, p: float | None
) -> NearestPair:
    """A volume's nearest scans, from its squared distances `[placements, scans]`."""
    least = squared.min(0)
    border = two.first[two.drawn]  # the scans of held-out people begin here
    training = int(least[:border].argmin())
    held_out = int(border + least[border:].argmin())
    return NearestPair(
        generated=generated,
        training=two.scan_ids[training],
        held_out=two.scan_ids[held_out],
        training_distance=math.sqrt(least[training]),
        held_out_distance=math.sqrt(least[held_out]),
        placement=space.placements[int(squared[:, training].argmin())],
        p=p,
    )


def _row(pair: NearestPair) -> dict[str, float]:
    """What the measurement tells of a volume."""
    row = {
        "nearest_training": pair.training_distance,
        "nearest_held_out": pair.held_out_distance,
        "ratio": pair.ratio,
        "p": pair.p,
    }
    return {key: value for key, value in row.items() if value is not None}


def _notes(
    values: Mapping[str, float], to_people: np.ndarray, two: TwoSides, alpha: float
) -> Iterable[str]:
    """What a reader of the values has to know."""
    if "median_ratio" not in values:
        yield "median_ratio: n/a, as at least half of the volumes are held-out scans themselves."
    nearest = len(set(to_people.argmin(1)))
    if "global_p" in values and 0.5**nearest > alpha:
        yield (
            f"global_p: the nearest person is one of only {nearest} for all generated volumes, too "
            f"few for it to fall to {alpha:g} whatever was copied; read share_flagged."
        )
    if two.drawn > two.per_side:
        yield (
            f"{two.drawn} training people in {len(two.draws)} draws of {two.per_side}; "
            "nearest_training, ratio and p of a volume are over all draws."
        )


# -- bad input -------------------------------------------------------------------------------------


def _check_settings(
    permutations: int, alpha: float, chunk: int, people: int | None, draws: int | None
) -> None:
    given = {"chunk": chunk, "people": people, "draws": draws}
    for name, value in given.items():
        if value is not None and value < 1:
            raise MeasurementError(f"memorisation: {name} is {value}", "1 or more is needed")
    if permutations < FEWEST_PERMUTATIONS:
        raise MeasurementError(
            f"memorisation: {permutations} permutations", f"{FEWEST_PERMUTATIONS} are needed"
        )
    if not 0 < alpha < 1:
        raise MeasurementError(f"memorisation: alpha is {alpha}", "between 0 and 1 is needed")


def _check_apart(own: np.ndarray, two: TwoSides) -> None:
    """Refuse the same scan under two names, one on each side."""
    across = own[: two.drawn, two.drawn :]
    row, column = np.unravel_index(across.argmin(), across.shape)
    if across[row, column] <= SAME_SCAN * np.median(own[own > 0]):
        names = two.first_scans[row], two.first_scans[two.drawn + column]
        raise MeasurementError(
            f"memorisation: {names[0]} (training) and {names[1]} (held-out) are one scan",
            "compare splits that share no scan",
        )
