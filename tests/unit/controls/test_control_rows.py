"""Rows of the controls: verdicts, table, cells, figure; mutations have to make them fail."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from genmorph.controls.figure import draw_controls
from genmorph.controls.groups import (
    GROUPS,
    chain,
    distances,
    memorisation,
    module_of_group,
    overlap,
)
from genmorph.controls.rows import (
    Curve,
    Result,
    Row,
    check_table,
    read_result,
    write_result,
    write_table,
)
from genmorph.errors import ControlError
from genmorph.metrics import mmd
from genmorph.preprocessing import anatomy
from genmorph.preprocessing.engines import tissue
from genmorph.preprocessing.engines.tissue import NonlinearRegistration, TissueSegmentation
from genmorph.preprocessing.raw import Image

GOOD = Row("bias", "Atropos", "24 heads", 1.5, -2.0, 2.0)
BAD = Row("rate", "VBM", "400 cohorts", 40.0, 12, 29)
SHOWN = Row("blur", "RAS", "15 pairs", 0.1)
CURVE = Curve((0.0, 1.0), (1.0, 0.5), "mm", "Dice", (0.1, 0.1))


@pytest.mark.parametrize(
    ("measured", "low", "high", "verdict"),
    [
        (1.0, 0.0, 1.0, "yes"),
        (1.1, 0.0, 1.0, "no"),
        (-0.1, 0.0, None, "no"),
        (0.1, None, 0.2, "yes"),
        (5.0, None, None, "printed"),
        (math.nan, 0.0, 1.0, "no"),
    ],
)
def test_a_row_says_whether_it_lies_in_its_interval(measured, low, high, verdict):
    assert Row("a", "b", "c", measured, low, high).verdict == verdict


def test_table_and_cells_hold_every_row(tmp_path):
    for name, rows in (("one", (GOOD, SHOWN)), ("two", (BAD,))):
        result = Result(rows, {"curve": CURVE})
        write_result(tmp_path / "controls" / f"{name}.json", name, result, {"seed": 0})
    files = [tmp_path / "controls" / f"{name}.json" for name in ("one", "two")]
    assert read_result(files[0]).curves["curve"] == CURVE
    out = tmp_path / "tables" / "controls.csv"
    write_table(files, out, tmp_path)
    lines = list(csv.DictReader(out.open()))
    assert [line["pass"] for line in lines] == ["yes", "printed", "no"]
    assert list(lines[0]) == [
        "control", "estimator", "n", "expected_low", "expected_high", "measured", "pass",
    ]  # fmt: skip
    cells = list(csv.DictReader(out.with_name("controls_cells.csv").open()))
    assert (cells[2]["measurement"], cells[2]["key"]) == ("controls/two.json", "rows.0.measured")
    with pytest.raises(ControlError, match="1 of 3 controls failed: rate"):
        check_table(out)
    write_table(files[:1], out, tmp_path)
    assert check_table(out) == 1


def test_a_number_that_is_missing_fails_and_is_null_in_json(tmp_path):
    file = tmp_path / "one.json"
    write_result(file, "one", Result((Row("a", "b", "c", math.nan, 0, 1),)), {})
    assert "NaN" not in file.read_text()
    assert read_result(file).rows[0].verdict == "no"


def test_the_figure_has_a_line_for_each_control_and_a_panel_for_each_curve():
    figure = draw_controls([GOOD, BAD, SHOWN], {"a": CURVE, "b": CURVE})
    titles = [axis.get_title() for part in figure.subfigs for axis in part.axes]
    assert {"a", "b"} <= set(titles)
    (intervals,) = figure.subfigs[1].axes
    assert len(intervals.get_yticklabels()) == 2


def test_every_group_is_a_module_with_a_run():
    import importlib

    for group in GROUPS:
        assert callable(importlib.import_module(module_of_group(group)).run)


# -- what is wrong must be seen --------------------------------------------------------------------


def verdicts(rows):
    return {row.control: row.verdict for row in rows}


def test_a_flipped_sign_in_the_mmd_fails_its_controls(monkeypatch):
    assert set(verdicts(distances.mmd_rows(0)).values()) == {"yes"}
    whole = mmd._squared_mmd

    def flipped(sums, convention):
        if len(sums) == 1:
            return whole(sums, convention)
        plus = sums[0].mean + sums[1].mean
        return float(plus @ plus) if convention == "biased" else whole(sums, convention)

    monkeypatch.setattr(mmd, "_squared_mmd", flipped)
    assert verdicts(distances.mmd_rows(0))["MMD of equal distributions over the true floor"] == "no"


def test_a_dropped_jacobian_fails_the_control_of_mass(monkeypatch):
    priors = {
        name: tissue._from_ants(tissue._coarsened(image, 5.0))
        for name, image in tissue._priors().items()
    }
    signal = sum(
        share * priors[name].data for name, share in (("CSF", 0.25), ("GM", 0.6), ("WM", 0.9))
    )
    affine = priors["GM"].affine.copy()
    affine[:3, :3] *= 1.06
    image = Image(signal.astype(np.float32), affine)
    options = anatomy.AnatomyOptions(
        segmentation=TissueSegmentation(registration=NonlinearRegistration(working_mm=5.0))
    )
    voxel_ml = abs(np.linalg.det(tissue.template_grid(5.0)[1][:3, :3])) / 1000

    def row():
        found = anatomy.anatomy_of(image, options, None)
        mass = found.modulated.sum() * voxel_ml / found.volumes_ml["GM"] - 1
        return chain.mass_row([chain.Segmented(found.volumes_ml, found.modulated, mass)])

    assert row().verdict == "yes"
    monkeypatch.setattr(
        tissue, "jacobian_determinant", lambda field, affine: np.ones(field.shape[:3], np.float32)
    )
    assert row().verdict == "no"


@pytest.mark.parametrize("errors", [(math.nan, 0.001), (0.001, math.nan)])
def test_one_number_that_is_missing_fails_the_greatest_of_several(errors):
    assert overlap.affine_row(errors, 0.0, "pairs").verdict == "no"
    heads = [chain.Segmented({}, np.zeros(1), error) for error in errors]
    assert chain.mass_row(heads).verdict == "no"


def test_a_scan_on_both_sides_that_passes_unseen_fails_its_control(monkeypatch):
    rng = np.random.default_rng(0)
    sides = [
        {f"sub-{side}{n}": rng.random((12, 12, 12), np.float32) for n in range(4)} for side in "ab"
    ]
    assert memorisation.both_sides_row(*sides).verdict == "yes"
    monkeypatch.setattr(memorisation, "measure_memorisation", lambda *args, **kwargs: None)
    assert memorisation.both_sides_row(*sides).verdict == "no"
