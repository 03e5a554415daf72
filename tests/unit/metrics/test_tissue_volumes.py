"""Tissue volumes of two sides against scipy and statsmodels, and on samples of known means."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.tissue_volumes import TISSUES, compare_tissue_volumes, verdict

SOURCE = {"engine": "made", "atlas": None}
# means and SDs of P5's young people: GM, WM, CSF, DGM
MEANS, SDS = (595, 460, 280, 40), (32, 29, 21, 3)


def volumes(n, *, seed=0, prefix="sub-", shift=(0, 0, 0, 0), scale=1.0, columns=TISSUES):
    """Normally distributed volumes of n people or samples."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(np.add(MEANS, shift), np.multiply(SDS, scale), (n, 4))
    table = pd.DataFrame(drawn, columns=list(TISSUES))
    table.insert(0, "scan_id", [f"{prefix}{row:05d}" for row in range(n)])
    return table[["scan_id", *columns]]


def samples(n, **options):
    return volumes(n, **{"prefix": "sample-", "seed": 1, **options})


def compare(generated, reference, **options):
    return compare_tissue_volumes(
        generated, reference, **{"comparisons": 48, "source": SOURCE, **options}
    )


def test_values_are_those_of_scipy_and_statsmodels():
    generated, reference = samples(150, shift=(-8, 12, 3, 0), scale=0.6), volumes(113)
    found = compare(generated, reference)
    assert set(found.values) == {
        f"{tissue}_{key}"
        for tissue in TISSUES
        for key in (
            "generated_ml", "reference_ml", "difference_ml", "difference_percent", "p", "bold",
            "difference_ml_low", "difference_ml_high", "difference_percent_low",
            "difference_percent_high", "equivalence_p", "equivalent",
        )
    }  # fmt: skip
    for tissue in TISSUES:
        a, b = generated[tissue].to_numpy(), reference[tissue].to_numpy()
        own = {
            key.removeprefix(f"{tissue}_"): value
            for key, value in found.values.items()
            if key.startswith(f"{tissue}_")
        }
        welch = stats.ttest_ind(a, b, equal_var=False)
        interval = welch.confidence_interval(0.95)
        margin = 0.05 * b.mean()
        assert own["p"] == pytest.approx(welch.pvalue, rel=1e-9)
        assert own["difference_ml"] == pytest.approx(a.mean() - b.mean())
        assert own["difference_percent"] == pytest.approx(100 * (a.mean() / b.mean() - 1))
        assert own["difference_ml_low"] == pytest.approx(interval.low)
        assert own["difference_ml_high"] == pytest.approx(interval.high)
        assert own["difference_percent_high"] == pytest.approx(100 * interval.high / b.mean())
        # two one-sided tests, by hand with scipy
        above = stats.ttest_ind(a + margin, b, equal_var=False, alternative="greater").pvalue
        below = stats.ttest_ind(a - margin, b, equal_var=False, alternative="less").pvalue
        assert own["equivalence_p"] == pytest.approx(max(above, below))
        assert own["equivalence_p"] == pytest.approx(
            ttost_ind(a, b, -margin, margin, usevar="unequal")[0]
        )
        assert own["equivalent"] == (max(above, below) < 0.05)
        assert found.spread[f"{tissue}_generated_ml"] == pytest.approx(a.std(ddof=1))
        assert found.spread[f"{tissue}_reference_ml"] == pytest.approx(b.std(ddof=1))
    assert found.per_scan["sample-00000"]["GM_ml"] == generated["GM"][0]


def test_bold_is_not_rejected_by_statsmodels_bonferroni():
    """48 tests of 12 populations, rejected by the family as by the level of one."""
    reference = volumes(100)
    found = [
        compare(samples(100, seed=seed, shift=(3 * seed, -2 * seed, seed, 0)), reference)
        for seed in range(12)
    ]
    p = [one.values[f"{tissue}_p"] for one in found for tissue in TISSUES]
    bold = [one.values[f"{tissue}_bold"] for one in found for tissue in TISSUES]
    rejected = multipletests(p, alpha=0.001, method="bonferroni")[0]
    assert 5 < rejected.sum() < 43
    assert bold == [float(not one) for one in rejected]
    assert found[0].settings["level"] == pytest.approx(2.0833e-5, rel=1e-4)


