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


@pytest.mark.parametrize(
    ("run", "entity", "synthetic"),
    [
        ({}, "preproc", False),
        ({"model": "m3ae", "reference": None}, "synthetic", True),
        ({"model": "training_scans-64", "reference": "training_scans"}, "preproc", False),
    ],
)
def test_images_have_the_right_affine_and_say_what_they_are(tmp_path, run, entity, synthetic):
    volume = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    source = {"cohort": "tiny"} | run
    description = Description(AFFINE, "volumes", "made", source)
    write_store(
        tmp_path / "s",
        [("sub-1", volume)],
        shape=(3, 5, 4),
        dtype="float32",
        description=description,
    )
    export(tmp_path / "s", out=tmp_path / "out", ids=None)
    stem = f"sub-1_space-MNI152NLin2009aSym_desc-{entity}_T1w"
    image = nib.load(tmp_path / "out" / f"{stem}.nii.gz")
    np.testing.assert_array_equal(image.affine, AFFINE)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volume)
    sidecar = json.loads((tmp_path / "out" / f"{stem}.json").read_text())
    assert sidecar["Synthetic"] is synthetic and sidecar["DataLabel"] == "made"
    with pytest.raises(StoreError, match="no volume 'sub-2'; did you mean 'sub-1'"):
        export(tmp_path / "s", out=tmp_path / "out", ids=["sub-2"])
