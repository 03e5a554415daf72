"""Layout `adni`: ADNI's folders by person, sequence, date and image, with its tables.

People of 55 to 90 years, healthy, with mild impairment or with Alzheimer's disease; one in four
comes again after a year, one in sixteen has a second MP-RAGE of the visit. Most images are NIfTI
files after the source's own corrections; every fifth person has the original DICOM series instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genmorph.cohorts.simulate.person import Population, Visit
from genmorph.cohorts.simulate.scan import SimulatedScan
from genmorph.cohorts.simulate.scanner import Scanner
from genmorph.cohorts.simulate.trees.common import (
    Made,
    image_bytes,
    person_generator,
    put,
    scan_time,
    write_csv,
)
from genmorph.cohorts.simulate.trees.dicom import dicom_slices

POPULATION = Population(
    youngest_years=55.0,
    oldest_years=90.0,
    youngest_patient_years=58.0,
    patients=(("AD", 0.3), ("MCI", 0.25)),
    two_sessions_fraction=1.0 / 4.0,
    interval_years=(1.0, 1.0),
    repeat_every=16,
)
# sagittal slices of 1.2 mm
SCANNER = Scanner(
    voxel_mm=(1.2, 1.0, 1.0),
    orientation="PSR",
    field_of_view_mm=(199.2, 256.0, 256.0),
)
PROCESSED, ORIGINAL = "MPR__GradWarp__B1_Correction__N3__Scaled", "MPRAGE"
# as the collection's table spells it: special characters are underscores in file names
DESCRIPTION = {PROCESSED: "MPR; GradWarp; B1 Correction; N3; Scaled", ORIGINAL: ORIGINAL}
SCREENING, YEAR = "ADNI Screening", "ADNI1/GO Month 12"
COLLECTION, MERGE = "simulated_1_01_2026.csv", "ADNIMERGE.csv"


def source_id(visit: Visit) -> str:
    """The person's PTID: site, S, roster number."""
    return f"{_site(visit):03d}_S_{_roster(visit):04d}"


def _site(visit: Visit) -> int:
    return 2 + 7 * visit.number % 58


def _roster(visit: Visit) -> int:
    return 400 + visit.number


def _image_number(visit: Visit) -> int:
    """Of the image; a person has at most four."""
    return 100000 + 4 * visit.number + 2 * (visit.session_number - 1) + (visit.run or 1) - 1


def _is_original(visit: Visit) -> bool:
    return visit.number % 5 == 3


def write_raw(root: Path, scan: SimulatedScan, seed: int) -> str:
    """Write a scan and its description; return the path of its file, or of its series' folder."""
    visit = scan.visit
    person, time = source_id(visit), scan_time(visit, seed)
    series, image = f"S{_image_number(visit) - 50000}", f"I{_image_number(visit)}"
    sequence = ORIGINAL if _is_original(visit) else PROCESSED
    folder = f"ADNI/{person}/{sequence}/{time:%Y-%m-%d_%H_%M_%S}.0/{image}"
    stem = f"ADNI_{person}_MR_{sequence}_Br"
    stamp = f"{time:%Y%m%d%H%M%S}000"
    description = f"ADNI/ADNI_{person}_{sequence}_{series}_{image}.xml"
    put(root, description, _xml(scan, sequence, seed).encode())
    if not _is_original(visit):
        name = f"{folder}/{stem}_{stamp}_{series}_{image}.nii"
        return put(root, name, image_bytes(scan, compressed=False))
    slices = dicom_slices(scan, person=person, series=sequence, time=time, number=image[1:])
    for place, content in enumerate(slices, start=1):
        put(root, f"{folder}/{stem}_Raw_{stamp}_{place}_{series}_{image}.dcm", content)
    return folder


