"""Check `withdrawn`: nobody who withdrew consent is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from genmorph.errors import GenmorphError
from genmorph.files import read_json, read_tsv
from genmorph.provenance.audit.findings import NO_LIST, Finding, verdict


def check_withdrawn(
    root: Path, records: Mapping[str, Mapping[str, Any]], lists: Mapping[str, Path]
) -> Iterator[Finding]:
    """Look for people of today's withdrawal lists among scans that cohorts keep or stores hold.

    A list that was renewed after ingest is what this check is for, and stores made before it. The
    ids themselves are not told. Unknown where a source hands out such lists and none is configured,
    which bars publication alone, and where one cannot be read.

    Parameters
    ----------
    root : Path
        Results root.
    records : mapping
        Records of the chain by name; those of `ingest` name the cohorts.
    lists : mapping
        Withdrawal list of each cohort that has one: an id of the source a line.
    """
    for record in records.values():
        if record["command"] != "ingest":
            continue
        cohort = record["parameters"]["cohort"]
        subject = f"cohorts/{cohort}"
        folder = (root / record["outputs"][0]["path"]).parent
        if cohort not in lists:
            if _hands_out_lists(folder):
                message = f"{NO_LIST}: set cohorts.{cohort}.withdrawn"
                yield Finding("withdrawn", "unknown", subject, message)
            continue
        manifest = folder / "manifest.tsv"
        try:
            scans = read_tsv(manifest, ("scan_id", "participant_id", "source_id", "exclude_reason"))
            lines = lists[cohort].read_text(encoding="utf-8-sig").splitlines()
        except (GenmorphError, OSError, UnicodeDecodeError) as error:
            yield Finding("withdrawn", "unknown", subject, str(error))
            continue
        withdrawn = {line.split(",")[0].strip().strip('"') for line in lines}
        gone = [scan for scan in scans if withdrawn & {scan["source_id"], scan["participant_id"]}]
        used = [str(scan["scan_id"]) for scan in gone if scan["exclude_reason"] is None]
        yield verdict("withdrawn", not used, subject, _told(used))
        yield from _stores(root, cohort, {str(scan["scan_id"]) for scan in gone})


def _hands_out_lists(folder: Path) -> bool:
    """Whether a cohort is of a source that names people who withdrew: one that needs pseudonyms."""
    path = folder / "cohort.json"
    description = read_json(path) if path.is_file() else {}
    return bool(description.get("pseudonyms")) and not description.get("simulated")


def _stores(root: Path, cohort: str, gone: set[str]) -> Iterator[Finding]:
    """Every index that names scans of the cohort: of preprocessed and of reconstructed volumes."""
    indices = [
        *(root / "preprocessed" / cohort).glob("*/index.tsv"),
        *(root / "runs").glob(f"*/*/{cohort}-*/seed-*/*/index.tsv"),
    ]
    for index in sorted(indices):
        held = {str(row["scan_id"]) for row in read_tsv(index, ("scan_id",))} & gone
        yield verdict("withdrawn", not held, index.relative_to(root).as_posix(), _told(held))


def _told(scan_ids: Iterable[str]) -> str:
    return f"withdrew consent: {', '.join(sorted(scan_ids))}; run the workflow anew"
