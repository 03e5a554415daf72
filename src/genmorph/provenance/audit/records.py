"""Reading every record of a results root, whatever has happened to some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genmorph.errors import AuditError
from genmorph.provenance.audit.findings import Finding
from genmorph.provenance.record import RECORDS, read_record, record_files
from genmorph.provenance.seal import seal_holds


def read_records(
    root: Path,
) -> tuple[dict[str, dict[str, Any]], list[Finding], dict[str, str]]:
    """Records that can be read, those that cannot, and those that are not as they were written.

    Parameters
    ----------
    root : Path
        Results root.

    Returns
    -------
    records : dict
        Records by their path below `provenance/`.
    damaged : list of Finding
        A failure of check `records` for each that cannot be read.
    edited : dict
        What is wrong with each that can be read and is not as it was written.

    Raises
    ------
    AuditError
        When the folder has no records.
    """
    records: dict[str, dict[str, Any]] = {}
    damaged, edited = [], {}
    for name, path in record_files(root).items():
        try:
            record = read_record(path)
        except AuditError as error:
            message = f"{error.message}; {error.cure}"
            damaged.append(Finding("records", "fail", f"{RECORDS}/{name}", message))
            continue
        records[name] = record
        own = f"{record['outputs'][0]['path']}.json"
        if not seal_holds(path.read_text(encoding="utf-8")):
            edited[name] = "its seal is gone or broken: it was edited after it was written"
        elif own != name and not own.startswith("../"):
            edited[name] = f"it is the record {own}, under another name"
    return records, damaged, edited