def test_false_positives_come_at_the_level():
    """Equal means, unequal spread and n: 1000 independent tests at 0.05."""
    bold = [
        value
        for seed in range(250)
        for key, value in compare(
            samples(25, seed=2 * seed, scale=0.3),
            volumes(60, seed=2 * seed + 1),
            comparisons=1,
            family_alpha=0.05,
        ).values.items()
        if key.endswith("_bold")
    ]
    rejected = len(bold) - sum(bold)
    low, high = stats.binom.interval(0.999, len(bold), 0.05)
    assert len(bold) == 1000
    assert low <= rejected <= high


@pytest.mark.parametrize(("percent", "expected"), [(5.0, 0.05), (0.0, 0.99)])
def test_equivalence_is_rarely_claimed_at_the_margin_and_mostly_at_no_difference(percent, expected):
    """At a difference of the margin itself, equivalence is claimed at most at the level.

    The reference hardly varies, as its mean is taken as known.
    """
    shift = np.multiply(MEANS, percent / 100)
    reference = volumes(20, seed=999, scale=0.001)
    claimed = [
        value
        for seed in range(120)
        for key, value in compare(samples(60, seed=seed, shift=shift), reference).values.items()
        if key.endswith("_equivalent")
    ]
    share = np.mean(claimed)
    assert share == pytest.approx(expected, abs=0.03)


def test_a_great_difference_and_a_small_side_say_different_things():
    found = compare(samples(100, shift=(60, 0, 0, 0)), volumes(100))
    assert verdict(found, "GM") == "significant, not shown equivalent"
    assert verdict(found, "WM") == "not significant, equivalent"
    # many scans tell apart what is equivalent
    many = compare(samples(4000, shift=(6, 0, 0, 0)), volumes(4000))
    assert verdict(many, "GM") == "significant, equivalent"
    few = compare(samples(19), volumes(100))
    assert verdict(few, "GM").startswith("underpowered")
    assert "GM_bold" not in few.values
    assert 0 < few.values["GM_p"] <= 1
    assert "bold withheld, underpowered: 19 generated people or volumes" in few.notes[0]
    assert "GM_bold" in compare(samples(20), volumes(20)).values


@pytest.mark.parametrize("side", ["generated", "reference"])
def test_one_scan_on_a_side_has_no_test_and_says_why(side):
    tables = {"generated": samples(30), "reference": volumes(30)}
    tables[side] = tables[side].head(1)
    found = compare(**tables)
    assert "GM_difference_ml" in found.values
    assert not any(key.endswith(("_p", "_bold", "_equivalent")) for key in found.values)
    assert any(f"GM: tests n/a, a single person or volume on the {side}" in n for n in found.notes)
    assert f"GM_{side}_ml" not in found.spread
    assert verdict(found, "GM") == "n/a"


def test_a_person_scanned_twice_counts_once():
    once = volumes(30)
    twice = pd.concat(
        [
            once.assign(scan_id=once["scan_id"] + "_ses-1", GM=once["GM"] - 10),
            once.assign(scan_id=once["scan_id"] + "_ses-2", GM=once["GM"] + 10),
        ]
    )
    generated = samples(40)
    first, second = compare(generated, once), compare(generated, twice)
    assert second.n == {
        "generated_scans": 40,
        "reference_scans": 60,
        "reference_people": 30,
        "generated_values": 40,
        "reference_values": 30,
    }
    for key, value in first.values.items():
        assert second.values[key] == pytest.approx(value), key
    # and 10 people seen ten times are 10 values: too few
    few = pd.concat(
        [volumes(10).assign(scan_id=lambda t, v=v: t["scan_id"] + f"_ses-{v}") for v in range(10)]
    )
    assert "GM_bold" not in compare(generated, few).values


