"""genmorph segmenter: from a store and label maps to measured, readable segmenters."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from genmorph.cli.segmenter import segmenter
from genmorph.errors import GenmorphError, WeightsError
from genmorph.metrics.measurement import person
from genmorph.store import Description, Store, write_store
from genmorph.training.segmenters import read_segmenters

SHAPE = (16, 8, 16)
IDS = [f"sub-{number}_ses-{session}" for number in range(4) for session in (1, 2)]
OPTIONS = json.dumps({"channels": [4, 8], "epochs": 2, "numerical_threads": 1})


@pytest.fixture
def tree(tmp_path):
    """A store of eight scans of four people, and FreeSurfer's labels of them."""
    rng = np.random.default_rng(0)
    volumes, folder = [], tmp_path / "labels"
    folder.mkdir()
    for scan_id in IDS:
        labels = np.zeros(SHAPE, np.int16)
        labels[2:13, 1:7, 3:14] = 2
        x = int(rng.integers(4, 8))
        labels[x : x + 4, 2:6, 6:11] = 17
        volumes.append((scan_id, np.select([labels == 17, labels == 2], [0.4, 0.9], 0.0)))
        image = nib.Nifti1Image(labels, np.eye(4))
        image.to_filename(folder / f"{scan_id}_dseg.nii.gz")
    write_store(
        tmp_path / "store",
        volumes,
        shape=SHAPE,
        dtype="float32",
        description=Description(np.eye(4).tolist(), "volumes", "", {"cohort": "tiny"}),
    )
    return tmp_path


def train(tree, **how):
    out = tree / how.pop("folder", "out") / "segmenters.json"
    arguments = {
        "labels": tree / "labels",
        "grouping": "freesurfer_aseg",
        "out": out,
        "seed": 0,
        "folds": 2,
        "fits": None,
        "device": "cpu",
        "parameters": OPTIONS,
    }
    segmenter(tree / "store" / "index.tsv", **(arguments | how))
    return out


def test_each_segmenter_is_measured_on_people_it_never_saw(tree):
    out = train(tree)
    fitted = read_segmenters(out)
    told = json.loads(out.read_text())["segmenters"]
    everybody = {person(scan_id) for scan_id in IDS}
    measured = []
    for one, entry in zip(fitted, told, strict=True):
        unseen = {person(scan_id) for scan_id in entry["held_out"]["per_scan"]}
        assert unseen == everybody - one.people_seen == {*entry["first"], *entry["second"]}
        assert entry["held_out"]["n"] == {"unseen_scans": 4, "unseen_people": 2}
        assert one.held_out_dice == entry["held_out"]["values"]
        measured += unseen
    assert sorted(measured) == sorted(everybody)
    volume = Store(tree / "store").read(IDS[0])
    assert set(np.unique(fitted[0].segment(volume))) <= set(range(15))
    record = next((tree / "out").rglob("*segmenters.json*.json"), None)
    assert record is not None, "the command records itself"


def test_the_same_seed_gives_the_same_files(tree):
    first, second = (train(tree, folder=name, fits=1) for name in ("a", "b"))
    for name in ("segmenters.json", "segmenter-0.safetensors"):
        assert first.with_name(name).read_bytes() == second.with_name(name).read_bytes()
    assert not first.with_name("segmenter-1.safetensors").exists()


def test_another_file_in_a_segmenters_place_is_refused(tree):
    out = train(tree, fits=1)
    file = out.with_name("segmenter-0.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"not the segmenter that .*segmenters\.json tells of"):
        read_segmenters(out)


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ({"grouping": "neuromorphometrics"}, "2, 17 are no numbers|2 are no numbers"),
        ({"parameters": '{"epoch": 2}'}, "unknown key 'epoch'"),
        ({"folds": 3}, "4 people in 3 folds"),
        ({"labels_file": "{scan_id}_aseg.nii.gz"}, "no {scan_id}_aseg"),
        ({"parameters": '{"n_labels": 15}'}, "n_labels follows from the grouping"),
        ({"space": "scan"}, "no table that knows the way"),
    ],
)
def test_what_cannot_be_trained_is_named(tree, how, named):
    with pytest.raises(GenmorphError, match=named):
        train(tree, **how)
