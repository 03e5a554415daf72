"""What a raw scan lies in on disk: a file, a zip member, a pair of files, a folder of slices."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from genmorph.errors import ScanError
from genmorph.files import merkle_root, sha256_bytes

MOST_MEMBER_BYTES = 2 * 1024**3  # unpacked; a 512³ scan of 64-bit numbers is half of it
CONVERSION_SECONDS = 600
_SLICE_SUFFIXES = (".dcm", ".ima", "")
_ORIENTED = re.compile(r"analyze-(?P<axes>[LRAPSI]{3})")


@dataclass(frozen=True)
class RawScan:
    """A raw scan's bytes.

    Attributes
    ----------
    content : bytes
        A `.nii` or `.nii.gz` file; other formats have been converted.
    sha256 : str
        Of what lies on disk, before any conversion: of the file or zip member; of a pair or a
        folder of slices the Merkle root over names and hashes.
    size : int
        Bytes of that.
    """

    content: bytes
    sha256: str
    size: int


def inside(root: Path, path: str) -> Path:
    """The place of `path` below `root`.

    Raises
    ------
    ScanError
        When the path leads out of the root.
    """
    if _escapes(path):
        raise ScanError(f"{path}: leads out of the cohort's folder")
    return root / path


def _escapes(path: str) -> bool:
    pure = PurePosixPath(path.replace("\\", "/"))
    return pure.is_absolute() or ".." in pure.parts or re.match(r"[A-Za-z]:", path) is not None


def read_bytes(path: Path) -> bytes:
    """The file as it lies on disk.

    Raises
    ------
    ScanError
        When the file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ScanError(f"{path.name}: the file is missing") from None
    except OSError as error:
        raise ScanError(f"{path.name}: cannot be read ({error.strerror})") from None


def read_file(path: Path) -> RawScan:
    """A scan that is one file."""
    content = read_bytes(path)
    return RawScan(content, sha256_bytes(content), len(content))


def read_member(archive: Path, member: str) -> RawScan:
    """A scan inside a zip archive, read where it is; its checksum is verified.

    Raises
    ------
    ScanError
        When the archive or the member is missing, damaged, encrypted or ambiguous, when the
        member's path leads out of the archive, or when it unpacks to more bytes than a scan has.
    """
    with _open_member(archive, member) as (packed, info):
        content = packed.read(info)
    return RawScan(content, sha256_bytes(content), len(content))


def size_of_member(archive: Path, member: str) -> int:
    """Bytes that a member unpacks to, as its archive has it; raises as `read_member` does."""
    with _open_member(archive, member) as (_, info):
        return info.file_size


@contextlib.contextmanager
def _open_member(archive: Path, member: str) -> Iterator[tuple[zipfile.ZipFile, zipfile.ZipInfo]]:
    """An archive and its one member of a name; what goes wrong with them is said."""
    name = f"member {member}"  # the archive's own name may be a person's id
    if _escapes(member):
        raise ScanError(f"{name}: the member's path leads out of the archive")
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [info for info in packed.infolist() if info.filename == member]
            if len(members) != 1:
                raise ScanError(
                    f"{name}: "
                    + ("the archive has it more than once" if members else "not in the archive")
                )
            if members[0].file_size > MOST_MEMBER_BYTES:
                raise ScanError(
                    f"{name}: claims to unpack to {members[0].file_size} bytes, which no scan has"
                )
            yield packed, members[0]
    except FileNotFoundError:
        raise ScanError(f"{name}: the archive is missing") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: encrypted; NotImplementedError: packed in a way that Python cannot undo
        raise ScanError(f"{name}: damaged, or cannot be unpacked ({error})") from None
    except OSError as error:
        raise ScanError(f"{name}: the archive cannot be read ({error.strerror})") from None


def analyze_pair(path: Path) -> list[Path]:
    """Header and voxels of an Analyze image, of which `path` is either."""
    return [path.with_suffix(suffix) for suffix in (".hdr", ".img")]


