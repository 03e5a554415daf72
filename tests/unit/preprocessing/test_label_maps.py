"""Label maps from files come to the grid of a store, or are refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from genmorph.errors import ScanError
from genmorph.preprocessing.label_maps import LabelMaps
from genmorph.store import Description, Store, write_store

SHAPE = (12, 14, 10)
AFFINE = np.array([[2.0, 0, 0, -11], [0, 2.0, 0, -13], [0, 0, 2.0, -9], [0, 0, 0, 1]])


@pytest.fixture
def store(tmp_path) -> Store:
    volume = np.zeros(SHAPE, np.float32)
    volume[3:9, 3:11, 2:8] = 0.7
    description = Description(AFFINE.tolist(), "volumes", "", {"cohort": "tiny"})
    write_store(
        tmp_path / "store",
        [("sub-1_ses-1", volume), ("sub-2_ses-1", volume)],
        shape=SHAPE,
        dtype="float32",
        description=description,
    )
    return Store(tmp_path / "store")


def truth() -> np.ndarray:
    labels = np.zeros(SHAPE, np.int16)
    labels[3:9, 3:11, 2:8] = 2
    labels[4:6, 4:7, 3:6] = 1035
    return labels


def save(folder, name, labels, affine) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(labels, affine).to_filename(folder / name)


def test_maps_in_other_orientations_and_grids_come_to_the_stores(tmp_path, store):
    flipped = AFFINE @ np.array(
        [[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    save(tmp_path / "labels" / "sub-1", "sub-1_ses-1_dseg.nii.gz", truth()[::-1].copy(), flipped)
    fine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] -= 0.5
    doubled = truth().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    save(tmp_path / "labels", "sub-2_ses-1_dseg.nii", doubled, fine)
    save(tmp_path / "labels", "sub-9_ses-1_dseg.nii.gz", truth(), AFFINE)
    maps = LabelMaps(tmp_path / "labels", store)
    assert sorted(maps) == ["sub-1_ses-1", "sub-2_ses-1"] and len(maps) == 2
    for scan_id in maps:
        np.testing.assert_array_equal(maps[scan_id], truth())


def test_labels_of_a_scan_that_lies_elsewhere_are_refused(tmp_path, store):
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] += 10.0
    save(tmp_path / "labels", "sub-1_ses-1_dseg.nii.gz", truth(), elsewhere)
    with pytest.raises(ScanError, match="lie on the brain of sub-1_ses-1"):
        LabelMaps(tmp_path / "labels", store)["sub-1_ses-1"]


def test_no_map_and_two_maps_are_named(tmp_path, store):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match=r"no SCAN_aseg\.nii\.gz"):
        LabelMaps(tmp_path / "empty", store, "_aseg")
    save(tmp_path / "labels" / "a", "sub-1_ses-1_dseg.nii.gz", truth(), AFFINE)
    save(tmp_path / "labels" / "b", "sub-1_ses-1_dseg.nii.gz", truth(), AFFINE)
    with pytest.raises(ScanError, match="two label maps of sub-1_ses-1"):
        LabelMaps(tmp_path / "labels", store)
