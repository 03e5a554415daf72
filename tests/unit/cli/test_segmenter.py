"""genmorph segmenter: from a store and label maps to measured, readable segmenters."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from genmorph.cli.evaluate.common import command_of
from genmorph.cli.segmenter import segmenter
from genmorph.errors import ConfigError, GenmorphError, WeightsError
from genmorph.metrics.label_groups import structures_of
from genmorph.metrics.measurement import person
from genmorph.store import Description, Store, write_store
from genmorph.training.segmenters import read_segmenters

SHAPE = (16, 8, 16)
IDS = [f"sub-{number}_ses-{session}" for number in range(4) for session in (1, 2)]
SOURCE = {"cohort": "tiny", "layout": "bids", "simulated": False}
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
        description=Description(np.eye(4).tolist(), "volumes", "", SOURCE),
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


# -- the score by their labels ---------------------------------------------------------------------


def score(tree, segmenters, **how):
    """The atlas score of a store of the same volumes without names; nothing need be registered."""
    store = Store(tree / "store")
    made = tree / "samples"
    if not made.exists():
        volumes = [(f"sample-{number}", store.read(IDS[number])) for number in range(2)]
        described = Description(np.eye(4).tolist(), "samples", "", SOURCE)
        write_store(made, volumes, shape=SHAPE, dtype="float32", description=described)
    arguments = {
        "generated": made / "index.tsv",
        "reference": tree / "store" / "index.tsv",
        "out": tree / "score.json",
        "manifest": None,
        "participants": None,
        "parameters": json.dumps({"least_held_out_dice": 1.0} | how.pop("options", {})),
        "segmenters": segmenters,
        "labels": None,
        "grouping": "freesurfer_aseg",
        "space": "preprocessed",
        "labels_file": "**/{scan_id}_dseg.nii.gz",
        "labels_names": None,
        "status": None,
        "workers": 1,
    }
    command_of("atlas_score")(**(arguments | how))
    return json.loads((tree / "score.json").read_text())


def test_the_score_is_of_the_structures_that_the_segmenters_learnt(tree):
    out = train(tree, fits=2)
    registration = {"shrink_factors": [2], "smoothing_mm": [1.0]}
    found = score(
        tree,
        out,
        labels=tree / "labels",
        options={"real_labels": "manual", "registration": registration},
    )
    assert found["settings"]["structures"] == list(structures_of("freesurfer_aseg").values())
    assert found["settings"]["registration"]["shrink_factors"] == [2]
    assert found["settings"]["real_labels"] == "manual"
    assert "below 1" in found["notes"][0] and "mean" not in found["values"]
    with pytest.raises(ConfigError, match="unknown key 'shrink'"):
        score(tree, out, options={"registration": {"shrink": [2]}})


def test_labels_of_other_groups_than_the_segmenters_are_refused(tree):
    out = train(tree, fits=1)
    manual = {"labels": tree / "labels", "options": {"real_labels": "manual"}}
    with pytest.raises(ConfigError, match="in the groups of simulated, segmenters in those of"):
        score(tree, out, grouping="simulated", **manual)
    with pytest.raises(ConfigError, match="no table that knows the way"):
        score(tree, out, space="scan", **manual)
    with pytest.raises(ConfigError, match="real_labels network, and a folder"):
        score(tree, out, labels=tree / "labels")
