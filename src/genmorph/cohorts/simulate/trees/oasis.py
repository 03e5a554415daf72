"""Layout `oasis`: discs of OASIS-1, sagittal Analyze images that do not name left and right.

People of 18 to 96 years; dementia (CDR above 0) from 62 years on. Some come again within months
(`MR2`), one in six has a second image of the session (`mpr-2`). Analyze has no room for an
orientation: the array's axes run to the front, the top and the left, and the middle of the image is
the origin of the true maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.cohorts.simulate.person import Population, Visit
from genmorph.cohorts.simulate.scan import SimulatedScan
from genmorph.cohorts.simulate.scanner import Scanner
from genmorph.cohorts.simulate.trees.common import (
    Made,
    person_generator,
    put,
    scan_time,
    write_csv,
)

POPULATION = Population(
    youngest_years=18.0,
    oldest_years=96.0,
    youngest_patient_years=62.0,
    patients=(("AD", 0.25),),
    two_sessions_fraction=1.0 / 10.0,
    interval_years=(0.0, 0.0),
    age_decimals=0,
    repeat_every=6,
)
# 128 sagittal slices of 1.25 mm
SCANNER = Scanner(
    voxel_mm=(1.25, 1.0, 1.0),
    orientation="ASL",
    field_of_view_mm=(160.0, 256.0, 256.0),
    defaced=True,
    field_strengths_tesla=(1.5,),
)
TABLE = "oasis_cross-sectional.csv"
COLUMNS = (
    "ID",
    "M/F",
    "Hand",
    "Age",
    "Educ",
    "SES",
    "MMSE",
    "CDR",
    "eTIV",
    "nWBV",
    "ASF",
    "Delay",
)
SESSIONS_A_DISC = 36
TESTED_FROM_YEARS = 60.0  # younger people have neither CDR nor MMSE
ATLAS_ML = 1755.0  # intracranial volume of the source's atlas: what ASF scales to


def source_id(visit: Visit) -> str:
    """The person's id on the discs."""
    return f"OAS1_{visit.number:04d}"


def session_id(visit: Visit) -> str:
    """The session's id in the table."""
    return f"{source_id(visit)}_MR{visit.session_number}"


def write_raw(root: Path, scan: SimulatedScan, seed: int) -> str:
    """Write a scan as a pair of files; return the path of the image."""
    visit = scan.visit
    folder = f"{_session_folder(visit)}/RAW"
    stem = f"{folder}/{session_id(visit)}_mpr-{visit.run or 1}_anon"
    header, image = analyze_bytes(scan.grid.stored(scan.image), _stored_voxel_mm(scan))
    put(root, f"{stem}.hdr", header)
    return put(root, f"{stem}.img", image)


def _session_folder(visit: Visit) -> str:
    disc = 1 + (visit.number - 1) // SESSIONS_A_DISC
    return f"disc{disc}/{session_id(visit)}"


def _stored_voxel_mm(scan: SimulatedScan) -> np.ndarray:
    return np.linalg.norm(scan.grid.affine[:3, :3], axis=0)


def analyze_bytes(volume: np.ndarray, voxel_mm: np.ndarray) -> tuple[bytes, bytes]:
    """Header and image of a sagittal Analyze 7.5 pair, big-endian as on the discs."""
    import nibabel as nib

    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_dtype(np.int16)
    header.set_data_shape((*volume.shape, 1))
    header.set_zooms((*voxel_mm, 0.0))
    header["orient"] = 2  # sagittal
    header["descrip"] = "synthetic head made by genmorph"
    return header.binaryblock, volume.astype(">i2").tobytes(order="F")


def write_tables(root: Path, made: Made) -> None:
    """Write the cross-sectional table and a text file a session."""
    rows = [_row(visit, row, made.seed) for visit, row in made.sessions()]
    write_csv(root / TABLE, COLUMNS, rows)
    for (visit, _), row in zip(made.sessions(), rows, strict=True):
        name = f"{_session_folder(visit)}/{session_id(visit)}.txt"
        put(root, name, _text(row).encode())


def _row(visit: Visit, row: Mapping[str, Any], seed: int) -> dict[str, Any]:
    rng = person_generator(visit, seed, "tests")
    tested = visit.age_years >= TESTED_FROM_YEARS
    mild, points = bool(rng.random() < 0.7), int(rng.integers(3))
    if visit.diagnosis == "AD":
        rating, score = ("0.5", 27 - points) if mild else ("1", 22 - points)
    else:
        rating, score = "0", 30 - points
    cranial = float(row["brain_ml"])
    brain = float(row["gray_matter_ml"]) + float(row["white_matter_ml"])
    delay = (scan_time(visit, seed) - scan_time(_first(visit), seed)).days
    return {
        "ID": session_id(visit),
        "M/F": visit.sex,
        "Hand": "R",
        "Age": int(visit.age_years),
        "MMSE": score if tested else None,
        "CDR": rating if tested else None,
        "eTIV": f"{cranial:.0f}",
        "nWBV": f"{brain / cranial:.3f}",
        "ASF": f"{ATLAS_ML / cranial:.3f}",
        "Delay": delay if visit.session_number > 1 else "N/A",
    }


def _first(visit: Visit) -> Visit:
    return replace(visit, session_id="ses-1", age_years=visit.baseline_age_years)


def _text(row: Mapping[str, Any]) -> str:
    """The session's text file: a name and a value a line."""
    names = {
        "SESSION ID": "ID",
        "AGE": "Age",
        "M/F": "M/F",
        "HAND": "Hand",
        "EDUC": "Educ",
        "SES": "SES",
        "CDR": "CDR",
        "MMSE": "MMSE",
        "eTIV": "eTIV",
        "ASF": "ASF",
        "nWBV": "nWBV",
    }
    lines = []
    for name, column in names.items():
        value = {"F": "Female", "M": "Male", "R": "Right"}.get(row.get(column), row.get(column))
        lines.append(f"{name + ':':<14}{'' if value is None else value}".rstrip())
    return "\n".join(lines) + "\n"