def _xml(scan: SimulatedScan, sequence: str, seed: int) -> str:
    """The image's description as the archive's `idaxs` document."""
    visit, time = scan.visit, scan_time(scan.visit, seed)
    status = "Original" if sequence == ORIGINAL else "Processed"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<idaxs>
  <project>
    <projectIdentifier>ADNI</projectIdentifier>
    <siteKey>{_site(visit)}</siteKey>
    <subject>
      <subjectIdentifier>{source_id(visit)}</subjectIdentifier>
      <researchGroup>{visit.diagnosis}</researchGroup>
      <subjectSex>{visit.sex}</subjectSex>
      <visit>
        <visitIdentifier>{_visit_name(visit)}</visitIdentifier>
      </visit>
      <study>
        <subjectAge>{visit.age_years}</subjectAge>
        <series>
          <seriesIdentifier>{_image_number(visit) - 50000}</seriesIdentifier>
          <modality>MRI</modality>
          <dateAcquired>{time:%Y-%m-%d %H:%M:%S}.0</dateAcquired>
          <imagingProtocol>
            <imageUID>{_image_number(visit)}</imageUID>
            <description>{DESCRIPTION[sequence]}</description>
            <protocolTerm>
              <protocol term="Weighting">T1</protocol>
              <protocol term="Manufacturer">none (simulated)</protocol>
              <protocol term="Field Strength">{scan.acquisition.field_strength_tesla}</protocol>
            </protocolTerm>
            <imageType>{status}</imageType>
          </imagingProtocol>
        </series>
      </study>
    </subject>
  </project>
</idaxs>
"""


def _visit_name(visit: Visit) -> str:
    return YEAR if visit.session_number > 1 else SCREENING


def write_tables(root: Path, made: Made) -> None:
    """Write the collection's table of images and the merged study table."""
    columns = (
        "Image Data ID",
        "Subject",
        "Group",
        "Sex",
        "Age",
        "Visit",
        "Modality",
        "Description",
        "Type",
        "Acq Date",
        "Format",
        "Downloaded",
    )
    rows = (_image_row(visit, made.seed) for visit, _ in made.scans)
    write_csv(root / COLLECTION, columns, rows, quoted=True)
    columns = (
        "RID",
        "PTID",
        "VISCODE",
        "SITE",
        "COLPROT",
        "ORIGPROT",
        "EXAMDATE",
        "DX_bl",
        "AGE",
        "PTGENDER",
        "PTEDUCAT",
        "APOE4",
        "DX",
        "Ventricles",
        "ICV",
    )
    rows = (_visit_row(visit, row, made.seed) for visit, row in made.sessions())
    write_csv(root / MERGE, columns, rows)


def _image_row(visit: Visit, seed: int) -> dict[str, Any]:
    time, number = scan_time(visit, seed), _image_number(visit)
    original = _is_original(visit)
    return {
        # exports of different years write the number with and without its letter
        "Image Data ID": f"I{number}" if visit.number % 2 else number,
        "Subject": source_id(visit),
        "Group": visit.diagnosis,
        "Sex": visit.sex,
        "Age": visit.age_years,
        "Visit": _visit_name(visit),
        "Modality": "MRI",
        "Description": DESCRIPTION[ORIGINAL if original else PROCESSED],
        "Type": "Original" if original else "Processed",
        "Acq Date": f"{time.month}/{time.day}/{time.year}",
        "Format": "DCM" if original else "NiFTI",
        "Downloaded": "1/01/2026",
    }


def _visit_row(visit: Visit, row: Mapping[str, Any], seed: int) -> dict[str, Any]:
    rng = person_generator(visit, seed, "demographics")
    return {
        "RID": _roster(visit),
        "PTID": source_id(visit),
        "VISCODE": "m12" if visit.session_number > 1 else "bl",
        "SITE": _site(visit),
        "COLPROT": "ADNI1",
        "ORIGPROT": "ADNI1",
        "EXAMDATE": scan_time(visit, seed).date().isoformat(),
        "DX_bl": {"MCI": "LMCI"}.get(visit.diagnosis, visit.diagnosis),
        "AGE": visit.baseline_age_years,
        "PTGENDER": "Male" if visit.sex == "M" else "Female",
        "PTEDUCAT": int(rng.integers(8, 21)),
        "APOE4": int(rng.integers(3)),
        "DX": {"AD": "Dementia"}.get(visit.diagnosis, visit.diagnosis),
        "Ventricles": f"{1000.0 * float(row['ventricle_ml']):.0f}",  # mm3
        "ICV": f"{1000.0 * float(row['brain_ml']):.0f}",
    }
