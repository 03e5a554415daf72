"""What the layouts share: image bytes, dates of visits, comma-separated tables."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from genmorph import __version__
from genmorph.cohorts.simulate.person import Visit
from genmorph.cohorts.simulate.scan import SimulatedScan
from genmorph.files import atomic_path
from genmorph.seeds import derive_seed

BIDS_VERSION = "1.11.1"
GENERATED_BY = [
    {
        "Name": "genmorph",
        "Version": __version__,
        "Description": "genmorph simulate: warps of the MNI152 average inside a made head",
    }
]
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Made:
    """A finished cohort, for the tables.

    Attributes
    ----------
    scans : tuple of (Visit, mapping)
        Each visit with its row of the truth table.
    seed : int
    description : mapping
        How the cohort was made, by the keys of BIDS: `Simulated`, `DataLabel`, ...
    readme : str
    """

    scans: tuple[tuple[Visit, Mapping[str, Any]], ...]
    seed: int
    description: Mapping[str, Any]
    readme: str

    def sessions(self) -> list[tuple[Visit, Mapping[str, Any]]]:
        """The scans without second ones of a session."""
        return [(visit, row) for visit, row in self.scans if visit.run != 2]

    def people(self) -> list[tuple[Visit, Mapping[str, Any]]]:
        """The first scan of each person."""
        return [(visit, row) for visit, row in self.sessions() if visit.session_number == 1]


def nifti_bytes(
    volume: np.ndarray,
    affine: np.ndarray,
    *,
    slope: float | None = None,
    intent: str | None = None,
    compressed: bool = True,
) -> bytes:
    """A NIfTI file whose bytes depend on nothing but its content (no time, no file name).

    Parameters
    ----------
    slope : float, optional
        What stored numbers are multiplied by.
    intent : str, optional
        Meaning of the values, by nibabel's name of the NIfTI code.
    """
    import nibabel as nib

    image = nib.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    if slope is not None:
        image.header.set_slope_inter(slope, 0.0)
    if intent is not None:
        image.header.set_intent(intent)
    if not compressed:
        return image.to_bytes()
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=stream, mtime=0) as zipped:
        zipped.write(image.to_bytes())
    return stream.getvalue()


def image_bytes(scan: SimulatedScan, *, compressed: bool = True) -> bytes:
    """The scan's image as NIfTI, its axes as the source stores them."""
    grid = scan.grid
    return nifti_bytes(grid.stored(scan.image), grid.affine, compressed=compressed)


def put(root: Path, name: str, content: bytes) -> str:
    """Write a file below `root`, with its folders; return its name."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name


def scan_time(visit: Visit, seed: int) -> datetime:
    """When the visit was scanned: people come between 2008 and 2013, on working hours."""
    rng = np.random.default_rng(derive_seed(seed, "simulate", visit.participant_id, "date"))
    days = int(rng.integers(5 * 365))
    minutes = int(rng.integers(9 * 60, 17 * 60))
    since_first = (visit.age_years - visit.baseline_age_years) * DAYS_PER_YEAR
    # a second session never falls on the day of the first, though ages be rounded
    days += max(round(since_first), 30 * (visit.session_number - 1))
    return datetime(2008, 1, 7) + timedelta(
        days=days, minutes=minutes + (9 if visit.run == 2 else 0)
    )


def person_generator(visit: Visit, seed: int, use: str) -> np.random.Generator:
    """Random numbers of a person for one use of the tables."""
    return np.random.default_rng(derive_seed(seed, "simulate", visit.participant_id, use))


def write_csv(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    *,
    quoted: bool = False,
) -> None:
    """Write a comma-separated table; None and absent cells are empty."""
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n", quoting=quoting)
        writer.writerow(columns)
        for row in rows:
            values = (row.get(column) for column in columns)
            writer.writerow(["" if value is None else value for value in values])


def readme(seed: int, voxels: str, data_label: str) -> str:
    """What a cohort is, for its README; `voxels` is their size in mm."""
    return f"""# GenMorph simulated cohort

{data_label}

Made by `genmorph simulate` with seed {seed} at {voxels} mm. Nobody was scanned.

Each head is the MNI152 average (2009a, as packaged with nilearn) under a smooth diffeomorphic
warp: modes of head shape shared by the cohort, growth of the ventricles, loss of cortex and of the
medial temporal lobe with age and disease, and a smaller part of each person's own. What no warp
explains comes on top: each person's tissue signals, focal lesions near the ventricles, patches
where cortex turns to CSF or white matter. Skull, scalp, face, bias field, Rician noise and pose
surround it.

`derivatives/truth` holds, in each scan's own space, the true fractions of gray matter, white
matter, CSF and lesions (lesions are part of the white matter; the other three sum to one inside
the brain mask), the brain mask, a discrete segmentation, and `truth.tsv` with volumes and the
numbers each person was made from. `truth.json` says what its columns mean.

The anatomy derives from the ICBM 2009a nonlinear symmetric average (McConnell Brain Imaging
Centre, Montreal Neurological Institute): its terms of use and its citation apply to these images.
"""
