"""Layout `ukb`: UK Biobank's zip archives of T1 images (field 20252), table and withdrawals.

People of 45 to 82 years, some with a repeat visit (instance 3). Person 5's scan failed the source's
quality control and lies in an `unusable` folder of its archive; person 7 withdraws consent later.
One row of the table has no scan.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genmorph.cohorts.simulate.person import Population, Visit
from genmorph.cohorts.simulate.scan import SimulatedScan
from genmorph.cohorts.simulate.scanner import Scanner
from genmorph.cohorts.simulate.trees.common import (
    DAYS_PER_YEAR,
    Made,
    image_bytes,
    person_generator,
    put,
    scan_time,
    write_csv,
)

POPULATION = Population(
    youngest_years=45.0,
    oldest_years=82.0,
    patients=(),
    two_sessions_fraction=1.0 / 6.0,
    interval_years=(2.0, 4.0),
    age_decimals=0,
)
# cropped below the cerebellum, as the source's pipeline does it
SCANNER = Scanner(
    voxel_mm=(1.0, 1.0, 1.0),
    orientation="LAS",
    field_of_view_mm=(182.0, 236.0, 190.0),
    centre_mm=(0.0, 0.0, 7.0),
    defaced=True,
    field_strengths_tesla=(3.0,),
)
TABLE, WITHDRAWN = "ukb_tables.csv", "w00001_20260101.csv"
MEMBER, UNUSABLE = "T1/T1.nii.gz", "T1/unusable/T1.nii.gz"
UNUSABLE_PERSON, WITHDRAWN_PERSON = 5, 7
FIRST_EID, LAST_EID = 1000223, 9999999
CENTRES = (11025, 11026, 11027)
FIELDS = (
    "31-0.0",  # sex: 0 female, 1 male
    "34-0.0",  # year of birth
    "21022-0.0",  # age at recruitment
    *(
        f"{field}-{instance}.0"
        for field in (21003, 53, 54, 25003, 25004, 25009, 25010)
        for instance in (2, 3)
    ),
)


def source_id(visit: Visit) -> str:
    """The person's seven digits."""
    return _eid(visit.number)


def _eid(number: int) -> str:
    # steps of a prime over the seven digits, so that ids say nothing of the order
    return str(FIRST_EID + (number - 1) * 5_700_047 % (LAST_EID - FIRST_EID))


def write_raw(root: Path, scan: SimulatedScan, seed: int) -> str:
    """Write a scan's archive; return its path with the member.

    A reader asks each archive for the same member, so an unusable scan's path names that too.
    """
    visit = scan.visit
    name = f"{source_id(visit)}_20252_{visit.session_number + 1}_0.zip"
    member = UNUSABLE if visit.number == UNUSABLE_PERSON else MEMBER
    members = {
        member: image_bytes(scan),
        member.replace(".nii.gz", ".json"): _sidecar(scan),
    }
    put(root, name, _zip(members))
    return f"{name}!{MEMBER}"


def _sidecar(scan: SimulatedScan) -> bytes:
    values = {
        "Modality": "MR",
        "MagneticFieldStrength": scan.acquisition.field_strength_tesla,
        "Manufacturer": "none (simulated)",
        "ProtocolName": "synthetic T1-weighted head made by genmorph simulate",
    }
    return (json.dumps(values, sort_keys=True, indent=2) + "\n").encode()


def _zip(members: Mapping[str, bytes]) -> bytes:
    """An archive whose bytes depend on nothing but its members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content)  # stored: images are compressed already
    return stream.getvalue()


def write_tables(root: Path, made: Made) -> None:
    """Write the table of fields and the list of withdrawn people."""
    rows: dict[int, dict[str, Any]] = {}
    for visit, row in made.scans:
        person = rows.setdefault(visit.number, _person(visit, made.seed))
        person |= _instance(visit, row, made.seed)
    rows[0] = _person_without_scan(max(rows))
    write_csv(
        root / TABLE, ("eid", *FIELDS), sorted(rows.values(), key=lambda person: person["eid"])
    )
    if WITHDRAWN_PERSON in rows:
        (root / WITHDRAWN).write_text(f"{_eid(WITHDRAWN_PERSON)}\n")


def _person(visit: Visit, seed: int) -> dict[str, Any]:
    """What is known since recruitment, some years before the first scan."""
    years_before = int(person_generator(visit, seed, "recruitment").integers(4, 9))
    scanned = scan_time(visit, seed)
    since_first = visit.age_years - visit.baseline_age_years
    birth = scanned.year + (scanned.timetuple().tm_yday / DAYS_PER_YEAR)
    birth -= since_first + visit.baseline_age_years + 0.5  # the middle of a year of age
    return {
        "eid": source_id(visit),
        "31-0.0": 1 if visit.sex == "M" else 0,
        "34-0.0": int(birth),
        "21022-0.0": int(visit.baseline_age_years) - years_before,
    }


def _instance(visit: Visit, row: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Fields of one imaging visit; volumes in mm3, also normalised for head size."""
    instance = visit.session_number + 1
    ventricle = 1000.0 * float(row["ventricle_ml"])
    brain = 1000.0 * (float(row["gray_matter_ml"]) + float(row["white_matter_ml"]))
    scaling = 1.0
    for axis in "xyz":
        scaling /= float(row[f"head_scale_{axis}"])
    values = {
        21003: int(visit.age_years),
        53: scan_time(visit, seed).date().isoformat(),
        54: CENTRES[visit.number % len(CENTRES)],
        25003: f"{ventricle * scaling:.1f}",
        25004: f"{ventricle:.1f}",
        25009: f"{brain * scaling:.1f}",
        25010: f"{brain:.1f}",
    }
    return {f"{field}-{instance}.0": value for field, value in values.items()}


def _person_without_scan(last: int) -> dict[str, Any]:
    """Somebody who came to the imaging visit, and of whom no T1 image was delivered."""
    return {
        "eid": _eid(last + 1),
        "31-0.0": 0,
        "34-0.0": 1950,
        "21022-0.0": 58,
        "21003-2.0": 64,
        "53-2.0": "2014-09-03",
        "54-2.0": CENTRES[0],
    }
