"""Cells: what one and several seeds print, and which spread and difference go with it."""

from __future__ import annotations

import pytest

from genmorph.metrics.cells import measured_cell, value_at


def measurement(value, **spread):
    return {"values": {"axial": value}, "spread": spread, "settings": {"spread_over": "halves"}}


def cell(contents, key="values.axial", form=".1f", reported="", comparable=""):
    return measured_cell(contents, key, form, reported=reported, comparable=comparable)


def test_one_seed_has_the_spread_of_its_measurement_and_prints_none():
    found = cell([measurement(3.14, axial=0.25)])
    assert found["printed"] == "3.1"
    assert (found["spread"], found["spread_over"]) == ("0.25", "halves")
    assert cell([measurement(3.14)])["spread"] == cell([measurement(3.14)])["spread_over"] == ""


def test_two_seeds_print_mean_and_sd_over_seeds():
    found = cell([measurement(1.0, axial=9.0), measurement(3.0, axial=9.0)])
    assert found["printed"] == "2.0 ± 1.4"
    assert found["value"] == "1.0 3.0"
    assert float(found["spread"]) == pytest.approx(2**0.5)
    assert found["spread_over"] == "seeds"


def test_a_spread_of_several_seeds_is_their_mean():
    found = cell([measurement(1.0, axial=2.0), measurement(9.0, axial=4.0)], "spread.axial")
    assert (found["printed"], found["value"]) == ("3.0", "2.0 4.0")
    assert found["spread"] == found["spread_over"] == ""


@pytest.mark.parametrize(
    ("reported", "comparable", "expected"),
    [("1.5", "yes", "0.5"), ("1.5", "no: n (6, paper 7)", ""), ("", "not reported", "")],
)
def test_a_difference_only_where_values_are_comparable(reported, comparable, expected):
    contents = [measurement(1.0), measurement(3.0)]
    assert cell(contents, reported=reported, comparable=comparable)["difference"] == expected


def test_seeds_without_the_value_are_told():
    without = {"values": {}, "spread": {}, "settings": {"spread_over": "halves"}}
    found = cell([measurement(1.0), without, measurement(3.0)])
    assert (found["printed"], found["value"]) == ("2.0 ± 1.4 (2 of 3 seeds)", "1.0 3.0")
    found = cell([without, measurement(1.0, axial=0.5)], reported="1.5", comparable="yes")
    assert (found["printed"], found["difference"]) == ("1.0 (1 of 2 seeds)", "-0.5")
    assert (found["spread"], found["spread_over"]) == ("0.5", "halves")
    spread = cell([measurement(1.0), measurement(1.0, axial=0.5)], "spread.axial")
    assert spread["printed"] == "0.5 (1 of 2 seeds)"
    assert cell([without, without]) == cell([])
    with pytest.raises(KeyError):
        cell([{"steps": 1}, {}], "steps", "")


def test_nothing_measured_is_not_available():
    assert cell([], reported="1.5") == {
        "printed": "n/a",
        "value": "",
        "spread": "",
        "spread_over": "",
        "difference": "",
    }


@pytest.mark.parametrize(
    ("values", "expected"), [([7, 7], "7"), ([7, 8], "7 / 8"), (["cpu"], "cpu"), ([], "n/a")]
)
def test_facts_are_printed_as_stated(values, expected):
    assert cell([{"fact": value} for value in values], "fact", "")["printed"] == expected


def test_a_key_that_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        value_at(measurement(1.0), "values.coronal")


def test_times_on_two_kinds_of_hardware_are_never_averaged():
    """A hostile reader's check: a mean over an A100 and an H200 says nothing of either."""
    runs = [
        {"seconds": 100.0, "device": "NVIDIA A100"},
        {"seconds": 60.0, "device": "NVIDIA H200"},
        {"seconds": 62.0, "device": "NVIDIA H200"},
    ]
    cell = measured_cell(runs, "seconds", ".0f", reported="", comparable="")
    assert cell["printed"] == "100 (NVIDIA A100) / 61 ± 1 (NVIDIA H200)"
    assert cell["spread"] == cell["difference"] == ""
    assert cell["value"] == "100.0 60.0 62.0"
    alike = measured_cell(runs[1:], "seconds", ".0f", reported="", comparable="")
    assert alike["printed"] == "61 ± 1"
