"""Cross-fitting by person: instruments that are trained, and never on the people they measure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.seeds import derive_seed

SELECTION_FRACTION = 0.2


@dataclass(frozen=True)
class Fold:
    """People of one training of an instrument; each stands on one side.

    Attributes
    ----------
    training : tuple of str
    selection : tuple of str
        Whose scans choose the epoch: seen by the instrument as well.
    first, second : tuple of str
        Never seen: the two sides of a comparison of real with real. Over all folds everybody is
        on one of these sides once.
    """

    training: tuple[str, ...]
    selection: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]

    @property
    def seen(self) -> frozenset[str]:
        """Whom the instrument must not measure."""
        return frozenset(self.training + self.selection)

    @property
    def unseen(self) -> frozenset[str]:
        """Whom it may measure."""
        return frozenset(self.first + self.second)


def folds_of_people(
    people: Iterable[str],
    *,
    folds: int = 2,
    seed: int = 0,
    selection_fraction: float = SELECTION_FRACTION,
) -> list[Fold]:
    """Divide people for cross-fitting.

    Parameters
    ----------
    people : iterable of str
        Names; one that comes twice is one person.
    folds : int
        Parts; each is left out of one training.
    seed : int
        Decides who is where; the order of `people` does not.
    selection_fraction : float
        Of the people of a training: that many, at least one, choose its epoch.

    Raises
    ------
    MeasurementError
        When a fold would have nobody to train on, to choose by, or for either side.
    """
    names = sorted(set(people))
    if folds < 2 or len(names) < 2 * folds or not 0 < selection_fraction < 1:
        raise MeasurementError(
            f"{len(names)} people in {folds} folds, {selection_fraction:g} of a training to choose "
            "its epoch",
            "at least two folds with two people each, and a fraction between 0 and 1",
        )
    order = np.random.default_rng(derive_seed(seed, "people_folds")).permutation(len(names))
    parts = [[names[row] for row in part] for part in np.array_split(order, folds)]
    made = []
    for number, part in enumerate(parts):
        rest = [name for other in parts[:number] + parts[number + 1 :] for name in other]
        selected = max(1, round(selection_fraction * len(rest)))
        half = len(part) // 2
        made.append(
            Fold(
                training=tuple(sorted(rest[selected:])),
                selection=tuple(sorted(rest[:selected])),
                first=tuple(sorted(part[:half])),
                second=tuple(sorted(part[half:])),
            )
        )
    if not all(fold.training for fold in made):
        raise MeasurementError(
            f"{len(names)} people in {folds} folds: nobody is left to train on",
            "use a smaller selection_fraction",
        )
    return made
