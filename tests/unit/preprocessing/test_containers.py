"""Scans in archives, Analyze pairs and DICOM folders are read as what they are, or refused."""

from __future__ import annotations

import io
import zipfile
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from genmorph.errors import ScanError
from genmorph.files import sha256_bytes
from genmorph.preprocessing.raw import RawFile, parse_scan, read_raw, size_of_raw

SHAPE = (17, 19, 21)


def volume(seed=0):
    return np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)


def nifti_bytes(affine=None):
    return nib.Nifti1Image(volume(), np.eye(4) if affine is None else affine).to_bytes()


# zip members


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "1000001_20252_2_0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("T1/T1.nii", nifti_bytes())
        packed.writestr("T1/T1.json", "{}")
        packed.writestr("../out.nii", nifti_bytes())
    return path


def test_a_zip_member_is_read_in_place(archive, tmp_path):
    raw = read_raw(RawFile(tmp_path, f"{archive.name}!T1/T1.nii"))
    assert raw.content == nifti_bytes()
    assert (raw.sha256, raw.size) == (sha256_bytes(nifti_bytes()), len(nifti_bytes()))
    assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("1000001_20252_2_0.zip!T1/T1_brain.nii", "not in the archive"),
        ("1000001_20252_2_0.zip!../out.nii", "leads out of the archive"),
        ("1000001_20252_2_0.zip!/T1/T1.nii", "leads out of the archive"),
        ("1000001_20252_2_0.zip!C:\\T1.nii", "leads out of the archive"),
        ("1000001_20252_2_0.zip!T1\\..\\..\\T1.nii", "leads out of the archive"),
        ("1000002_20252_2_0.zip!T1/T1.nii", "the archive is missing"),
        ("../1000001_20252_2_0.zip!T1/T1.nii", "leads out of the cohort's folder"),
    ],
)
def test_members_that_are_not_there_or_lead_elsewhere(archive, tmp_path, path, words):
    with pytest.raises(ScanError, match=words):
        read_raw(RawFile(tmp_path, path))


def test_a_damaged_member_is_found_by_its_checksum(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as packed:
        start = packed.getinfo("T1/T1.nii").header_offset
    content[start + 5000] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(ScanError, match=r"member T1/T1.nii: damaged"):
        read_raw(RawFile(tmp_path, f"{archive.name}!T1/T1.nii"))


def test_every_way_of_cutting_an_archive_short_is_a_reason(archive, tmp_path):
    content = archive.read_bytes()
    for share in (0.0, 0.3, 0.9, 0.999):
        archive.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ScanError, match="damaged"):
            read_raw(RawFile(tmp_path, f"{archive.name}!T1/T1.nii"))


def test_an_absurd_size_is_not_unpacked(archive, tmp_path):
    content = archive.read_bytes()
    size = len(nifti_bytes()).to_bytes(4, "little")
    archive.write_bytes(content.replace(size, (3 * 2**30).to_bytes(4, "little")))
    with pytest.raises(ScanError, match="claims to unpack to 3221225472 bytes"):
        read_raw(RawFile(tmp_path, f"{archive.name}!T1/T1.nii"))


def test_a_member_that_is_there_twice_is_ambiguous(archive, tmp_path):
    with pytest.warns(UserWarning), zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("T1/T1.nii", b"other")
    with pytest.raises(ScanError, match="more than once"):
        read_raw(RawFile(tmp_path, f"{archive.name}!T1/T1.nii"))


# Analyze pairs


def write_analyze(folder: Path, data, voxel_mm=(1, 1, 1.25), big_endian=True, stem="a_mpr-1_anon"):
    header = nib.AnalyzeHeader(endianness=">" if big_endian else "<")
    header.set_data_shape((*data.shape, 1))
    header.set_data_dtype(np.int16)
    header.set_zooms((*voxel_mm, 1))
    (folder / f"{stem}.hdr").write_bytes(header.binaryblock)
    raw = data.astype(">i2" if big_endian else "<i2").tobytes(order="F")
    (folder / f"{stem}.img").write_bytes(raw)
    return folder / f"{stem}.hdr"


