"""`genmorph evaluate memorisation`: stores in; a measurement, its record and a figure out."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from genmorph.cli import build
from genmorph.files import read_json
from genmorph.metrics.measurement import Measurement
from genmorph.store import Description, write_store

SHAPE = (8, 9, 8)
PEOPLE = {
    side: {
        f"sub-{side}{number}": np.random.default_rng([ord(side), number]).random(SHAPE, np.float32)
        for number in range(10)
    }
    for side in "th"
}


@pytest.fixture
def stores(tmp_path):
    volumes = {
        "made": {f"sample-{n}": v[::-1] for n, v in enumerate(PEOPLE["t"].values())},
        "training": PEOPLE["t"],
        "held-out": PEOPLE["h"],
    }
    for name, some in volumes.items():
        description = Description(
            affine=np.diag([2.0, 2.0, 2.0, 1.0]).tolist(),
            content=name,
            data_label="made up",
            source={"cohort": "c", "layout": "bids", "simulated": True, "model": "copier"},
        )
        write_store(
            tmp_path / name, some.items(), shape=SHAPE, dtype="float32", description=description
        )
    return tmp_path


def run(stores, *words):
    return CliRunner().invoke(
        build(),
        [
            "evaluate",
            "memorisation",
            *("--generated", f"{stores}/made/index.tsv"),
            *("--reference", f"{stores}/held-out/index.tsv"),
            *("--out", f"{stores}/out/memorisation.json"),
            *words,
        ],
    )


def test_mirrored_training_scans_are_flagged_and_drawn(stores):
    done = run(
        stores,
        *("--training", f"{stores}/training/index.tsv"),
        *("--figure", f"{stores}/out/pairs.png"),
        *("--parameters", '{"permutations": 100, "blur_voxels": 0.5}'),
    )
    assert done.exit_code == 0, done.output
    measurement = Measurement.from_json(read_json(stores / "out" / "memorisation.json"))
    assert measurement.values["share_flagged"] == 1
    assert measurement.settings["blur_voxels"] == 0.5
    assert measurement.settings["run"]["model"] == "copier"
    assert measurement.data_label == "made up"
    for suffix in ("png", "svg"):
        assert (stores / "out" / f"pairs.{suffix}").stat().st_size > 1000
    (record,) = (stores / "out" / "provenance").rglob("*.json")
    outputs = {entry["path"] for entry in read_json(record)["outputs"]}
    assert outputs == {"memorisation.json", "pairs.png", "pairs.svg"}
    inputs = {entry["path"] for entry in read_json(record)["inputs"]}
    assert "../training/index.tsv" in inputs


def test_mirrors_may_be_left_out(stores):
    done = run(
        stores,
        *("--training", f"{stores}/training/index.tsv"),
        *("--parameters", '{"permutations": 100, "mirror": false, "shift_voxels": 0}'),
    )
    assert done.exit_code == 0, done.output
    measurement = Measurement.from_json(read_json(stores / "out" / "memorisation.json"))
    assert measurement.values["share_flagged"] < 0.5
    assert not (stores / "out" / "pairs.png").exists()


def test_who_was_trained_on_must_be_said(stores):
    done = run(stores)
    assert done.exit_code != 0
    assert "who was trained on" in str(done.exception)
    assert not (stores / "out" / "memorisation.json").exists()
