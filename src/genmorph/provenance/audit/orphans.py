"""Check `orphans`: records whose files are gone or made anew by another, files nobody recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from genmorph.provenance.audit.findings import Finding
from genmorph.provenance.record import RECORDS

# folders of a results root that hold nothing but outputs
FOLDERS = ("cohorts", "preprocessed", "runs", "tables", "figures", "notebooks")
# Pictures and training curves to look at: no record names them.
UNRECORDED_FOLDERS = ("mosaics", "events")


def abandoned_records(root: Path, records: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Records of which every output is gone, and that no other record rests on.

    Where something that is still there was made from them, they are no orphans but broken links.
    """
    producer: dict[str, list[str]] = {}
    for name, record in records.items():
        for entry in record["outputs"]:
            producer.setdefault(entry["path"], []).append(name)
    needed = {
        name
        for name, record in records.items()
        if any((root / entry["path"]).exists() for entry in record["outputs"])
    }
    waiting = list(needed)
    while waiting:
        record = records[waiting.pop()]
        for entry in record["inputs"]:
            behind = producer.get(entry["path"], ()) if not entry["base"] else ()
            new = set(behind) - needed
            needed |= new
            waiting += new
    return set(records) - needed


def check_orphans(
    root: Path, records: Mapping[str, Mapping[str, Any]], producer: Mapping[str, str]
) -> Iterator[Finding]:
    """Name every orphan of a results root.

    Parameters
    ----------
    root : Path
        Results root.
    records : mapping
        All its records by name.
    producer : mapping
        Record that wrote each output last.
    """
    abandoned = abandoned_records(root, records)
    for name, record in records.items():
        later = {producer[entry["path"]] for entry in record["outputs"]} - {name}
        if name in abandoned:
            message = "what it describes no longer exists; remove the record"
            yield Finding("orphans", "fail", f"{RECORDS}/{name}", message)
        elif later:
            message = f"{', '.join(sorted(later))} wrote the same file later"
            yield Finding("orphans", "fail", f"{RECORDS}/{name}", message)
    for folder in FOLDERS:
        unclaimed = list(unclaimed_files(root, folder, producer))
        for path in unclaimed:
            message = "no record names it; remove it, or make it by the workflow"
            yield Finding("orphans", "fail", path, message)
        if not unclaimed:
            yield Finding("orphans", "pass", folder)


def unclaimed_files(root: Path, folder: str, claimed: Iterable[str]) -> Iterator[str]:
    """Paths below a folder of the results root that no record names; whole folders as one."""
    claimed = set(claimed)
    above = {parent.as_posix() for path in claimed for parent in Path(path).parents}
    waiting = [root / folder] if (root / folder).is_dir() else []
    while waiting:
        for path in sorted(waiting.pop().iterdir()):
            relative = path.relative_to(root).as_posix()
            if relative in claimed or _never_recorded(path):
                continue
            if not path.is_dir():
                yield relative
            elif relative in above:
                waiting.append(path)
            elif _holds_something(path):
                yield relative


def _never_recorded(path: Path) -> bool:
    if path.is_dir():
        return path.name.startswith(".") or path.name in UNRECORDED_FOLDERS
    return path.name.startswith((".", "events.out.tfevents"))


def _holds_something(folder: Path) -> bool:
    """Whether a folder has a file, at any depth, that a record should name."""
    return any(
        _holds_something(path) if path.is_dir() else True
        for path in folder.iterdir()
        if not _never_recorded(path)
    )
