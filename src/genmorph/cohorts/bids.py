"""Layout `bids`: T1w scans of a BIDS raw dataset, with or without sessions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import Reading, Source, leave_out, nothing_found, require_folder
from genmorph.errors import CohortError
from genmorph.files import read_json, read_tsv
from genmorph.validation import Options

PATTERNS = ("sub-*/anat/*_T1w.nii[.gz]", "sub-*/ses-*/anat/*_T1w.nii[.gz]")
_NAME = re.compile(
    r"(?P<participant>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?"
    r"(?P<others>(_[a-z]+-[A-Za-z0-9]+)*)_T1w\.nii(\.gz)?"
)
# columns of participants.tsv and sessions.tsv by the names researchers give them
_AGE = ("age", "age_years", "age_at_scan")
_SEX = ("sex", "gender")
_DIAGNOSIS = ("diagnosis", "group", "dx")


class LayoutOptions(Options):
    """Choices of this layout: none yet."""


def read_cohort(source: Source, options: LayoutOptions) -> Reading:
    """Every T1w scan of a BIDS dataset, in the order of its ids.

    One scan a session is kept, the first by name; others carry the reason why they are left out.

    Parameters
    ----------
    source : Source
        Its root holds `dataset_description.json` and `sub-*`.
    options : LayoutOptions

    Raises
    ------
    CohortError
        When the folder is absent, holds no T1w scan, or names a person or a scan twice.
    """
    root = source.root
    require_folder(root, "sub-*")
    people = _participants(root)
    scans = [_describe(root, path, people) for path in _find(root)]
    if not scans:
        raise nothing_found(root, PATTERNS, "sub-*")
    return Reading(_one_per_session(scans), files=_metadata_files(root), name=_name(root))


def _name(root: Path) -> str:
    path = root / "dataset_description.json"
    return read_json(path).get("Name", root.name) if path.is_file() else root.name


def _metadata_files(root: Path) -> tuple[Path, ...]:
    """Tables and descriptions that were read, for the record."""
    names = ("dataset_description.json", "participants.tsv", "T1w.json")
    found = [root / name for name in names]
    found += sorted(root.glob("sub-*/*_sessions.tsv"))
    return tuple(path for path in found if path.is_file())


def _find(root: Path) -> Iterator[Path]:
    for person in sorted(root.glob("sub-*")):
        for folder in [person / "anat", *sorted(person.glob("ses-*/anat"))]:
            if folder.is_dir():
                names = sorted(path for path in folder.iterdir() if "_T1w.nii" in path.name)
                yield from (path for path in names if _NAME.fullmatch(path.name))


def _describe(root: Path, path: Path, people: dict[str, dict[str, Any]]) -> Scan:
    match = _NAME.fullmatch(path.name)
    participant, session = match["participant"], match["session"]
    if path.relative_to(root).parts[0] != participant:
        raise CohortError(f"{path}: the file's name says {participant}, its folder does not")
    sessions = root / participant / f"{participant}_sessions.tsv"
    at_scan = dict(people.get(participant, {}))
    if session and sessions.is_file():
        for row in read_tsv(sessions, ("session_id",)):
            if row["session_id"] == session:
                at_scan |= {key: value for key, value in _person(row).items() if value is not None}
    sidecar = _sidecar(root, path)
    return Scan(
        scan_id=f"{participant}_{session}" if session else participant,
        participant_id=participant,
        session=session,
        path=path.relative_to(root).as_posix(),
        size=path.stat().st_size,
        skull_stripped=bool(sidecar.get("SkullStripped", False)),
        **at_scan,
    )


def _sidecar(root: Path, path: Path) -> dict[str, Any]:
    """The scan's JSON sidecar, with what it inherits from the dataset's `T1w.json`."""
    own = path.with_name(path.name.split(".nii")[0] + ".json")
    values: dict[str, Any] = {}
    for file in (root / "T1w.json", own):
        if file.is_file():
            values |= read_json(file)
    return values


def _participants(root: Path) -> dict[str, dict[str, Any]]:
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    rows = read_tsv(path, ("participant_id",))
    counts = Counter(row["participant_id"] for row in rows)
    twice = sorted(str(name) for name, count in counts.items() if count > 1)
    if twice:
        raise CohortError(
            f"{path}: participant_id {', '.join(twice)} stands in it more than once",
            "keep one row a person; ages at visits belong in sub-*_sessions.tsv",
        )
    return {row["participant_id"]: _person(row) for row in rows}


def _person(row: dict[str, str | None]) -> dict[str, Any]:
    def first(names: tuple[str, ...]) -> str | None:
        return next((row[name] for name in names if row.get(name) is not None), None)

    age = first(_AGE)
    try:
        years = None if age is None else float(age.rstrip("+"))
    except ValueError:
        raise CohortError(f"age '{age}' is not a number of years") from None
    return {"age_years": years, "sex": first(_SEX), "diagnosis": first(_DIAGNOSIS)}


def _one_per_session(scans: list[Scan]) -> list[Scan]:
    first: dict[str, Scan] = {}
    kept = []
    for scan in scans:
        if scan.scan_id not in first:
            first[scan.scan_id] = scan
            kept.append(scan)
            continue
        used = first[scan.scan_id].path
        if _stem(used) == _stem(scan.path):
            raise CohortError(
                f"scan {scan.scan_id} is there twice: {used} and {scan.path}",
                "remove one of the two files",
            )
        kept.append(leave_out(scan, "selected", f"another T1w of this session is used: {used}"))
    return kept


def _stem(path: str) -> str:
    return path.split(".nii")[0]