@pytest.mark.parametrize("suffix", [".hdr", ".img"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_an_analyze_pair_lies_as_declared(tmp_path, suffix, big_endian):
    data = volume()
    write_analyze(tmp_path, data, big_endian=big_endian)
    raw = read_raw(RawFile(tmp_path, f"a_mpr-1_anon{suffix}", "analyze-ASL"))
    image = parse_scan(raw.content, "a")
    # axes anterior, superior, left become right, anterior, superior
    np.testing.assert_array_equal(image.data, np.transpose(data, (2, 0, 1))[::-1])
    np.testing.assert_allclose(image.voxel_mm, [1.25, 1, 1])
    middle = image.affine @ [*(np.array(image.data.shape) - 1) / 2, 1]
    np.testing.assert_allclose(middle, [0, 0, 0, 1], atol=1e-5)
    assert raw.size == 348 + data.nbytes


def test_the_hash_of_a_pair_is_over_both_files(tmp_path):
    write_analyze(tmp_path, volume())
    scan = RawFile(tmp_path, "a_mpr-1_anon.img", "analyze-ASL")
    before = read_raw(scan)
    assert before == read_raw(RawFile(tmp_path, "a_mpr-1_anon.hdr", "analyze-ASL"))
    hashes = {before.sha256}
    for name in ("a_mpr-1_anon.hdr", "a_mpr-1_anon.img"):
        content = bytearray((tmp_path / name).read_bytes())
        content[150] ^= 1  # a letter of the description, a voxel
        (tmp_path / name).write_bytes(content)
        hashes.add(read_raw(scan).sha256)
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("change", "format", "words"),
    [
        (lambda folder: None, "analyze", "orientation nobody declares"),
        (lambda folder: None, "analyze-AAL", "orientation nobody declares"),
        (
            lambda folder: (folder / "a_mpr-1_anon.img").unlink(),
            "analyze-ASL",
            "img: the file is m",
        ),
        (
            lambda folder: (folder / "a_mpr-1_anon.hdr").unlink(),
            "analyze-ASL",
            "hdr: the file is m",
        ),
        (lambda folder: cut(folder / "a_mpr-1_anon.img"), "analyze-ASL", "img: truncated"),
        (lambda folder: cut(folder / "a_mpr-1_anon.hdr"), "analyze-ASL", "hdr: not Analyze"),
        (lambda folder: pair(folder), "analyze-ASL", "a NIfTI pair"),
        (lambda folder: None, "minc", "format minc"),
    ],
)
def test_pairs_that_cannot_be_used_say_why(tmp_path, change, format, words):
    write_analyze(tmp_path, volume())
    change(tmp_path)
    with pytest.raises(ScanError, match=words):
        read_raw(RawFile(tmp_path, "a_mpr-1_anon.img", format))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pair(folder):
    nib.Nifti1Pair(volume(), np.eye(4)).to_filename(folder / "a_mpr-1_anon.hdr")


# DICOM folders


def write_dicom(folder: Path, data, *, skip=(), series="1.2.3", spacing=1.5, sagittal=False):
    """An MR series, of axial slices (columns run left, rows posterior, slices superior), or of
    sagittal ones (columns run posterior, rows inferior, slices left)."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom writes the slices")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    folder.mkdir(exist_ok=True)
    for number in range(data.shape[2]):
        if number in skip:
            continue
        slice_ = pydicom.Dataset()
        slice_.file_meta = FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.file_meta.MediaStorageSOPClassUID = MRImageStorage
        slice_.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number + 1}"
        slice_.SOPClassUID = MRImageStorage
        slice_.SOPInstanceUID = f"{series}.{number + 1}"
        slice_.StudyInstanceUID = "1.2"
        slice_.SeriesInstanceUID = series
        slice_.Modality, slice_.Manufacturer = "MR", "SIEMENS"
        slice_.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        slice_.StudyDate, slice_.StudyTime = "20060502", "120000"
        slice_.AcquisitionDate, slice_.AcquisitionTime = "20060502", "120001"
        slice_.SeriesDescription, slice_.ProtocolName = "MPRAGE", "MPRAGE"
        slice_.SeriesNumber = slice_.AcquisitionNumber = int(series[-1])
        slice_.InstanceNumber = number + 1
        place = spacing * number
        slice_.ImagePositionPatient = [place, 0, 0] if sagittal else [10.0, -20.0, 5.0 + place]
        slice_.ImageOrientationPatient = [0, 1, 0, 0, 0, -1] if sagittal else [1, 0, 0, 0, 1, 0]
        slice_.PixelSpacing, slice_.SliceThickness = [1.0, 1.0], spacing
        slice_.SpacingBetweenSlices = spacing
        slice_.Rows, slice_.Columns = data.shape[1], data.shape[0]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 12, 11
        slice_.PixelRepresentation = 0
        slice_.PixelData = data[:, :, number].T.astype("<u2").tobytes()
        name = folder / f"slice_{series[-1]}_{data.shape[2] - number:03d}.dcm"  # not in order
        slice_.save_as(name, enforce_file_format=True)
    return folder


def test_a_dicom_series_becomes_one_volume_in_its_place(tmp_path):
    data = volume()
    write_dicom(tmp_path / "I9", data)
    raw = read_raw(RawFile(tmp_path, "I9", "dicom"))
    image = parse_scan(raw.content, "I9")
    np.testing.assert_array_equal(image.data, data[::-1, ::-1].astype(np.float32))
    np.testing.assert_allclose(image.voxel_mm, [1, 1, 1.5], atol=1e-5)
    # the first pixel of the first slice lies at its DICOM position, x and y turned round
    first = image.affine @ [SHAPE[0] - 1, SHAPE[1] - 1, 0, 1]
    np.testing.assert_allclose(first[:3], [-10, 20, 5], atol=1e-4)
    files = sorted((tmp_path / "I9").iterdir())
    assert raw.size == sum(path.stat().st_size for path in files)


def test_sagittal_slices_as_most_scanners_make_them(tmp_path):
    data = volume()
    write_dicom(tmp_path / "I9", data, sagittal=True)
    image = parse_scan(read_raw(RawFile(tmp_path, "I9", "dicom")).content, "I9")
    # (posterior, inferior, left) becomes (right, anterior, superior)
    np.testing.assert_array_equal(image.data, np.transpose(data, (2, 0, 1))[::-1, ::-1, ::-1])
    np.testing.assert_allclose(image.voxel_mm, [1.5, 1, 1], atol=1e-5)


def test_the_same_slices_give_the_same_bytes_anywhere(tmp_path):
    write_dicom(tmp_path / "I9", volume())
    elsewhere = tmp_path / "deep" / "er"
    elsewhere.mkdir(parents=True)
    write_dicom(elsewhere / "I9", volume())
    (elsewhere / "I9" / "ADNI_sidecar.xml").write_text("<idaxs/>")
    one, other = (read_raw(RawFile(root, "I9", "dicom")) for root in (tmp_path, elsewhere))
    assert one == other
    write_dicom(tmp_path / "I9", volume(1))
    assert read_raw(RawFile(tmp_path, "I9", "dicom")).sha256 != one.sha256


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "the folder is missing"),
        (lambda folder: folder.mkdir(), "holds no DICOM slices"),
        (lambda folder: write_dicom(folder, volume(), skip=(7,)), "not evenly spaced"),
        (lambda folder: two_series(folder), "make 2 volumes, expected one"),
        (lambda folder: garbage(folder), "dcm2niix cannot read|make 0 volumes"),
        (lambda folder: one_cut_short(folder), "slices"),
    ],
    ids=["absent", "empty", "slice missing", "two series", "no DICOM", "cut short"],
)
def test_folders_that_are_not_one_series_say_why(tmp_path, make, words):
    make(tmp_path / "I9")
    with pytest.raises(ScanError, match=words):
        read_raw(RawFile(tmp_path, "I9", "dicom"))


def two_series(folder):
    write_dicom(folder, volume())
    write_dicom(folder, volume(1), series="1.2.4")


def garbage(folder):
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"no DICOM at all" * 100)


def one_cut_short(folder):
    write_dicom(folder, volume())
    cut(sorted(folder.iterdir())[-1])


# geometry


def turned(codes, sizes=(1.0, 1.2, 0.9)):
    """NIfTI bytes of one head stored with its axes as the codes say, and the head's data."""
    image = nib.Nifti1Image(volume().astype(np.float32), np.diag([*sizes, 1.0]))
    ornt = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    return image.as_reoriented(ornt).to_bytes(), image


ORIENTATIONS = [
    "".join(axes[place] for place in order)
    for order in permutations(range(3))
    for axes in product("LR", "AP", "SI")
]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_each_of_48_orientations_is_the_same_head(codes):
    content, head = turned(codes)
    image = parse_scan(content, codes)
    np.testing.assert_array_equal(image.data, head.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(image.affine, head.affine, atol=1e-5)


def sheared():
    affine = np.eye(4)
    affine[0, 1] = 0.2
    return affine


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (sheared(), "not at right angles"),
        (np.diag([1, 1, 6, 1]), "slices 6 mm thick: no 3D acquisition"),
        (np.diag([6, 1, 1, 1]), "slices 6 mm thick"),
    ],
)
def test_grids_that_no_3d_acquisition_has(affine, words):
    with pytest.raises(ScanError, match=words):
        parse_scan(nifti_bytes(affine), "a")


