"""Checks of printed numbers: rounding, verdicts, files."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from genmorph.errors import MeasurementError
from genmorph.publish.checks import (
    COLUMNS,
    Check,
    read_reported,
    rounding_interval,
    write_checks,
)

CHECK = Check("m3ae", "β", "Whether a | b agree.", "3", "ratio 2", "inconsistent")


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("12.21", 12.205, 12.215),
        ("0.137", 0.1365, 0.1375),
        ("11", 10.5, 11.5),
        ("110.40", 110.395, 110.405),
        ("-2.0", -2.05, -1.95),
    ],
)
def test_rounding_allows_half_a_unit_of_the_last_digit(text, low, high):
    assert rounding_interval(text) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("verdict", ["", "maybe", "implies: ", "consistent.", "implies"])
def test_a_verdict_is_one_of_three(verdict):
    with pytest.raises(MeasurementError, match="no verdict"):
        replace(CHECK, verdict=verdict)
    assert replace(CHECK, verdict="implies: a range of 1.5").verdict


def test_checks_are_written_as_csv_and_markdown(tmp_path):
    out = tmp_path / "tables" / "reported_checks.csv"
    write_checks([CHECK, replace(CHECK, check="c", verdict="consistent")], out)
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert (
        tuple(rows[0]) == COLUMNS == ("study", "check", "shows", "printed", "recomputed", "verdict")
    )
    assert [row["verdict"] for row in rows] == ["inconsistent", "consistent"]
    lines = out.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert lines[2] == r"| m3ae | β | Whether a \| b agree. | 3 | ratio 2 | inconsistent |"
    assert "No data were used" in lines[-1]
    first = out.read_bytes()
    write_checks([CHECK, replace(CHECK, check="c", verdict="consistent")], out)
    assert out.read_bytes() == first


def test_printed_numbers_keep_their_digits(tmp_path):
    path = tmp_path / "reported.csv"
    path.write_text("table,row,column,value,spread\nt,a,psnr,12.20,\nu,a,psnr,9,\nt,b,l2,0.1,\n")
    assert read_reported(path, "t") == {"a": {"psnr": "12.20"}, "b": {"l2": "0.1"}}
    with pytest.raises(MeasurementError, match="no table 'v'"):
        read_reported(path, "v")
