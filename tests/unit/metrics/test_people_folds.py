"""Folds of people: everybody is measured once, by an instrument that never saw them."""

from __future__ import annotations

import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.people_folds import folds_of_people

PEOPLE = [f"sub-{number:02d}" for number in range(22)]


@pytest.mark.parametrize(("n", "folds"), [(22, 2), (22, 3), (5, 2), (40, 4)])
def test_everybody_is_unseen_in_one_fold_and_seen_in_the_others(n, folds):
    people = [f"sub-{number:02d}" for number in range(n)]
    made = folds_of_people(people, folds=folds, seed=1)
    assert len(made) == folds
    assert sorted(name for fold in made for name in fold.unseen) == people
    for fold in made:
        sides = (fold.training, fold.selection, fold.first, fold.second)
        assert all(sides)
        assert sum(map(len, sides)) == n and set().union(*sides) == set(people)
        assert fold.seen == set(fold.training) | set(fold.selection)
        assert abs(len(fold.first) - len(fold.second)) <= 1


def test_the_seed_alone_decides():
    first = folds_of_people(PEOPLE, seed=3)
    assert first == folds_of_people([*PEOPLE[::-1], PEOPLE[4]], seed=3)
    assert first != folds_of_people(PEOPLE, seed=4)


@pytest.mark.parametrize(
    ("people", "how"),
    [
        (PEOPLE[:3], {}),
        (PEOPLE, {"folds": 1}),
        (PEOPLE, {"folds": 12}),
        (PEOPLE, {"selection_fraction": 0.0}),
        (PEOPLE[:4], {"selection_fraction": 0.9}),
        ([], {}),
    ],
)
def test_too_few_people_are_refused(people, how):
    with pytest.raises(MeasurementError, match="people in"):
        folds_of_people(people, **how)
