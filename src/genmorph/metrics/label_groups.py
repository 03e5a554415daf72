"""The 15 labels of P2 (section 4.2), made from FreeSurfer's or Neuromorphometrics' numbers.

P2 prints the count alone; which structures a label holds is known from its released code, for
FreeSurfer's numbers (aseg, and aparc for the cortex). There the inferior lateral ventricles,
vessels, hypointensities and the optic chiasm count to the cerebral white matter, the accumbens to
the cortex; this is kept.

Every group can be made from the Neuromorphometrics numbers too, four of them with another extent:

- ventricles: the choroid plexus has no number of its own, it lies in the ventricle's;
- cerebrospinal fluid: the label "CSF" of each protocol, its border is not the same;
- cortex: the basal forebrain is added, which aseg leaves to its neighbours;
- cerebral white matter: rests of the cerebrum outside all parcels ("exterior") are added.

Numbers that name sulci or protocol marks, and stand for no structure, are not in the table.

The labels of simulated heads (`simulated`) make four structures: cortex with the medial temporal
gray matter, white matter, lateral ventricles, deep gray matter. Fluid around the brain is none:
where it ends is where brain extraction cut. What a grouping calls its groups stands in its table.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np

from genmorph.errors import MeasurementError, did_you_mean

GROUPS = (
    "background",
    "cerebellum_grey_matter",
    "cerebellum_white_matter",
    "cortex",
    "cerebral_white_matter",
    "thalamus",
    "hippocampus",
    "amygdala",
    "ventricles",
    "caudate",
    "putamen",
    "pallidum",
    "ventral_diencephalon",
    "cerebrospinal_fluid",
    "brain_stem",
)
STRUCTURES = {number: name for number, name in enumerate(GROUPS) if number}
# tables by name; whole file names, so that the code's hash counts the tables too
GROUPINGS = {
    "freesurfer_aseg": "labels/freesurfer_aseg.csv",
    "neuromorphometrics": "labels/neuromorphometrics.csv",
    "simulated": "labels/simulated.csv",
}
UNKNOWN = 255  # of a number that no group has
MOST_SHOWN = 10  # unknown numbers that an error lists


@dataclass(frozen=True)
class Range:
    """Numbers of a source that go to one group.

    Attributes
    ----------
    first, last : int
        Both are in the range.
    name : str
        As the source has it.
    group : int
        Row of `group_names`.
    group_name : str
    """

    first: int
    last: int
    name: str
    group: int
    group_name: str


@functools.cache
def read_grouping(grouping: str) -> tuple[Range, ...]:
    """The table of a grouping.

    Raises
    ------
    MeasurementError
        When there is no such grouping.
    """
    if grouping not in GROUPINGS:
        hint = did_you_mean(grouping, GROUPINGS)
        raise MeasurementError(f"labels: no grouping '{grouping}'; {hint}")
    table = resources.files("genmorph.metrics") / GROUPINGS[grouping]
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    ranges = []
    for row in rows:
        first, _, last = row["source_number"].partition("-")
        ranges.append(
            Range(
                int(first),
                int(last or first),
                row["source_name"],
                int(row["group_number"]),
                row["group_name"],
            )
        )
    return tuple(ranges)


def group_names(grouping: str) -> tuple[str, ...]:
    """Names of a grouping's groups by number, the background first.

    Raises
    ------
    MeasurementError
        When there is no such grouping.

    Examples
    --------
    >>> group_names("simulated")[:3]
    ('background', 'cortex', 'white_matter')
    """
    names = {entry.group: entry.group_name for entry in read_grouping(grouping)}
    return tuple(names[number] for number in sorted(names))


def structures_of(grouping: str) -> dict[int, str]:
    """Name by number of what a grouping scores: its groups without the background."""
    return {number: name for number, name in enumerate(group_names(grouping)) if number}


def missing_groups(grouping: str) -> list[str]:
    """Structures of P2 that a source has no number for.

    Examples
    --------
    >>> missing_groups("neuromorphometrics")
    []
    """
    made = group_names(grouping)
    return [name for name in STRUCTURES.values() if name not in made]


@functools.cache
def _lookup(grouping: str) -> np.ndarray:
    """Group of each number of a source, `UNKNOWN` between them and after the last."""
    ranges = read_grouping(grouping)
    table = np.full(max(entry.last for entry in ranges) + 2, UNKNOWN, np.uint8)
    for entry in ranges:
        table[entry.first : entry.last + 1] = entry.group
    return table


def group_labels(label_map: np.ndarray, grouping: str) -> np.ndarray:
    """Labels of a source as those of P2.

    Parameters
    ----------
    label_map : ndarray
        Whole numbers of the source, of any shape and type.
    grouping : str
        A key of `GROUPINGS`.

    Returns
    -------
    ndarray, uint8
        Rows of `group_names`, in the shape of `label_map`.

    Raises
    ------
    MeasurementError
        When a value is no whole number, or no number of the source; the numbers are named.

    Examples
    --------
    >>> group_labels(np.array([0, 17, 53, 1035]), "freesurfer_aseg").tolist()
    [0, 6, 6, 3]
    """
    table = _lookup(grouping)
    numbers = np.asarray(label_map)
    if not (np.isfinite(numbers).all() and np.array_equal(numbers, np.rint(numbers))):
        raise MeasurementError(
            "labels: a value is no whole number",
            "resample label maps with nearest neighbours",
        )
    last = len(table) - 1  # stands for what is beyond the table
    grouped = table[np.where((numbers < 0) | (numbers > last), last, numbers).astype(np.intp)]
    unknown = [int(number) for number in np.unique(numbers[grouped == UNKNOWN])]
    if unknown:
        shown = ", ".join(map(str, unknown[:MOST_SHOWN]))
        more = f" and {len(unknown) - MOST_SHOWN} more" if len(unknown) > MOST_SHOWN else ""
        raise MeasurementError(
            f"labels: {shown}{more} are no numbers of {grouping}",
            f"name the grouping the labels were made with: {', '.join(GROUPINGS)}",
        )
    return grouped