def oblique():
    affine = np.eye(4)
    affine[:3, :3] = nib.eulerangles.euler2mat(0.2, 0.1, 0.3)
    return affine


@pytest.mark.parametrize("affine", [oblique(), np.diag([8, 8, 8, 1]), np.diag([0.9, 0.9, 4, 1])])
def test_oblique_and_coarse_grids_are_kept(affine):
    np.testing.assert_allclose(parse_scan(nifti_bytes(affine), "a").affine, affine, atol=1e-6)


def scaled(slope, data=None):
    image = nib.Nifti1Image(volume() if data is None else data, np.eye(4))
    content = bytearray(image.to_bytes())
    content[112:116] = np.float32(slope).tobytes()
    return bytes(content)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_no_slope_means_no_scaling(slope):
    np.testing.assert_array_equal(parse_scan(scaled(slope), "a").data, volume())


def test_values_beyond_32_bit_numbers_are_refused():
    with pytest.raises(ScanError, match="NaN or infinite"):
        parse_scan(scaled(1.0, volume() * 1e300), "a")
    with pytest.raises(ScanError, match="NaN or infinite"):
        parse_scan(scaled(3e38), "a")


def test_nothing_is_read_from_a_stream_that_is_not_the_file(tmp_path):
    """An archive's own comment or prefix does not shift what is read."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.comment = b"made elsewhere"
        packed.writestr("T1/T1.nii", nifti_bytes())
    (tmp_path / "a.zip").write_bytes(b"#!self-extracting\n" + stream.getvalue())
    assert read_raw(RawFile(tmp_path, "a.zip!T1/T1.nii")).content == nifti_bytes()


def test_a_size_is_what_reading_counts(archive, tmp_path):
    write_analyze(tmp_path, volume())
    write_dicom(tmp_path / "series", volume())
    (tmp_path / "series/notes.txt").write_text("no slice")
    (tmp_path / "T1.nii").write_bytes(nifti_bytes())
    scans = [
        RawFile(tmp_path, "T1.nii"),
        RawFile(tmp_path, f"{archive.name}!T1/T1.nii"),
        RawFile(tmp_path, "a_mpr-1_anon.img", "analyze-ASL"),
        RawFile(tmp_path, "series", "dicom"),
    ]
    assert [size_of_raw(scan) for scan in scans] == [read_raw(scan).size for scan in scans]
    (tmp_path / "a_mpr-1_anon.hdr").unlink()
    with pytest.raises(ScanError, match="img: cannot be looked at"):
        size_of_raw(scans[2])
