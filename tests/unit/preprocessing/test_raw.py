"""Bad scans are refused in a researcher's words."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from genmorph.errors import ScanError
from genmorph.preprocessing.raw import read_scan

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def write(path, data, affine=AFFINE):
    nib.Nifti1Image(np.asarray(data, np.float32), affine).to_filename(path)
    return path


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good_T1w.nii.gz", np.random.default_rng(0).random((20, 24, 22)))


def test_axes_are_brought_to_right_anterior_superior(tmp_path):
    data = np.random.default_rng(0).random((17, 19, 18)).astype(np.float32)
    flipped = np.array([[0, -2.0, 0, 5], [3.0, 0, 0, 1], [0, 0, -1.0, 2], [0, 0, 0, 1]])
    image = read_scan(write(tmp_path / "a.nii.gz", data, flipped))
    assert image.data.shape == (19, 17, 18)
    np.testing.assert_allclose(image.voxel_mm, [2, 3, 1])
    assert (np.diag(image.affine)[:3] > 0).all()
    # the same voxel lies at the same place in the world
    there = flipped @ [1, 2, 3, 1]
    index = np.rint(np.linalg.inv(image.affine) @ there)[:3].astype(int)
    assert image.data[tuple(index)] == data[1, 2, 3]


def test_a_single_volume_in_four_dimensions_is_taken(tmp_path, good):
    data = read_scan(good).data
    np.testing.assert_array_equal(
        read_scan(write(tmp_path / "b.nii.gz", data[..., None])).data, data
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder, good: folder / "absent.nii.gz", "missing"),
        (lambda folder, good: truncate(good, 0.5), "truncated: the compressed file ends"),
        (lambda folder, good: truncate(good, 0.02), "truncated: the compressed file ends"),
        (lambda folder, good: text(folder / "text.nii.gz"), "not a NIfTI file"),
        (lambda folder, good: write(folder / "n.nii", with_nan()), "1 NaN or infinite"),
        (lambda folder, good: write(folder / "z.nii", np.zeros((16, 16, 16))), "every voxel is 0"),
        (
            lambda folder, good: write(folder / "4.nii", np.ones((16, 16, 16, 3))),
            "not one 3D image",
        ),
        (lambda folder, good: write(folder / "l.nii", np.ones((16, 16, 3))), "fewer than 16"),
        (lambda folder, good: write(folder / "v.nii", np.ones((16,) * 3), thick()), "voxels of 50"),
    ],
)
def test_a_scan_that_cannot_be_used_says_why(tmp_path, good, make, words):
    path = make(tmp_path, good)
    with pytest.raises(ScanError, match=words) as error:
        read_scan(path)
    assert path.name in str(error.value)


def truncate(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def text(path):
    path.write_text("no image")
    return path


def with_nan():
    data = np.ones((16, 16, 16))
    data[1, 2, 3] = np.nan
    return data


def thick():
    return np.diag([50.0, 1.0, 1.0, 1.0])