def test_samples_that_name_nobody_count_each():
    assert compare(samples(40), volumes(30)).n["generated_values"] == 40


def test_order_of_rows_changes_nothing():
    generated, reference = samples(30), volumes(30)
    assert compare(generated.sample(frac=1, random_state=3), reference).values == pytest.approx(
        compare(generated, reference).values
    )


@pytest.mark.parametrize("how", ["absent", "nan"])
@pytest.mark.parametrize("side", ["generated", "reference"])
def test_deep_gray_matter_without_an_atlas_is_not_available(how, side):
    tables = {"generated": samples(30), "reference": volumes(30)}
    tables[side] = (
        tables[side].drop(columns="DGM") if how == "absent" else tables[side].assign(DGM=np.nan)
    )
    found = compare(**tables)
    assert not any(key.startswith("DGM") for key in found.values)
    assert found.notes == (f"DGM: n/a, no volumes of the {side} scans.",)
    assert verdict(found, "DGM") == "n/a"
    assert "GM_p" in found.values


def test_volumes_that_do_not_vary(recwarn):
    """A collapsed model on one side is tested; on both sides there is no error to test against."""
    constant = samples(30).assign(GM=570.1)
    reference = volumes(30)
    found = compare(constant, reference)
    expected = stats.ttest_1samp(reference["GM"], 570.1).pvalue
    assert found.values["GM_p"] == pytest.approx(expected)
    both = compare(constant, reference.assign(GM=595.3))
    assert "GM_p" not in both.values
    assert both.values["GM_difference_ml"] == pytest.approx(-25.2)
    assert any("GM: tests n/a, volumes of neither side vary" in note for note in both.notes)
    assert not recwarn.list


def test_a_person_on_both_sides_is_noted():
    found = compare(volumes(30, seed=3).head(25), volumes(30))
    assert "25 people are on both sides" in found.notes[0]
    assert not compare(samples(30), volumes(30)).notes


def test_a_measurement_survives_its_file():
    found = compare(samples(30), volumes(19))
    content = json.loads(json.dumps(found.to_json()))
    assert Measurement.from_json(content) == found
    assert content["settings"]["source"] == SOURCE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="CSF"), "no column CSF"),
        (lambda t: t.drop(columns="scan_id"), "no column scan_id"),
        (lambda t: t.head(0), "no generated scans"),
        (lambda t: t.assign(scan_id=[None, *t["scan_id"][1:]]), "without a scan_id"),
        (lambda t: pd.concat([t, t.head(1)]), "sample-00000 twice"),
        (lambda t: t.assign(GM=[np.nan, *t["GM"][1:]]), r"GM .*sample-00000 \(nan\)"),
        (lambda t: t.assign(WM=[np.inf, *t["WM"][1:]]), r"WM .*sample-00000 \(inf\)"),
        (lambda t: t.assign(CSF=[-1.0, *t["CSF"][1:]]), r"CSF .*sample-00000 \(-1\)"),
        (lambda t: t.assign(DGM=[np.nan, *t["DGM"][1:]]), r"DGM .*sample-00000 \(nan\)"),
        (lambda t: t.assign(GM=np.nan), "GM of generated"),
        (lambda t: t.assign(GM="much"), "not a column of numbers"),
    ],
)
def test_bad_tables_are_refused(change, message):
    with pytest.raises(MeasurementError, match=message):
        compare(change(samples(30)), volumes(30))


def test_a_reference_without_a_tissue_is_refused():
    with pytest.raises(MeasurementError, match="CSF of every reference scan is zero"):
        compare(samples(30), volumes(30).assign(CSF=0.0))


@pytest.mark.parametrize(
    "options",
    [
        {"comparisons": 0},
        {"family_alpha": 0.0},
        {"family_alpha": 1.0},
        {"equivalence_margin": 0.0},
        {"fewest": 1},
        {"confidence": 1.0},
        {"source": {}},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(MeasurementError, match=next(iter(options))):
        compare(samples(30), volumes(30), **options)
