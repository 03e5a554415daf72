"""Layout `hcp`: the Human Connectome Project's young adults, unprocessed structural scans.

People of 22 to 37 years, half of them twins; one in three has a second T1 scan of the session.
Exact ages and families stand in the restricted table alone, as in the source.
"""

from __future__ import annotations

from pathlib import Path

from genmorph.cohorts.simulate.person import Population, Visit
from genmorph.cohorts.simulate.scan import SimulatedScan
from genmorph.cohorts.simulate.scanner import Scanner
from genmorph.cohorts.simulate.trees.common import Made, image_bytes, put, write_csv

POPULATION = Population(
    youngest_years=22.0,
    oldest_years=37.0,
    patients=(),
    two_sessions_fraction=0.0,
    interval_years=(0.0, 0.0),
    age_decimals=0,
    repeat_every=3,
    twins=True,
)
# 256 sagittal slices of 320 x 320, stored right to left
SCANNER = Scanner(
    voxel_mm=(0.7, 0.7, 0.7),
    orientation="LAS",
    field_of_view_mm=(179.2, 224.0, 224.0),
    defaced=True,
    field_strengths_tesla=(3.0,),
)
UNRESTRICTED = "unrestricted_simulated_1_1_2026_0_0_0.csv"
RESTRICTED = "RESTRICTED_simulated_1_1_2026_0_0_0.csv"
BINS = ((22, 25), (26, 30), (31, 35))


def source_id(visit: Visit) -> str:
    """The person's six digits."""
    return str(100307 + 101 * (visit.number - 1))


def write_raw(root: Path, scan: SimulatedScan, seed: int) -> str:
    """Write a scan into the folder of its series; return its path."""
    subject, series = source_id(scan.visit), f"T1w_MPR{scan.visit.run or 1}"
    name = f"{subject}/unprocessed/3T/{series}/{subject}_3T_{series}.nii.gz"
    return put(root, name, image_bytes(scan))


def write_tables(root: Path, made: Made) -> None:
    """Write the unrestricted and the restricted table."""
    scans = {visit.number: 0 for visit, _ in made.scans}
    for visit, _ in made.scans:
        scans[visit.number] += 1
    people = [visit for visit, _ in made.people()]
    write_csv(
        root / UNRESTRICTED,
        ("Subject", "Release", "Acquisition", "Gender", "Age", "3T_Full_MR_Compl", "T1_Count"),
        (
            {
                "Subject": source_id(visit),
                "Release": "S1200",
                "Acquisition": "Q01",
                "Gender": visit.sex,
                "Age": _bin(int(visit.age_years)),
                "3T_Full_MR_Compl": "true",
                "T1_Count": scans[visit.number],
            }
            for visit in people
        ),
    )
    zygosity = {None: "NotTwin", "MZ": "MZ", "DZ": "NotMZ"}
    write_csv(
        root / RESTRICTED,
        (
            "Subject",
            "Age_in_Yrs",
            "HasGT",
            "ZygositySR",
            "ZygosityGT",
            "Family_ID",
            "Mother_ID",
            "Father_ID",
        ),
        (
            {
                "Subject": source_id(visit),
                "Age_in_Yrs": int(visit.age_years),
                "HasGT": "FALSE",
                "ZygositySR": zygosity[visit.zygosity],
                "Family_ID": f"{50000 + visit.family}_{80000 + visit.family}",
                "Mother_ID": 50000 + visit.family,
                "Father_ID": 80000 + visit.family,
            }
            for visit in people
        ),
    )


def _bin(age: int) -> str:
    return next((f"{low}-{high}" for low, high in BINS if low <= age <= high), "36+")
