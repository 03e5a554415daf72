"""Check `withdrawn`: nobody who withdrew consent is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genmorph.errors import GenmorphError
from genmorph.files import read_tsv
from genmorph.provenance.audit.findings import Finding, verdict


def check_withdrawn(
    root: Path, records: Mapping[str, Mapping[str, Any]], lists: Mapping[str, Path]
) -> Iterator[Finding]:
    """Look for people of today's withdrawal lists among the scans that cohorts keep.

    A list that was renewed after ingest is what this check is for. The ids themselves are not told.

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
        if cohort not in lists:
            continue
        subject = f"cohorts/{cohort}"
        manifest = (root / record["outputs"][0]["path"]).parent / "manifest.tsv"
        try:
            scans = read_tsv(manifest, ("scan_id", "participant_id", "source_id", "exclude_reason"))
            lines = lists[cohort].read_text(encoding="utf-8-sig").splitlines()
        except (GenmorphError, OSError) as error:
            yield Finding("withdrawn", "unknown", subject, str(error))
            continue
        withdrawn = {line.split(",")[0].strip().strip('"') for line in lines}
        used = [
            scan["scan_id"]
            for scan in scans
            if scan["exclude_reason"] is None
            and withdrawn & {scan["source_id"], scan["participant_id"]}
        ]
        message = f"withdrew consent: {', '.join(sorted(used))}; run the workflow anew"
        yield verdict("withdrawn", not used, subject, message)
