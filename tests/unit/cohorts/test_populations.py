"""Populations: expressions, shares of a field with their cut-point, the visit rule."""

from __future__ import annotations

import pytest

from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.populations import cut_point, describe_population, population_of, select
from genmorph.errors import CohortError, ConfigError


def scan(name, age, visit=1, **columns):
    person, _, session = name.partition("_")
    return Scan(name, person, session or None, f"{name}.nii", 1, False, visit=visit,
                age_years=age, **columns)  # fmt: skip


@pytest.fixture
def cohort():
    """Ten training people of 50 to 59 years and five test people, one of them scanned twice."""
    scans = [scan(f"sub-{n:02d}", 50.0 + n) for n in range(10)]
    scans += [scan(f"sub-{n:02d}", 40.0 + 5 * (n - 10)) for n in range(10, 15)]
    scans.append(scan("sub-14_ses-2", 72.0, visit=2))
    people = [
        {"participant_id": f"sub-{n:02d}", "split": "train" if n < 10 else "test"}
        for n in range(15)
    ]
    return scans, people


def ages(cohort, split, population):
    scans, people = cohort
    return [scan.age_years for scan in select(scans, people, split=split, population=population)]


def test_the_lowest_fifth_is_cut_among_the_training_people(cohort):
    young = {"field": "age_years", "lowest": 0.2}
    assert ages(cohort, "train", young) == [50.0, 51.0]
    assert ages(cohort, "test", young) == [40.0, 45.0, 50.0]


def test_the_highest_fifth(cohort):
    old = {"field": "age_years", "highest": 0.2}
    assert ages(cohort, "train", old) == [58.0, 59.0]
    assert ages(cohort, "test", old) == [60.0, 72.0]


def test_the_cut_may_come_from_all_people(cohort):
    young = {"field": "age_years", "lowest": 0.2, "cut_from": "all"}
    assert ages(cohort, "train", young) == [50.0]


def test_people_who_share_the_value_at_the_cut_stay_together(cohort):
    scans, people = cohort
    tied = [scan(one.scan_id, 50.0 if one.age_years < 54 else one.age_years) for one in scans[:10]]
    chosen = select(tied, people, split="train", population={"field": "age_years", "lowest": 0.2})
    assert len(chosen) == 4


@pytest.mark.parametrize(("end", "expected"), [("lowest", 1.0), ("highest", 5.0)])
def test_the_cut_is_a_value_that_somebody_has(end, expected):
    scans = [scan(f"sub-{n}", float(n)) for n in range(1, 6)]
    rule = population_of({"field": "age_years", end: 0.2})
    assert cut_point(scans, dict.fromkeys((s.participant_id for s in scans), "train"), rule) == (
        expected
    )


def test_a_person_counts_once_with_the_first_visit():
    scans = [scan("sub-1", 10.0), scan("sub-2", 20.0), scan("sub-2_ses-2", 90.0, visit=2)]
    rule = population_of({"field": "age_years", "highest": 0.5})
    assert cut_point(scans, {"sub-1": "train", "sub-2": "train"}, rule) == 20.0


def test_the_visit_rule_keeps_first_scans_only(cohort):
    assert 72.0 in ages(cohort, "test", None)
    assert 72.0 not in ages(cohort, "test", {"visits": "first"})


def test_scans_without_the_field_are_in_no_share(cohort):
    scans, people = cohort
    scans = [*scans, scan("sub-09_ses-3", None, visit=3)]
    chosen = select(scans, people, split="train", population={"field": "age_years", "highest": 0.5})
    assert "sub-09_ses-3" not in {one.scan_id for one in chosen}


def test_a_field_nobody_has_is_an_error(cohort):
    with pytest.raises(CohortError, match="ventricle_ml"):
        ages(cohort, "train", {"field": "ventricle_ml", "lowest": 0.2})


def test_left_out_scans_decide_nothing(cohort):
    scans, people = cohort
    scans = [*scans, scan("sub-00_ses-9", 1.0, exclude_reason="x", excluded_at="kept")]
    assert ages((scans, people), "train", {"field": "age_years", "lowest": 0.2}) == [50.0, 51.0]


@pytest.mark.parametrize(
    "value",
    [
        {"field": "age_years"},
        {"lowest": 0.2},
        {"field": "age_years", "lowest": 0.2, "highest": 0.2},
        {"field": "height", "lowest": 0.2},
        {"field": "age_years", "lowest": 20},
        {"field": "sex", "lowest": 0.2},
        "age_years >",
    ],
)
def test_a_rule_that_means_nothing_is_refused(value):
    with pytest.raises(ConfigError):
        population_of(value)


def test_an_unknown_column_is_named_when_the_study_is_typed():
    with pytest.raises(ConfigError, match="no column 'diagnsis'; did you mean 'diagnosis'"):
        population_of("diagnsis == 'CN'")
    assert population_of("sex == 'F' and 60 < age_years < 70").expression


def test_the_cut_point_is_told(cohort):
    scans, people = cohort
    young = {"field": "age_years", "lowest": 0.2}
    told = describe_population(scans, people, young)
    cut = told.pop("cut_point")
    assert told == young
    assert max(ages(cohort, "train", young)) == cut
    assert describe_population(scans, people, None) is None
    assert describe_population(scans, people, "sex == 'F'") == {"expression": "sex == 'F'"}
