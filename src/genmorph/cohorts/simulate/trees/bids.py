"""Layout `bids`: a BIDS dataset, some people with sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genmorph.cohorts.simulate.person import BIDS_POPULATION, Visit
from genmorph.cohorts.simulate.scan import SimulatedScan
from genmorph.cohorts.simulate.scanner import Scanner
from genmorph.cohorts.simulate.trees.common import (
    BIDS_VERSION,
    GENERATED_BY,
    Made,
    image_bytes,
    put,
)
from genmorph.files import write_json, write_tsv

POPULATION = BIDS_POPULATION
SCANNER = Scanner()


def source_id(visit: Visit) -> str:
    """The person's id."""
    return visit.participant_id


def write_raw(root: Path, scan: SimulatedScan, seed: int) -> str:
    """Write a scan and its sidecar; return its path."""
    visit = scan.visit
    stem = Path(visit.participant_id, visit.session_id or "", "anat", f"{visit.scan_id}_T1w")
    path = put(root, f"{stem.as_posix()}.nii.gz", image_bytes(scan))
    write_json(root / f"{stem}.json", _sidecar(scan))
    return path


def write_tables(root: Path, made: Made) -> None:
    """Write description, README, participants and sessions."""
    keys = ("Simulated", "DataLabel", "Seed", "ResolutionMm", "Scans")
    write_json(
        root / "dataset_description.json",
        {
            "Name": "GenMorph simulated cohort",
            "DatasetType": "raw",
            "BIDSVersion": BIDS_VERSION,
            "GeneratedBy": GENERATED_BY,
            "GenMorph": {key: made.description[key] for key in keys},
        },
    )
    (root / "README").write_text(made.readme)
    _write_people(root, [visit for visit, _ in made.scans])


def _sidecar(scan: SimulatedScan) -> dict[str, Any]:
    return {
        "Modality": "MR",
        "MagneticFieldStrength": scan.acquisition.field_strength_tesla,
        "Manufacturer": "none (simulated)",
        "MRAcquisitionType": "3D",
        "ScanningSequence": "SIM",
        "SeriesDescription": "synthetic T1-weighted head made by genmorph simulate",
        "SkullStripped": False,
        "BodyPart": "HEAD",
        "Synthetic": True,
    }


def _write_people(root: Path, visits: Sequence[Visit]) -> None:
    first = {visit.participant_id: visit for visit in reversed(visits)}
    write_tsv(
        root / "participants.tsv",
        ("participant_id", "age", "sex", "diagnosis"),
        (
            {
                "participant_id": person,
                "age": visit.age_years,
                "sex": visit.sex,
                "diagnosis": visit.diagnosis,
            }
            for person, visit in sorted(first.items())
        ),
    )
    write_json(
        root / "participants.json",
        {
            "age": {"Description": "age at the first scan", "Units": "year"},
            "sex": {"Description": "sex", "Levels": {"F": "female", "M": "male"}},
            "diagnosis": {
                "Description": "simulated diagnosis",
                "Levels": {"CN": "cognitively normal", "AD": "Alzheimer's disease"},
            },
        },
    )
    columns = {
        "session_id": {"Description": "visit"},
        "age": {"Description": "age at this visit", "Units": "year"},
    }
    for person, visit in first.items():
        if visit.session_id is None:
            continue
        rows = [
            {"session_id": other.session_id, "age": other.age_years}
            for other in visits
            if other.participant_id == person
        ]
        path = root / person / f"{person}_sessions"
        write_tsv(path.with_suffix(".tsv"), list(columns), rows)
        write_json(path.with_suffix(".json"), columns)
