"""P5's printed numbers against each other; altered numbers must turn the verdicts."""

from __future__ import annotations

import copy
import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttest_ind

from genmorph.publish.checks import read_reported
from genmorph.studies import load_spec
from genmorph.studies.autoregressive import checks as p5
from genmorph.studies.autoregressive.table2 import (
    REPORTED,
    SD_OF_ZERO,
    agreement,
    marks_kept,
    read_cells,
)

TEST_SCANS = {name: test for name, (_, test) in {**p5.UKB, **p5.DIAGNOSES}.items()}


@pytest.fixture(scope="module")
def cells():
    return read_cells(TEST_SCANS)


@pytest.fixture
def table1():
    return copy.deepcopy(read_reported(REPORTED, "table1"))


def turned(cells, name):
    """The cells with one mark turned."""
    bold = cells.bold.copy()
    bold[cells.names.index(name)] ^= True
    return replace(cells, bold=bold)


def test_every_number_of_both_tables_is_there_once():
    with REPORTED.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    keys = [(line["table"], line["row"], line["column"]) for line in lines]
    assert len(keys) == len(set(keys)) == 18 * 5 + 18 * 4 + 12 * 4
    assert {row for _, row, _ in keys} == {
        f"{population}-{model}" for population in TEST_SCANS for model in ("real", "vqvae", "vae")
    }
    spread = {line["column"] for line in lines if line["spread"]}
    assert spread == {"mmd", "ms_ssim", "GM", "WM", "CSF", "DGM"}
    assert all(float(line["value"]) >= 0 for line in lines)
    marks = [line for line in lines if line["table"] == "table2_bold"]
    assert {line["value"] for line in marks} == {"0", "1"}
    assert sum(line["value"] == "1" for line in marks) == 21


def test_populations_are_those_of_the_study():
    assert set(TEST_SCANS) <= set(load_spec("autoregressive").populations)
    assert load_spec("autoregressive").scales["paper"].grid == p5.GRID


def test_every_check_says_what_it_can_and_cannot_show():
    found = p5.checks()
    assert len({check.check for check in found}) == len(found)
    for check in found:
        assert check.study == "autoregressive"
        assert all((check.shows, check.printed, check.recomputed, check.verdict))
        assert any(word in check.shows for word in ("not", "nothing", "cannot"))


# -- Table 2 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pooled", "usevar"), [(False, "unequal"), (True, "pooled")])
def test_each_test_is_the_one_of_samples_with_the_printed_moments(cells, pooled, usevar):
    """Against statsmodels on samples that have the printed means and SDs to the last bit."""
    n = 100
    agree = agreement(cells, [n], pooled=pooled)[0]
    for cell in range(0, len(cells.names), 5):
        sides = []
        for (mean, sd), size in (
            (cells.generated[cell], n),
            (cells.real[cell], cells.n_real[cell]),
        ):
            drawn = np.random.default_rng(cell).normal(size=size)
            sides.append(mean + (sd or SD_OF_ZERO) * stats.zscore(drawn, ddof=1))
        p = ttest_ind(*sides, usevar=usevar)[1]
        assert agree[cell] == ((p >= 0.001 / 48) == cells.bold[cell]), cells.names[cell]


def test_all_marks_follow_from_welch_at_the_expected_numbers(cells):
    assert agreement(cells, p5.EXPECTED_GENERATED).all()
    assert agreement(cells, [89, 2000]).all()
    assert (~agreement(cells, [50, 88])).sum(axis=1).tolist() == [3, 1]
    found = p5.welch_pattern(cells)
    assert found.verdict == "consistent"
    assert "with 100 to 500 generated volumes 48 of 48 cells agree" in found.recomputed
    assert "all agree at 89 to 2000; at 50 3 differ" in found.recomputed


@pytest.mark.parametrize("name", ["young-vqvae GM", "big_ventricles-vqvae GM", "AD-vae CSF"])
def test_a_turned_mark_breaks_the_pattern(cells, name):
    found = p5.welch_pattern(turned(cells, name))
    assert found.verdict == "inconsistent"
    assert "47 of 48 cells agree at the least" in found.recomputed


def test_another_level_breaks_the_pattern(cells, monkeypatch):
    monkeypatch.setattr("genmorph.studies.autoregressive.table2.PAPER_FAMILY_ALPHA", 0.05)
    assert p5.welch_pattern(cells).verdict == "inconsistent"


def test_pooled_variances_fail_at_every_number(cells):
    found = p5.pooled_pattern(cells)
    assert found.verdict == "inconsistent"
    for text in (
        "7 at 50, 2 at 100, 2 at 150, 3 at 200, 4 at 300, 6 at 400, 7 at 500",
        "at the least 1, at 123 to 144",
        "rounding could mend all of them at no number",
        "12 of 12 rows fit: big_ventricles-vqvae from 123, CN-vqvae up to 57",
    ):
        assert text in found.recomputed


def test_marks_that_pooled_tests_made_are_consistent_with_pooled_tests(cells):
    """Marks made by Student's test at 130 volumes turn both verdicts."""
    agree = agreement(cells, [130], pooled=True)[0]
    student = replace(cells, bold=np.where(agree, cells.bold, ~cells.bold))
    assert p5.pooled_pattern(student).verdict == "consistent"
    assert p5.welch_pattern(student).verdict == "inconsistent"


