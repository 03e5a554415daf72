"""P1's printed numbers against each other; altered numbers must turn the verdicts."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from genmorph.files import read_json
from genmorph.publish.checks import read_reported
from genmorph.studies import load_spec
from genmorph.studies.m3ae import checks as p1


@pytest.fixture
def rows():
    return copy.deepcopy(read_reported(p1.REPORTED, p1.TABLE))


def verdicts(found):
    return {check.check: check.verdict for check in found}


def test_every_check_says_what_it_can_and_cannot_show():
    found = p1.checks()
    assert len({check.check for check in found}) == len(found)
    for check in found:
        assert check.study == "m3ae"
        assert all((check.shows, check.printed, check.recomputed, check.verdict))
        assert any(word in check.shows for word in ("not", "nothing", "cannot"))


def test_the_data_range_is_the_one_of_the_measures():
    for measure in ("reconstruction", "diversity"):
        assert load_spec("m3ae").measures[measure]["data_range"] == p1.DATA_RANGE


def test_slices_and_grid_are_those_the_study_uses():
    spec = load_spec("m3ae")
    assert tuple(spec.measures["frechet"]["positions"]) == p1.SLICES
    assert spec.scales["paper"].grid == p1.GRID


def test_an_implied_range_returns_the_range_psnr_was_taken_with(rows):
    """From a known range and error, through the printed digits, back to the range."""
    for data_range, mse in ((1.0, 0.0123), (1.5, 0.0456), (255.0, 7.654)):
        psnr = 20 * math.log10(data_range) - 10 * math.log10(mse)
        low, high = p1.implied_range({"psnr": f"{psnr:.2f}", "l2": f"{mse:.4f}"})
        assert low <= data_range <= high
        assert high / low < 1.02
    assert p1.implied_range(rows["alpha_wgan"]) == pytest.approx((1.5060, 1.5132), abs=1e-4)


def test_psnr_averaged_over_scans_implies_too_great_a_range():
    """The direction of the bound, on numbers."""
    mse = np.array([0.01, 0.02, 0.09])
    psnr = 20 * np.log10(1.5) - 10 * np.log10(mse)
    low, _ = p1.implied_range({"psnr": f"{psnr.mean():.6f}", "l2": f"{mse.mean():.8f}"})
    assert low > 1.5


def test_rows_share_a_range_but_exactly_one_and_a_half_leaves_one_row_out(rows):
    found = verdicts(p1.common_data_range(rows))
    assert found["one data range for all rows"] == "consistent"
    assert found["data range 1.5, PSNR of the mean error"] == "inconsistent"
    assert found["data range 1.5, PSNR averaged over scans"] == "consistent"


def test_altered_psnrs_turn_the_verdicts_on_the_range(rows):
    name = "data range 1.5, PSNR of the mean error"
    rows["alpha_wgan"]["psnr"] = "12.15"
    assert verdicts(p1.common_data_range(rows))[name] == "consistent"
    rows["m3ae"]["psnr"] = "16.61"
    found = verdicts(p1.common_data_range(rows))
    assert set(found.values()) == {"inconsistent"}


def test_models_lie_above_the_floor_and_one_below_is_found(rows):
    assert {check.verdict for check in p1.fid_floor(rows)} == {"consistent"}
    rows["m3ae"]["fid_sagittal"] = "8.4"
    found = verdicts(p1.fid_floor(rows))
    assert [name for name, verdict in found.items() if verdict == "inconsistent"] == [
        "FID above its floor: m3ae"
    ]


def test_the_claim_of_the_lowest_distance_is_checked_on_each_axis(rows):
    assert p1.fid_claim(rows).verdict == "consistent"
    rows["alpha_wgan"]["fid_coronal"] = "83.0"
    assert p1.fid_claim(rows).verdict == "inconsistent"
    assert "fid_coronal alpha_wgan" in p1.fid_claim(rows).recomputed


@pytest.mark.parametrize(("key", "value"), [("l2", "0.044"), ("ssim", "0.770"), ("psnr", "17.00")])
def test_one_measure_that_ranks_otherwise_is_found(rows, key, value):
    assert p1.rank_agreement(rows).verdict == "consistent"
    rows["m3ae"][key] = value
    assert p1.rank_agreement(rows).verdict == "inconsistent"


def test_shapes(monkeypatch):
    assert p1.reshaped_latents().verdict == "inconsistent"
    assert p1.reshaped_latents().recomputed == "256 values each, 19200 needed"
    assert p1.halved_grid().verdict == p1.slice_positions().verdict == "consistent"
    monkeypatch.setattr(p1, "LATENTS", 38400)
    monkeypatch.setattr(p1, "GRID", (80, 96, 84))
    assert p1.reshaped_latents().verdict == "consistent"
    assert p1.halved_grid().verdict == "inconsistent"
    monkeypatch.setattr(p1, "GRID", (80, 96, 60))
    assert p1.slice_positions().verdict == "inconsistent"


def test_beta(monkeypatch):
    assert p1.beta().verdict == "inconsistent"
    monkeypatch.setattr(p1, "BETA_TEXT", "6")
    assert p1.beta().verdict == "consistent"


def test_counts():
    assert p1.volumes_per_person().verdict == "implies: 4.8 and 4.9 volumes a person"
    share = p1.share_of_people()
    assert "526 / (992 + 526) = 0.3465" in share.recomputed
    assert "a third if 60 more" in share.recomputed
    assert share.verdict == "implies: at most 34.7 % of the people are test people"


def test_the_command_writes_the_checks_and_its_record(tmp_path):
    from genmorph.cli.checks import checks

    out = tmp_path / "tables" / "reported_checks.csv"
    checks(out, None)
    assert out.read_text(encoding="utf-8").count("\nm3ae,") == len(p1.checks())
    record = read_json(out.parent / "provenance" / "reported_checks.csv.json")
    assert "m3ae" in record["parameters"]["studies"]
    assert "genmorph.studies.m3ae.checks/reported.csv" in record["code"]["modules"]
    assert {entry["path"] for entry in record["outputs"]} == {
        "reported_checks.csv",
        "reported_checks.md",
    }
