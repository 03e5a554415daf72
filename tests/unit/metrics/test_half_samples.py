"""Half-samples: people stay together, the spread is the theory's, too few people have none."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.frechet import frechet_distance
from genmorph.metrics.half_samples import (
    groups_of_people,
    half_samples,
    mean_of_each_person,
    too_few_people,
)
from genmorph.metrics.kid import kernel_distance


def people(n, scans=1):
    """Groups of n people with so many scans each."""
    return np.arange(n * scans).reshape(n, scans).tolist()


def draws(groups_a, groups_b, **options):
    """The rows of every draw."""
    seen = []

    def statistic(a, b):
        seen.append((a.tolist(), b.tolist()))
        return {"n": float(len(a))}

    half_samples(statistic, groups_a, groups_b, **options)
    return seen


def test_all_scans_of_a_person_are_drawn_together():
    ids = [f"sub-{person:02}_ses-{visit}" for visit in (1, 2, 3) for person in range(21)]
    ids += [f"sub-{person:02}" for person in range(21, 25)]
    groups = groups_of_people(ids)
    assert sorted(map(len, groups)) == [1] * 4 + [3] * 21
    for rows, _ in draws(groups, people(20), repeats=30, seed=0):
        drawn = {ids[row].split("_")[0] for row in rows}
        assert len(drawn) == 12  # half of 25
        assert sorted(rows) == sorted(
            row for row, name in enumerate(ids) if name.split("_")[0] in drawn
        )


def test_draws_are_without_replacement_differ_and_depend_on_the_seed():
    options = {"groups_a": people(24), "groups_b": people(30), "repeats": 10}
    found = draws(**options, seed=0)
    for rows in (rows for pair in found for rows in pair):
        assert len(rows) == len(set(rows)) in (12, 15)
    assert len({str(pair) for pair in found}) == 10
    assert draws(**options, seed=0) == found
    assert draws(**options, seed=1) != found


def test_a_generated_volume_is_a_group_of_its_own():
    assert groups_of_people(["sample-00000", "sample-00001"]) == [[0], [1]]


@pytest.mark.parametrize("scans", [1, 3])
def test_the_spread_of_a_mean_is_its_standard_error(scans):
    """Var(mean a - mean b) over half-samples is s²_a / n_a + s²_b / n_b, over people."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=40), 3 * rng.normal(size=60)
    a, b = first.repeat(scans), second.repeat(scans)

    def difference(rows_a, rows_b):
        return {"difference": a[rows_a].mean() - b[rows_b].mean()}

    repeats = 1500
    found = half_samples(
        difference, people(40, scans), people(60, scans), repeats=repeats, seed=0
    ).spread
    expected = np.sqrt(first.var(ddof=1) / 40 + second.var(ddof=1) / 60)
    # an SD over r draws has a relative standard error of 1 / √(2 r)
    assert found["difference"] == pytest.approx(expected, rel=4 / np.sqrt(2 * repeats))


@pytest.mark.parametrize(
    ("distance", "shift", "ratio", "within"),
    [
        (frechet_distance, 1.0, 1.0, 0.35),
        (kernel_distance, 1.0, 1.0, 0.35),
        # a degenerate U-statistic: √3 (see the docstring)
        (kernel_distance, 0.0, np.sqrt(3), 0.35),
    ],
)
def test_the_spread_of_a_distance_against_new_people(distance, shift, ratio, within):
    """SD over half-samples against the SD over people drawn anew."""
    rng = np.random.default_rng(0)

    def sides():
        return rng.normal(size=(80, 8)) + shift, rng.normal(size=(80, 8))

    anew = np.std([distance(*sides()) for _ in range(300)], ddof=1)
    spreads = []
    for seed in range(15):
        first, second = sides()
        spreads.append(
            half_samples(
                lambda a, b, first=first, second=second: {"it": distance(first[a], second[b])},
                people(80),
                people(80),
                repeats=20,
                seed=seed,
            ).spread["it"]
        )
    assert np.mean(spreads) / anew == pytest.approx(ratio, abs=within)


def test_every_value_sees_the_same_draw():
    values = np.random.default_rng(0).normal(size=20)

    def statistic(a, b):
        return {"once": values[a].mean(), "thrice": 3 * values[a].mean()}

    found = half_samples(statistic, people(20), people(20), repeats=5, seed=0).spread
    assert found["thrice"] == pytest.approx(3 * found["once"])
    assert found["once"] > 0


@pytest.mark.parametrize(
    ("n", "m", "named"),
    [
        (19, 20, ["generated 19"]),
        (20, 19, ["reference 19"]),
        (3, 4, ["generated 3", "reference 4"]),
    ],
)
def test_fewer_than_twenty_people_have_no_spread_but_a_reason(n, m, named):
    """However many scans they have."""
    reason = too_few_people(generated=people(n, 5), reference=people(m, 5))
    assert reason.split("; ")[:-1] == [f"{side} people or unnamed volumes" for side in named]
    with pytest.raises(MeasurementError, match="at least 20 are needed"):
        draws(people(n, 5), people(m, 5), repeats=3, seed=0)
    assert too_few_people(generated=people(20), reference=people(20)) == ""


def test_one_draw_has_no_spread():
    with pytest.raises(MeasurementError, match="half_sample_repeats"):
        draws(people(20), people(20), repeats=1, seed=0)


def test_a_mean_of_each_person_is_the_mean_of_its_group():
    ids = ["sub-02_ses-1", "sample-0", "sub-01", "sub-02_ses-2", "sample-1", "sub-02_ses-3"]
    values = np.array([1.0, 7.0, 5.0, 2.0, 8.0, 6.0])
    expected = [values[rows].mean() for rows in groups_of_people(ids)]
    assert mean_of_each_person(ids, values).tolist() == pytest.approx(expected)
    assert not len(mean_of_each_person([], np.array([])))


def test_the_mean_is_over_the_draws():
    values = np.random.default_rng(0).normal(size=24)
    seen = []

    def statistic(a, b):
        seen.append(values[a].sum() - values[b].sum())
        return {"it": seen[-1]}

    found = half_samples(statistic, people(24), people(20), repeats=7, seed=3)
    assert len(set(seen)) == 7
    assert found.mean["it"] == pytest.approx(np.mean(seen))
    assert found.spread["it"] == pytest.approx(np.std(seen, ddof=1))