def test_rounding_turns_the_cells_it_is_said_to_and_no_other(cells):
    """Random numbers within the print never turn a mark that is kept, and turn the others."""
    rng = np.random.default_rng(0)
    kept = marks_kept(cells, [200])[0]
    seen = np.zeros((2, len(kept)), dtype=bool)
    for _ in range(300):
        shift = rng.uniform(-0.5, 0.5, (4, len(kept)))
        # half of the draws at the ends, where a mark turns first
        shift = np.where(rng.random(shift.shape) < 0.5, np.sign(shift) * 0.5, shift)
        generated = cells.generated + shift[:2].T
        generated[:, 1] = np.maximum(generated[:, 1], 1e-9)
        agree = agreement(
            replace(cells, generated=generated, real=cells.real + shift[2:].T), [200]
        )[0]
        seen[0] |= agree
        seen[1] |= ~agree
    assert not seen[1][kept == 1].any()
    assert seen.all(axis=0)[kept == 0].all()
    assert sorted(np.array(cells.names)[kept == 0]) == [
        "CN-vae DGM", "big_ventricles-vqvae DGM", "old-vqvae DGM",
    ]  # fmt: skip
    assert "6 at 100, 4 at 150, 3 at 200, 4 at 300" in p5.print_rounding(cells).recomputed
    assert (
        p5.print_rounding(cells).verdict == "implies: 3 to 6 of 48 marks hang on digits not printed"
    )


def test_a_mark_that_contradicts_its_print_is_told_from_one_that_rounding_turns(cells):
    names = list(cells.names)
    kept = marks_kept(turned(cells, "young-vqvae GM"), [200])[0]
    assert kept[names.index("young-vqvae GM")] == -1
    kept = marks_kept(turned(cells, "CN-vae DGM"), [200])[0]
    assert kept[names.index("CN-vae DGM")] == 0


def test_the_level_belongs_to_the_cells_of_the_table(cells, monkeypatch):
    assert p5.level(cells).verdict == "implies: 0.001 over the table's 48 cells"
    monkeypatch.setattr(p5, "PRINTED_LEVEL", "2.500e-05")
    assert p5.level(cells).verdict == "implies: another family than the table's 48 cells"


def test_the_text_on_volumes(cells):
    csf, gray = p5.claims_on_volumes(cells)
    assert (csf.verdict, gray.verdict) == ("consistent", "inconsistent")
    assert "big_ventricles not bold (significant)" in gray.recomputed
    csf, gray = p5.claims_on_volumes(turned(cells, "big_ventricles-vqvae GM"))
    assert gray.verdict == "consistent"
    csf, gray = p5.claims_on_volumes(turned(cells, "small_ventricles-vqvae CSF"))
    assert csf.verdict == "inconsistent"


# -- Table 1 and the text -------------------------------------------------------------------------


def test_the_duplicate_distance_is_found(table1):
    found = p5.equal_distances(table1)
    assert found.verdict == "inconsistent"
    assert found.printed == "young-vqvae 31.04, 57.19, 57.19"
    table1["young-vqvae"]["fid_sagittal"] = "77.19"
    assert p5.equal_distances(table1).verdict == "consistent"


def test_the_order_of_magnitude(table1):
    found = p5.order_of_magnitude(table1)
    assert found.verdict == "inconsistent"
    assert found.recomputed == "ratios 3.05, 2.96, 3.18, 2.92"
    for population in p5.UKB:
        table1[f"{population}-vae"]["mmd"] = "0.09"
    assert p5.order_of_magnitude(table1).verdict == "consistent"


def test_a_fifth_of_the_training_scans_varies_as_the_draw_does():
    population = stats.hypergeom(35710, 7142, 31740)
    assert p5.expected_fifth() == pytest.approx((population.mean(), population.std()))


def test_sizes_of_populations(monkeypatch):
    ventricles = p5.fifths("ventricular volume", p5.VENTRICLES)
    assert ventricles.verdict == "consistent"
    assert "a fifth is 6348, SD 24" in ventricles.recomputed
    ages = p5.fifths("age", p5.AGES)
    assert ages.verdict == "inconsistent"
    assert "young +285 (+12.0 SD), old -1211 (-51.0 SD)" in ages.recomputed
    assert p5.fifths("age", {"young": (6400, 1)}).verdict == "consistent"
    assert p5.population_test_sets().verdict == "inconsistent"
    monkeypatch.setattr(p5, "UKB", {"young": (6348, 800)})
    assert p5.population_test_sets().verdict == "consistent"


def test_the_split_of_adni(monkeypatch):
    found = p5.shares_of_test()
    assert found.verdict == "inconsistent"
    draw = stats.hypergeom(730, 82, 334)
    assert f"expected {draw.mean():.1f}, SD {draw.std():.1f}" in found.recomputed
    monkeypatch.setattr(p5, "DIAGNOSES", {"CN": (130, 17), "AD": (167, 20)})
    assert p5.shares_of_test().verdict == "consistent"


@pytest.mark.parametrize(("name", "value"), [("GRID", (160, 220, 160)), ("TOKENS", 1372)])
def test_tokens(monkeypatch, name, value):
    assert p5.tokens().verdict == "consistent"
    assert "10 x 14 x 10 = 1400 tokens, each of 4096 voxels" in p5.tokens().recomputed
    monkeypatch.setattr(p5, name, value)
    assert p5.tokens().verdict == "inconsistent"
