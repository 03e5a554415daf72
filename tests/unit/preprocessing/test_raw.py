"""Bad scans are refused in a researcher's words."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest

from genmorph.errors import ScanError
from genmorph.preprocessing.raw import parse_scan, read_scan

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
        (lambda folder, good: flatten_space(write(folder / "s.nii", ramp())), "singular"),
        (lambda folder, good: forget_space(write(folder / "o.nii", ramp())), "left and right"),
        (lambda folder, good: shorten(write(folder / "t.nii", ramp())), "promises 16736 bytes"),
        (lambda folder, good: empty(folder / "e.nii.gz"), "empty"),
        (lambda folder, good: damage(good), "cannot be unpacked"),
        (lambda folder, good: claim(write(folder / "h.nii", ramp()), 30000), "which no scan has"),
        (lambda folder, good: colours(folder / "c.nii"), "no plain numbers"),
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


def ramp():
    return np.arange(4096.0).reshape(16, 16, 16)


def change(path, offset, content):
    """Overwrite bytes of an uncompressed NIfTI-1 file."""
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(whole)
    return path


def flatten_space(path):
    return change(path, 280 + 32, bytes(16))  # the third row of the sform matrix


def forget_space(path):
    return change(path, 252, bytes(4))  # qform_code and sform_code


def claim(path, size):
    return change(path, 42, np.asarray([size] * 3, "<i2").tobytes())  # dim[1:4]


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])
    return path


def empty(path):
    path.write_bytes(b"")
    return path


def damage(path):
    """One flipped bit in the middle of the compressed voxels: only the checksum can tell."""
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    return path


def colours(path):
    voxels = np.zeros((16, 16, 16), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.Nifti1Image(voxels, AFFINE).to_filename(path)
    return path


def test_nifti_2_is_read_too(tmp_path):
    path = tmp_path / "two.nii"
    nib.Nifti2Image(ramp().astype(np.int16), AFFINE).to_filename(path)
    np.testing.assert_array_equal(read_scan(path).data, ramp())


def test_scaled_integers_are_read_as_values(tmp_path):
    image = nib.Nifti1Image(ramp(), AFFINE)
    image.header.set_data_dtype(np.int16)  # nibabel then stores a slope
    image.to_filename(tmp_path / "scaled.nii.gz")
    np.testing.assert_allclose(read_scan(tmp_path / "scaled.nii.gz").data, ramp(), atol=0.1)


def test_no_damage_escapes_as_anything_but_a_reason(good):
    """Any header byte changed, the file cut anywhere: an image or a ScanError, nothing else."""
    whole = gzip.decompress(good.read_bytes())
    rng = np.random.default_rng(0)
    outcomes = set()
    for offset in range(352):
        content = bytearray(whole)
        content[offset] = rng.integers(256)
        outcomes.add(outcome(bytes(content)))
    packed = good.read_bytes()
    for cut in rng.integers(0, len(packed), 60):
        assert outcome(packed[:cut]) == "refused"
        assert outcome(whole[:cut]) == "refused"
    assert outcomes == {"read", "refused"}


def outcome(content):
    try:
        image = parse_scan(content, "scan.nii.gz")
    except ScanError as error:
        assert error.message.startswith("scan.nii.gz: ") and "\n" not in error.message
        return "refused"
    assert image.data.ndim == 3 and np.isfinite(image.data).all()
    return "read"


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_small_file_that_unpacks_without_end_takes_no_memory(kind):
    """A bomb: a sound image of 16³ voxels, then zeros and zeros."""
    rng = np.random.default_rng(0)
    sound = kind(rng.random((16, 16, 16), np.float32), AFFINE).to_bytes()
    parse_scan(gzip.compress(sound + bytes(1000)), "padded.nii.gz")
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    bomb = packer.compress(sound)
    for _ in range(256):
        bomb += packer.compress(bytes(1 << 20))
    bomb += packer.flush()
    tracemalloc.start()
    with pytest.raises(ScanError, match="more bytes than its header promises"):
        parse_scan(bomb, "bomb.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(bomb) < 2e6 and peak < 64e6


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [10**6, 2**62, -5])
def test_a_header_that_claims_a_million_cubed_voxels_is_refused_at_once(size, packed):
    content = bytearray(nib.Nifti2Image(np.ones((16, 16, 16), np.float32), AFFINE).to_bytes())
    content[24:48] = np.full(3, size, "<i8").tobytes()
    whole = gzip.compress(bytes(content)) if packed else bytes(content)
    with pytest.raises(ScanError, match=r"voxels, which no scan has|not a NIfTI"):
        parse_scan(whole, "lie.nii")
