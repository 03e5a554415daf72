"""What rests on a broken link: shards, models, measurements, and the rows of tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genmorph.errors import GenmorphError
from genmorph.provenance.audit.cells import cells_of
from genmorph.provenance.audit.findings import Finding

# checks whose subject is a file; what others name is a record or a cell
OF_FILES = ("outputs", "raw", "inputs", "records")


def affected(
    root: Path, records: Mapping[str, Mapping[str, Any]], broken: Iterable[Finding]
) -> dict[str, list[str]]:
    """What was made, at whatever distance, from files that are not what they were.

    Parameters
    ----------
    root : Path
        Results root.
    records : mapping
        All its records by name.
    broken : iterable of Finding
        Checks that did not pass.

    Returns
    -------
    dict of str to list of str
        Main outputs by the command that wrote them; of tables the rows that show such a
        measurement.
    """
    files = {finding.subject for finding in broken if finding.code in OF_FILES}
    files = {name for subject in files for name in (subject, _of_record(subject))}
    reached: set[str] = set()
    made: set[str] = set()
    while True:
        new = {
            name
            for name, record in records.items()
            if name not in reached and _touches(record, files, made)
        }
        if not new:
            break
        reached |= new
        made |= {entry["path"] for name in new for entry in records[name]["outputs"]}
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(reached):
        record = records[name]
        output = record["outputs"][0]["path"]
        if record["command"] == "table":
            found["table"] += [f"{output} [{row}]" for row in _rows(root / output, made)]
        else:
            found[record["command"]].append(output)
    return dict(found)


def _of_record(subject: str) -> str:
    """The output that a record is named after; the subject itself where it is no record."""
    return subject.removeprefix("provenance/").removesuffix(".json")


def _touches(record: Mapping[str, Any], files: set[str], made: set[str]) -> bool:
    """Whether a command wrote or read one of the files, or read what was made from them."""
    for entry in record["outputs"]:
        inside = (f"{entry['path']}/{name}" for name in entry.get("files") or ())
        if entry["path"] in files or not files.isdisjoint(inside):
            return True
    for entry in record["inputs"]:
        name = f"{entry['base']}/{entry['path']}" if entry["base"] else entry["path"]
        if name in files or (not entry["base"] and entry["path"] in made):
            return True
    return False


def _rows(table: Path, made: set[str]) -> list[str]:
    """Rows of a table with a cell that comes from one of the files."""
    try:
        cells = cells_of(table)
        rows = [cell["row"] for cell in cells if made & set(cell["measurement"].split())]
    except GenmorphError:
        return ["every row: its cells cannot be read"]
    return list(dict.fromkeys(rows))
