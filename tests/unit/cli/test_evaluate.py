"""What the command adds to a measurement: the run, the grid, and what kind of data it is of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genmorph.cli.evaluate import mmd
from genmorph.cli.evaluate.common import placed
from genmorph.errors import StoreError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.options import measure_options
from genmorph.store import Description


def store(**source):
    description = Description(affine=[], content="", data_label="a label", source=source)
    return SimpleNamespace(folder=Path("s"), shape=(4, 5, 6), description=description)


MADE = store(study="m3ae", model="m3ae", cohort="mine", seed=1)
MEASURED = Measurement(
    "frechet", {"axial": 1.0}, n={"reference_scans": 2}, settings={"label": "FD"}
)


@pytest.mark.parametrize(
    ("layout", "simulated", "data"),
    [("adni", False, "adni"), ("bids", False, "bids"), ("adni", True, "simulated")],
)
def test_data_are_known_by_their_layout_not_by_the_cohorts_name(layout, simulated, data):
    settings = placed(MEASURED, store(layout=layout, simulated=simulated), MADE, "test")["settings"]
    assert settings["data"] == data
    assert (settings["cohort"], settings["grid"]) == ("mine", [4, 5, 6])
    assert settings["run"]["seed"] == 1 and settings["reference_split"] == "test"


def test_a_store_of_unknown_layout_is_an_error_with_its_cure():
    with pytest.raises(StoreError, match="does not name the layout") as raised:
        placed(MEASURED, store(cohort="mine"), MADE, "test")
    assert "index" in raised.value.cure


def test_notes_on_the_held_out_mmd_are_told_from_those_on_the_one_to_the_training_scans():
    random = np.random.default_rng(0)
    scans = {f"sub-{number}": random.random((2, 2, 2)) for number in range(12)}
    splits = {"train": list(scans)[:8], "test": list(scans)[8:]}
    made = {f"sample-{number}": random.random((2, 2, 2)) for number in range(8)}
    two = SimpleNamespace(
        made=SimpleNamespace(volumes=lambda: made),
        real=SimpleNamespace(volumes=lambda ids: {scan_id: scans[scan_id] for scan_id in ids}),
        options=measure_options("mmd", {"split": "train", "batch_size": 4, "repeats": 2}, "test"),
        split_ids=splits.__getitem__,
        by_splits=True,
    )
    found = mmd.measure(two)
    assert found.values["held_out_mmd"] != found.values["mmd"]
    (note,) = found.notes
    assert note.startswith("To the test scans: MMD: 2 repeats of 1 disjoint batches")