def read_analyze(path: Path, format: str) -> RawScan:
    """A scan in Analyze 7.5: a pair of `.hdr` and `.img`, turned into NIfTI.

    An Analyze header cannot say which way its axes run, so whoever lists the scan must: the
    format `analyze-ASL` is of axes that run anterior, superior, left. The header's own origin and
    `orient` are not used; the world's origin is put at the middle of the image.

    Parameters
    ----------
    path : Path
        Either file of the pair.
    format : str
        `analyze-` and three letters.

    Raises
    ------
    ScanError
        When a file of the pair is missing, short or no Analyze, or no orientation is declared.
    """
    import nibabel as nib

    oriented = _ORIENTED.fullmatch(format)
    axes = oriented["axes"] if oriented else ""
    if len({"LR" if a in "LR" else "AP" if a in "AP" else "SI" for a in axes}) != 3:
        raise ScanError(
            f"{path.name}: an Analyze image whose orientation nobody declares, so left and right "
            "are unknown",
            "convert the scan to NIfTI from its source",
        )
    pair = analyze_pair(path)
    header_bytes, voxels = (read_bytes(file) for file in pair)
    if header_bytes[344:347] == b"ni1":
        raise ScanError(
            f"{pair[0].name}: a NIfTI pair, not Analyze", "join the pair into one .nii file"
        )
    try:
        image = nib.Spm2AnalyzeImage.from_file_map(
            {
                "header": nib.FileHolder(fileobj=io.BytesIO(header_bytes)),
                "image": nib.FileHolder(fileobj=io.BytesIO(voxels)),
                "mat": nib.FileHolder(fileobj=io.BytesIO()),  # SPM's own affine, not asked for
            }
        )
        need = int(image.dataobj.offset) + image.get_data_dtype().itemsize * int(
            np.prod(image.shape, dtype=object)
        )
        if need > len(voxels):
            raise ScanError(
                f"{pair[1].name}: truncated: the header promises {need} bytes, "
                f"the file holds {len(voxels)}"
            )
        data = image.dataobj.get_unscaled()
        affine = _centred_affine(image.shape[:3], image.header.get_zooms()[:3], axes)
        made = nib.Nifti1Image(np.asarray(data), affine)
        made.header.set_slope_inter(image.dataobj.slope, image.dataobj.inter)
        content = made.to_bytes()
    except ScanError:
        raise
    except Exception as error:  # nibabel raises many kinds on a damaged header
        raise ScanError(
            f"{pair[0].name}: not Analyze 7.5 ({type(error).__name__}: {error})"
        ) from None
    hashes = {pair[0].name: sha256_bytes(header_bytes), pair[1].name: sha256_bytes(voxels)}
    return RawScan(content, merkle_root(hashes), len(header_bytes) + len(voxels))


def _centred_affine(shape: tuple[int, ...], voxel_mm: tuple[float, ...], axes: str) -> np.ndarray:
    """Affine of axes that run as the letters say, the world's origin at the image's middle."""
    import nibabel as nib

    ornt = nib.orientations.axcodes2ornt(axes)
    affine = np.zeros((4, 4))
    for axis, (world, direction) in enumerate(ornt):
        affine[int(world), axis] = direction * float(voxel_mm[axis])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine


def dicom_slices(folder: Path) -> list[Path]:
    """Files of a folder that are slices, by name.

    Raises
    ------
    ScanError
        When the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise ScanError(f"{folder.name}: the folder is missing")
    files = sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and path.name[0] != "." and path.suffix.lower() in _SLICE_SUFFIXES
    )
    if not files:
        raise ScanError(f"{folder.name}: holds no DICOM slices (.dcm, .ima)")
    return files


def read_dicom(folder: Path) -> RawScan:
    """A scan that is a folder of DICOM slices of one series, turned into NIfTI by dcm2niix.

    Raises
    ------
    ScanError
        When the folder is missing or empty, when dcm2niix fails, or when the slices make not
        exactly one evenly spaced volume.
    """
    import nibabel as nib

    files = dicom_slices(folder)
    hashes, size = {}, 0
    with tempfile.TemporaryDirectory(prefix="genmorph-") as temporary:
        slices, out = Path(temporary, "slices"), Path(temporary, "out")
        slices.mkdir()
        out.mkdir()
        # copied under names of their own, so that the same slices give the same bytes anywhere
        for number, path in enumerate(files):
            content = read_bytes(path)
            hashes[path.name] = sha256_bytes(content)
            size += len(content)
            (slices / f"{number:05d}.dcm").write_bytes(content)
        words = _convert(slices, out, folder.name)
        made = sorted(out.glob("*.nii"))
        if any("_Eq" in path.stem for path in made):
            raise ScanError(
                f"{folder.name}: its slices are not evenly spaced: one is missing, or their "
                "distance varies"
            )
        if len(made) != 1:
            raise ScanError(
                f"{folder.name}: {len(files)} DICOM files make {len(made)} volumes, expected one"
                + ("" if made else f" ({words})"),
                "keep one series a folder, complete",
            )
        content = made[0].read_bytes()
    shape = nib.Nifti1Image.from_bytes(content).shape
    if len(files) > 1 and shape[-1] * (1 if len(shape) == 3 else shape[2]) != len(files):
        raise ScanError(f"{folder.name}: {len(files)} slices became an image of shape {shape}")
    return RawScan(content, merkle_root(hashes), size)


def _convert(slices: Path, out: Path, name: str) -> str:
    """Run dcm2niix; its last line of output."""
    import dcm2niix

    # -g i: no defaults of the user's own; -z n: not packed; -b n: no sidecar; -x i: neither cropped
    # nor turned, slices stay the last axis; -m n: series are never merged
    options = ["-g", "i", "-z", "n", "-b", "n", "-x", "i", "-m", "n", "-f", "scan", "-o"]
    try:
        done = subprocess.run(
            [str(dcm2niix.bin), *options, str(out), str(slices)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CONVERSION_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ScanError(f"{name}: dcm2niix did not end in {CONVERSION_SECONDS} s") from None
    said = [
        line.replace(str(slices), name)
        for line in (done.stdout + "\n" + done.stderr).splitlines()
        if re.search(r"error|warning|no valid", line, re.IGNORECASE)
    ]
    last = said[-1].strip() if said else f"exit status {done.returncode}"
    if done.returncode != 0 and not any(out.iterdir()):
        raise ScanError(f"{name}: dcm2niix cannot read its slices ({last})")
    return last
