"""Ingest: a raw tree becomes manifest, participants table and splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genmorph.cohorts import bids
from genmorph.cohorts.manifest import Ledger, Scan, write_manifest
from genmorph.errors import CohortError
from genmorph.files import digest, write_json, write_tsv

LAYOUTS = {"bids": bids}
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
) -> dict[str, Any]:
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
    dict
        Counts: scans found, left out by reason, kept; people in each split.

    Raises
    ------
    CohortError
        When no scan is kept, or a split is empty.
    """
    scans = LAYOUTS[layout].read_cohort(root)
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
    dataset = LAYOUTS[layout].describe_dataset(root)
    write_json(out / "cohort.json", {"cohort": name, "layout": layout, **dataset, "scans": counts})
    write_tsv(out / "participants.tsv", PARTICIPANT_COLUMNS, _people(kept, split_of))
    write_manifest(out / "manifest.tsv", scans)
    return counts


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
