"""Reading a raw scan, and saying in a researcher's words why one cannot be used."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing.containers import (
    RawScan,
    analyze_pair,
    dicom_slices,
    inside,
    read_analyze,
    read_bytes,
    read_dicom,
    read_file,
    read_member,
    size_of_member,
)

MOST_VOXELS = 1024**3
MOST_BYTES = 8 * MOST_VOXELS
MOST_TRAILING_BYTES = 1 << 20  # after the voxels: some programs pad files
LEAST_VOXELS = 16  # along an axis; a localiser of a few slices is no T1 scan
VOXEL_RANGE_MM = (0.1, 10.0)
MOST_SLICE_MM = 4.0  # thicker slices than this are a 2D acquisition, unless all edges are alike
LEAST_SLICE_RATIO = 1.5
MOST_SHEAR = 0.01  # cosine of the angle between two axes of the grid
NIFTI2_HEADER_BYTES = 540


@dataclass(frozen=True)
class Image:
    """A 3D image in world space.

    Attributes
    ----------
    data : ndarray, float32, shape (x, y, z)
        Axes run to the right, anterior, superior as nearly as the scanner's grid allows.
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres (RAS+).
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def voxel_mm(self) -> np.ndarray:
        """Edge lengths of a voxel."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def with_data(self, data: np.ndarray) -> Image:
        """Other values on the same grid."""
        return Image(np.ascontiguousarray(data, dtype=np.float32), self.affine)


@dataclass(frozen=True)
class RawFile:
    """Where a raw scan lies.

    Attributes
    ----------
    root : Path
        Folder of the cohort's raw scans.
    path : str
        As in the manifest: a file, `archive.zip!member`, or a folder of DICOM slices.
    format : {'nifti', 'analyze-ASL', 'analyze-LAS', ..., 'dicom'}
        As in the manifest; that of Analyze images says which way their axes run.
    """

    root: Path
    path: str
    format: str = "nifti"

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.path.rsplit("/", 1)[-1]


def read_raw(raw: RawFile) -> RawScan:
    """Read a raw scan of any format: what is hashed is what is used.

    Raises
    ------
    ScanError
        When the scan is missing, damaged, or of a format that cannot be read.
    """
    archive, inner, member = raw.path.partition("!")
    place = inside(raw.root, archive)
    if raw.format == "nifti":
        return read_member(place, member) if inner else read_file(place)
    if not inner and raw.format.startswith("analyze"):
        return read_analyze(place, raw.format)
    if not inner and raw.format == "dicom":
        return read_dicom(place)
    raise ScanError(f"{raw.name}: format {raw.format} in {raw.path} cannot be read")


def size_of_raw(raw: RawFile) -> int:
    """Bytes of a raw scan of any format, as `read_raw` counts them, without reading it.

    Raises
    ------
    ScanError
        When the scan, or a part of it, is missing or cannot be looked at.
    """
    archive, inner, member = raw.path.partition("!")
    place = inside(raw.root, archive)
    if inner:
        return size_of_member(place, member)
    try:
        if raw.format.startswith("analyze"):
            files = analyze_pair(place)
        else:
            files = dicom_slices(place) if raw.format == "dicom" else [place]
        return sum(file.stat().st_size for file in files)
    except OSError as error:
        raise ScanError(f"{raw.name}: cannot be looked at ({error.strerror})") from None


def read_scan(path: Path) -> Image:
    """Read a NIfTI scan and check that it can be a T1 image of a head.

    Raises
    ------
    ScanError
        See `parse_scan`; also when the file is missing or must not be read.
    """
    return parse_scan(read_bytes(path), path.name)


def parse_scan(content: bytes, name: str) -> Image:
    """Check that a file's bytes are a T1 image of a head, and turn it to RAS+.

    Parameters
    ----------
    content : bytes
        A `.nii` or `.nii.gz` file.
    name : str
        What errors call it.

    Raises
    ------
    ScanError
        When the file is truncated, damaged or no NIfTI; when the image is not 3D, has NaN or
        infinite values, is constant, or its header's geometry is impossible or unknown; when
        slices are thicker than `MOST_SLICE_MM`, or the grid's axes not at right angles.

    Notes
    -----
    A scaling slope of zero means no scaling, as NIfTI has it. Values beyond 32-bit numbers after
    scaling are infinite, and refused. Integers that wrapped around when somebody stored them in
    too few bits look like any others, and cannot be detected.
    """
    try:
        image = _open(_unzip(content))
        _check_header(image)
        image = _one_volume(image)
        _check_geometry(image)
        data, affine = _canonical(image)
    except ScanError as error:
        raise ScanError(f"{name}: {error.message}", error.cure) from None
    if not np.isfinite(data).all():
        raise ScanError(f"{name}: has {int((~np.isfinite(data)).sum())} NaN or infinite voxels")
    if data.min() == data.max():
        raise ScanError(f"{name}: every voxel is {data.flat[0]:g}")
    return Image(data, affine)


def _unzip(content: bytes) -> bytes:
    """The bytes of the image, their checksum verified where the file has one."""
    if not content:
        raise ScanError("the file is empty")
    if content[:2] != b"\x1f\x8b":
        return content
    pieces = []
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            pieces.append(stream.read(NIFTI2_HEADER_BYTES))
            left = _promised_bytes(pieces[0]) - len(pieces[0]) + MOST_TRAILING_BYTES
            while piece := stream.read(1 << 24):
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    raise ScanError("unpacks to more bytes than its header promises")
    except EOFError:
        raise ScanError("truncated: the compressed file ends too early") from None
    except (OSError, zlib.error) as error:
        raise ScanError(f"damaged: it cannot be unpacked ({error})") from None
    return b"".join(pieces)


def _promised_bytes(head: bytes) -> int:
    """Size of the file that a header is of, so that an archive unpacks to no more than a scan."""
    kind = _kind(head).header_class
    try:
        header = kind(head[: kind.template_dtype.itemsize], check=False)
        voxels = int(np.prod(header.get_data_shape(), dtype=object))
        size = int(header["vox_offset"]) + voxels * header.get_data_dtype().itemsize
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise ScanError(f"not a NIfTI file ({_first_line(error)})") from None
    if voxels > MOST_VOXELS or size > MOST_BYTES:
        raise ScanError(f"header claims {header.get_data_shape()} voxels, which no scan has")
    return max(size, 0)


def _kind(content: bytes) -> Any:
    """NIfTI-1 or NIfTI-2, by the size that a header says it has."""
    import nibabel as nib

    first = content[:4]
    nifti2 = NIFTI2_HEADER_BYTES in (int.from_bytes(first, "little"), int.from_bytes(first, "big"))
    return nib.Nifti2Image if nifti2 else nib.Nifti1Image


def _open(content: bytes) -> Any:
    """The NIfTI image, its voxels not yet read."""
    kind = _kind(content)
    try:
        with np.errstate(all="ignore"):  # a singular affine is found, and named, later
            image = kind.from_bytes(content)
        shape, voxel_bytes = image.shape, image.get_data_dtype().itemsize
        offset = int(image.dataobj.offset)
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise ScanError(f"not a NIfTI file ({_first_line(error)})") from None
    voxels = int(np.prod(shape, dtype=object))
    if voxels < 1 or voxels > MOST_VOXELS:
        raise ScanError(f"header claims {shape} voxels, which no scan has")
    if offset < 0 or offset + voxels * voxel_bytes > len(content):
        raise ScanError(
            f"truncated: the header promises {offset + voxels * voxel_bytes} bytes, "
            f"the file holds {len(content)}"
        )
    return image


def _check_header(image: Any) -> None:
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        raise ScanError(f"its voxels are no plain numbers but {kind} (colours, or complex values)")
    if not (image.header["sform_code"] > 0 or image.header["qform_code"] > 0):
        raise ScanError(
            "its header does not say how the image lies in space (sform and qform codes are 0), "
            "so left and right are unknown",
            "convert the scan anew from DICOM, or set the codes once you know the orientation",
        )


def _one_volume(image: Any) -> Any:
    shape = image.shape
    if len(shape) > 3 and all(size == 1 for size in shape[3:]):
        while len(image.shape) > 3:
            image = image.slicer[..., 0]
    if len(image.shape) != 3:
        raise ScanError(
            f"not one 3D image but {len(shape)}D, shape {shape}",
            "keep one volume of it, or leave the scan out",
        )
    if min(image.shape) < LEAST_VOXELS:
        raise ScanError(f"shape {image.shape}: fewer than {LEAST_VOXELS} voxels along an axis")
    return image


def _check_geometry(image: Any) -> None:
    affine = image.affine
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise ScanError("its affine is singular or not finite")
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    least, most = VOXEL_RANGE_MM
    if (voxel_mm < least).any() or (voxel_mm > most).any():
        sizes = " x ".join(f"{size:.3g}" for size in voxel_mm)
        raise ScanError(f"voxels of {sizes} mm, expected {least} to {most}")
    if voxel_mm.max() > MOST_SLICE_MM and voxel_mm.max() > LEAST_SLICE_RATIO * voxel_mm.min():
        raise ScanError(
            f"slices {voxel_mm.max():.3g} mm thick: no 3D acquisition (limit {MOST_SLICE_MM:g} mm)"
        )
    axes = affine[:3, :3] / voxel_mm
    shear = np.abs(axes.T @ axes - np.eye(3)).max()
    if shear > MOST_SHEAR:
        raise ScanError(
            f"its axes are not at right angles (cosine {shear:.3f}): a sheared grid",
            "resample the image onto an orthogonal grid, or restore the scanner's header",
        )


def _canonical(image: Any) -> tuple[np.ndarray, np.ndarray]:
    import nibabel as nib

    try:
        with np.errstate(over="ignore", invalid="ignore"):  # found as infinite voxels, and said so
            image = nib.as_closest_canonical(image)
            data = image.get_fdata(dtype=np.float32)
    except Exception as error:  # orientations and scalings that only a damaged header has
        raise ScanError(f"its voxels cannot be read ({_first_line(error)})") from None
    return np.ascontiguousarray(data), np.asarray(image.affine, dtype=float)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
