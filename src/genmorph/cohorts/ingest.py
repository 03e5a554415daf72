"""Ingest: a raw tree becomes manifest, participants table and splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from genmorph.cohorts.manifest import Ledger, Scan, write_manifest
from genmorph.cohorts.reading import Reading, Source, describe_simulation
from genmorph.errors import CohortError
from genmorph.files import digest, write_json, write_tsv
from genmorph.validation import validate

# module of each layout, loaded when it is asked for
LAYOUTS = {
    "bids": "genmorph.cohorts.bids",
    "adni": "genmorph.cohorts.adni",
    "hcp": "genmorph.cohorts.hcp",
    "oasis": "genmorph.cohorts.oasis",
}
PARTICIPANT_COLUMNS = (
    "participant_id",
    "split",
    "age_years",
    "sex",
    "diagnosis",
    "n_scans",
)


def ingest_cohort(
    *,
    name: str,
    layout: str,
    root: Path,
    out: Path,
    shares: Mapping[str, float],
    split_seed: int,
    shard_size: int,
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Read a cohort and write `manifest.tsv`, `participants.tsv` and `cohort.json` into `out`.

    Parameters
    ----------
    name : str
        The cohort's name in the configuration.
    layout : str
        How the raw files lie on disk.
    root : Path
        Folder of the raw scans; nothing is written there.
    out : Path
        The cohort's folder below the results root; its `ledger.tsv` is kept from call to call.
    shares : mapping
        Share of the people in each split: train, validation, test.
    split_seed : int
        Decides who comes first when people are shared out.
    shard_size : int
        Scans handled by one preprocessing job.

    Returns
    -------
    counts : dict
        Scans found, left out by reason, kept; people in each split.
    files : tuple of Path
        Tables and descriptions that were read.

    Raises
    ------
    CohortError
        When no scan is kept, or a split is empty.
    """
    reading = read_layout(layout, Source(root))
    scans = reading.scans
    if all(scan.exclude_reason for scan in scans):
        raise CohortError(f"cohort {name}: each of its {len(scans)} scans is left out")
    ledger = Ledger(out / "ledger.tsv")
    kept = [scan for scan in scans if scan.exclude_reason is None]
    split_of = ledger.assign_splits({scan.participant_id for scan in kept}, shares, split_seed)
    people = Counter(split_of.values())
    for split in shares:
        if not people[split]:
            raise CohortError(
                f"cohort {name}: {len(split_of)} people leave split '{split}' empty",
                "a cohort needs people enough for three splits; see cohorts.*.splits",
            )
    scans = ledger.assign_shards(scans, shard_size)
    ledger.save()
    counts = {
        "found": len(scans),
        "kept": len(kept),
        "left_out": dict(Counter(scan.exclude_reason for scan in scans if scan.exclude_reason)),
        "people": dict(people),
    }
    write_json(
        out / "cohort.json",
        {
            "cohort": name,
            "layout": layout,
            "name": reading.name,
            **describe_simulation(root),
            "notes": list(reading.notes),
            "scans": counts,
        },
    )
    write_tsv(out / "participants.tsv", PARTICIPANT_COLUMNS, _people(kept, split_of))
    write_manifest(out / "manifest.tsv", scans)
    return counts, reading.files


def read_layout(layout: str, source: Source, options: Mapping[str, Any] | None = None) -> Reading:
    """Read a raw tree through one of `LAYOUTS`.

    Raises
    ------
    ConfigError
        When an option is not the layout's, or its value is wrong.
    CohortError
        When the tree cannot be read.
    """
    module = import_module(LAYOUTS[layout])
    chosen = validate(module.LayoutOptions, dict(options or {}), f"layout {layout}")
    return module.read_cohort(source, chosen)


def listing_digest(root: Path) -> str:
    """Hash of the names and sizes below a raw root: changes when scans come or go.

    Used to notice a grown cohort without reading any file; the bytes are the audit's business.
    """
    if not root.is_dir():
        return "absent"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return digest([[path.relative_to(root).as_posix(), path.stat().st_size] for path in files])


def _people(scans: list[Scan], split_of: dict[str, str]) -> list[dict[str, Any]]:
    """One row a person, described by the earliest scan."""
    rows: dict[str, dict[str, Any]] = {}
    for scan in sorted(scans, key=lambda scan: (scan.participant_id, scan.session or "")):
        row = rows.setdefault(
            scan.participant_id,
            {
                "participant_id": scan.participant_id,
                "split": split_of[scan.participant_id],
                "age_years": scan.age_years,
                "sex": scan.sex,
                "diagnosis": scan.diagnosis,
                "n_scans": 0,
            },
        )
        row["n_scans"] += 1
    return list(rows.values())
