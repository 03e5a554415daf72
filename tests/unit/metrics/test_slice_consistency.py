"""Differences of neighbouring slices: volumes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from genmorph.cli import build
from genmorph.errors import MeasurementError
from genmorph.files import read_json
from genmorph.metrics.slice_consistency import measure_slice_consistency, neighbour_differences
from genmorph.store import Description, write_store

SHAPE = (6, 16, 5)
AXES = ("sagittal", "coronal", "axial")


def smooth(person, shape=SHAPE):
    """A bright column whose brightness runs along y, other for each person."""
    rng = np.random.default_rng(person)
    along = 0.5 + rng.uniform(0.1, 0.3) * np.sin(np.linspace(0, 3, shape[1]) + rng.uniform(0, 3))
    return np.zeros(shape) + along[:, None]


def people(n, make=smooth):
    return {f"sub-{number:02d}": make(number) for number in range(n)}


def from_many(scans, seed):
    """Each coronal slice from another scan: right slices, no coherence."""
    rng = np.random.default_rng(seed)
    stack = np.stack(list(scans.values()))
    chosen = rng.integers(len(stack), size=SHAPE[1])
    return np.stack([stack[scan, :, y] for y, scan in enumerate(chosen)], axis=1)


def test_a_constant_volume_has_no_differences():
    assert neighbour_differences(np.full(SHAPE, 0.7)) == dict.fromkeys(AXES, 0.0)


@pytest.mark.parametrize("axis", range(3))
def test_a_ramp_differs_along_its_own_axis_alone(axis):
    ramp = np.moveaxis(np.zeros((4, 4, 4)) + 0.2 * np.arange(1, 5)[:, None, None], 0, axis)
    expected = dict.fromkeys(AXES, 0.0) | {AXES[axis]: pytest.approx(0.2)}
    assert neighbour_differences(ramp) == expected


def test_what_both_neighbours_leave_dark_does_not_count():
    volume = np.zeros((3, 10, 3))
    volume[:, 4:6] = 0.5  # neighbours along y: dark to bright, bright to bright, bright to dark
    volume[:, 0] = 0.04
    assert neighbour_differences(volume)["coronal"] == pytest.approx(2 / 3 * 0.5)
    assert neighbour_differences(volume, background=0.03)["coronal"] == pytest.approx(
        (0.5 + 0 + 0.5 + 0.04) / 4
    )
    assert neighbour_differences(np.zeros(SHAPE)) == dict.fromkeys(AXES)


def test_a_store_beside_itself_has_ratio_one():
    found = measure_slice_consistency(people(4), people(4))
    assert found.values["coronal_ratio"] == 1 and found.values["coronal_departure"] == 0
    per_person = [neighbour_differences(volume)["coronal"] for volume in people(4).values()]
    assert found.values["coronal"] == pytest.approx(np.mean(per_person))
    assert found.spread["coronal"] == pytest.approx(np.std(per_person, ddof=1))
    assert found.per_scan["sub-02"] == {
        **dict.fromkeys((f"{axis}{end}" for axis in AXES for end in ("", "_reference")), 0.0),
        "coronal": per_person[2],
        "coronal_reference": per_person[2],
    }
    # nothing varies along the other axes: 0 / 0
    assert "axial_ratio" not in found.values and any("axial_ratio" in n for n in found.notes)


def test_independent_slices_jump_along_their_own_axis():
    scans = {name: v + 0.1 * np.linspace(0, 1, 5) for name, v in people(8).items()}
    mixed = {f"sample-{k}": from_many(scans, seed=k) for k in range(6)}
    found = measure_slice_consistency(mixed, scans).values
    assert found["coronal_ratio"] > 2
    assert found["coronal_departure"] == found["coronal_ratio"] - 1
    assert found["axial_ratio"] == pytest.approx(1)


def test_a_blurred_volume_is_below_one():
    def noisy(person):
        return np.random.default_rng(person).random(SHAPE)

    scans = people(5, noisy)
    means = {n: (v + np.roll(v, 1, 1) + np.roll(v, -1, 1)) / 3 for n, v in scans.items()}
    found = measure_slice_consistency(means, scans).values
    assert found["coronal_ratio"] < 0.6
    assert found["coronal_departure"] == 1 - found["coronal_ratio"]  # blur is no merit


@pytest.mark.parametrize(
    ("generated", "reference", "match"),
    [
        ({}, people(1), "no generated volumes"),
        (people(1), {}, "no real scans"),
        (people(1), {"sub-09": smooth(0, (6, 8, 5))}, "sub-09 is"),
        ({"sample-0": np.full(SHAPE, np.nan)}, people(1), "sample-0 holds values that are not"),
        ({"sample-0": np.full(SHAPE, 80.0)}, people(1), "intensities of sample-0"),
    ],
)
def test_what_cannot_be_compared_is_named(generated, reference, match):
    with pytest.raises(MeasurementError, match=match):
        measure_slice_consistency(generated, reference)


def test_dark_volumes_are_left_out_and_told_of():
    found = measure_slice_consistency({"a": np.zeros(SHAPE), **people(2)}, people(2))
    assert found.values["coronal"] == found.values["coronal_reference"]
    assert "a" not in found.per_scan
    assert any("1 of 3 generated volumes" in note for note in found.notes)
    none = measure_slice_consistency({"a": np.zeros(SHAPE)}, people(2))
    assert "coronal" not in none.values and "coronal_ratio" not in none.values


def test_the_command_reads_two_stores(tmp_path):
    for name, scans in (("real", people(3)), ("made", people(2))):
        source = {"cohort": "c", "layout": "bids", "simulated": True, "model": "m", "seed": 0}
        description = Description(np.eye(4).tolist(), name, "made up", source)
        write_store(
            tmp_path / name, scans.items(), shape=SHAPE, dtype="float32", description=description
        )
    done = CliRunner().invoke(
        build(),
        [
            *("evaluate", "slice_consistency", "--generated", f"{tmp_path}/made/index.tsv"),
            *("--reference", f"{tmp_path}/real/index.tsv", "--out", f"{tmp_path}/found.json"),
            *("--parameters", '{"background": 0.1}'),
        ],
    )
    assert done.exit_code == 0, done.output
    content = read_json(tmp_path / "found.json")
    assert content["settings"]["background"] == 0.1
    assert content["n"]["reference_scans"] == 3 and content["n"]["generated_scans"] == 2
    assert content["values"]["coronal"] != content["values"]["coronal_reference"]
