"""Export: NIfTI with the store's affine, and what the volumes are."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from genmorph.cli.export import export
from genmorph.errors import StoreError
from genmorph.store import Description, write_store

AFFINE = [[2.0, 0, 0, -9], [0, 3.0, 0, -8], [0, 0, 4.0, -7], [0, 0, 0, 1]]


PREPARED = {"cohort": "tiny", "skull_stripped": True, "registered": True}


def write(folder, source):
    volume = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    description = Description(AFFINE, "volumes", "made", source)
    write_store(
        folder, [("sub-1", volume)], shape=(3, 5, 4), dtype="float32", description=description
    )
    return volume


@pytest.mark.parametrize(
    ("run", "entity", "synthetic"),
    [
        ({}, "preproc", False),
        ({"model": "m3ae", "reference": None}, "synthetic", True),
        ({"model": "training_scans-64", "reference": "training_scans"}, "preproc", False),
    ],
)
def test_images_have_the_right_affine_and_say_what_they_are(tmp_path, run, entity, synthetic):
    volume = write(tmp_path / "s", PREPARED | run)
    export(tmp_path / "s", out=tmp_path / "out", ids=None)
    stem = f"sub-1_space-MNI152NLin2009aSym_desc-{entity}_T1w"
    image = nib.load(tmp_path / "out" / f"{stem}.nii.gz")
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volume)
    sidecar = json.loads((tmp_path / "out" / f"{stem}.json").read_text())
    assert sidecar["Synthetic"] is synthetic and sidecar["DataLabel"] == "made"
    assert sidecar["SkullStripped"] is True
    with pytest.raises(StoreError, match="no volume 'sub-2'; did you mean 'sub-1'"):
        export(tmp_path / "s", out=tmp_path / "out", ids=["sub-2"])


@pytest.mark.parametrize("stripped", [False, None])
def test_heads_and_scans_in_their_own_space_are_not_called_otherwise(tmp_path, stripped):
    write(tmp_path / "s", PREPARED | {"skull_stripped": stripped, "registered": False})
    export(tmp_path / "s", out=tmp_path / "out", ids=None)
    sidecar = json.loads((tmp_path / "out" / "sub-1_desc-preproc_T1w.json").read_text())
    assert sidecar.get("SkullStripped") is stripped
    assert (stripped is None) == ("SkullStripped" not in sidecar)


def test_a_store_that_does_not_say_how_it_was_prepared_is_refused(tmp_path):
    write(tmp_path / "s", {"cohort": "tiny", "skull_stripped": True})
    with pytest.raises(StoreError, match="does not say registered"):
        export(tmp_path / "s", out=tmp_path / "out", ids=None)
    assert not (tmp_path / "out").exists()
