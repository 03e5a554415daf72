"""Layout `bids`: T1w scans of a BIDS dataset or one of its derivatives, with or without sessions.

One scan of a session is used: the first by name, so `acq-` and `run-` decide in that order, and a
name without them comes before one with them. They are no part of the scan's id.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import Reading, Source, leave_out, nothing_found, require_folder
from genmorph.cohorts.tables import leave_out_withdrawn
from genmorph.errors import CohortError
from genmorph.files import read_json_object, read_tsv
from genmorph.validation import Options

PATTERNS = ("sub-*/anat/*_T1w.nii[.gz]", "sub-*/ses-*/anat/*_T1w.nii[.gz]")
_NAME = re.compile(
    r"(?P<participant>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?"
    r"(?P<others>(_[a-z]+-[A-Za-z0-9]+)*)_T1w\.nii(\.gz)?"
)
# entities of images that are no T1 scan of the head as it lies in the scanner
_DERIVED = re.compile(r"_(space|res|from|hemi)-")
# columns of participants.tsv and sessions.tsv by the names researchers give them
_AGE = ("age", "age_years", "age_at_scan")
_SEX = ("sex", "gender")
_DIAGNOSIS = ("diagnosis", "group", "dx")


class LayoutOptions(Options):
    """Choices of this layout."""

    derivative: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$",
        description="folder below derivatives/ whose `desc-preproc_T1w` images in scan space are "
        "read instead of the raw scans, such as fmriprep; people's tables stay those of the root",
    )


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
    images = root
    if options.derivative is not None:
        images = root / "derivatives" / options.derivative
        require_folder(images, f"the derivative '{options.derivative}'")
    scans = [
        _describe(root, images, path, people)
        for path in _find(images)
        if options.derivative is None or _is_preprocessed(path.name)
    ]
    if not scans:
        raise nothing_found(images, PATTERNS, "sub-*")
    found = {scan.participant_id for scan in scans}
    scans = leave_out_withdrawn(_listed(_one_per_session(scans), people), source)
    return Reading(
        scans,
        files=_metadata_files(root, images),
        notes=_notes(scans),
        rows_without_scan=tuple(sorted(set(people) - found)),
        name=_name(root),
    )


def _listed(scans: list[Scan], people: dict[str, dict[str, Any]]) -> list[Scan]:
    """The scans; where there is a `participants.tsv`, those of people not in it left out."""
    return [
        leave_out(scan, "matched", "participants.tsv does not list the person")
        if people and scan.participant_id not in people
        else scan
        for scan in scans
    ]


def _is_preprocessed(name: str) -> bool:
    return "_desc-preproc_" in name and not _DERIVED.search(name)


def _notes(scans: list[Scan]) -> tuple[str, ...]:
    kept = [scan for scan in scans if scan.exclude_reason is None]
    bins = sum(scan.age_precision == "bin" for scan in kept)
    return (f"the ages of {bins} scans are lower bounds (such as 89+)",) if bins else ()


def _name(root: Path) -> str:
    path = root / "dataset_description.json"
    return read_json_object(path).get("Name", root.name) if path.is_file() else root.name


def _metadata_files(root: Path, images: Path) -> tuple[Path, ...]:
    """Tables and descriptions that were read, for the record."""
    found = [root / "dataset_description.json", root / "participants.tsv", images / "T1w.json"]
    if images != root:
        found.append(images / "dataset_description.json")
    found += sorted(root.glob("sub-*/*_sessions.tsv"))
    return tuple(path for path in found if path.is_file())


def _find(images: Path) -> Iterator[Path]:
    for person in sorted(images.glob("sub-*")):
        for folder in [person / "anat", *sorted(person.glob("ses-*/anat"))]:
            if folder.is_dir():
                names = sorted(path for path in folder.iterdir() if "_T1w.nii" in path.name)
                yield from (path for path in names if _NAME.fullmatch(path.name))


def _describe(root: Path, images: Path, path: Path, people: dict[str, dict[str, Any]]) -> Scan:
    match = _NAME.fullmatch(path.name)
    participant, session = match["participant"], match["session"]
    if path.relative_to(images).parts[0] != participant:
        raise CohortError(f"{path}: the file's name says {participant}, its folder does not")
    sessions = root / participant / f"{participant}_sessions.tsv"
    at_scan = dict(people.get(participant, {}))
    if session and sessions.is_file():
        for row in read_tsv(sessions, ("session_id",)):
            if f"ses-{str(row['session_id']).removeprefix('ses-')}" == session:
                at_scan |= {key: value for key, value in _person(row).items() if value is not None}
    sidecar = _sidecar(images, path)
    return Scan(
        scan_id=f"{participant}_{session}" if session else participant,
        participant_id=participant,
        session=session,
        path=path.relative_to(root).as_posix(),
        size=path.stat().st_size,
        skull_stripped=_is_stripped(sidecar, path),
        **at_scan,
    )


def _is_stripped(sidecar: dict[str, Any], path: Path) -> bool:
    value = sidecar.get("SkullStripped", False)
    if not isinstance(value, bool):
        raise CohortError(
            f"{path.name}: its sidecar says SkullStripped: {value!r}", "write true or false"
        )
    return value


def _sidecar(root: Path, path: Path) -> dict[str, Any]:
    """The scan's JSON sidecar, with what it inherits from its dataset's `T1w.json`."""
    own = path.with_name(path.name.split(".nii")[0] + ".json")
    values: dict[str, Any] = {}
    for file in (root / "T1w.json", own):
        if file.is_file():
            values |= read_json_object(file)
    return values


def _participants(root: Path) -> dict[str, dict[str, Any]]:
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    rows = read_tsv(path, ("participant_id",))
    names = [f"sub-{str(row['participant_id']).removeprefix('sub-')}" for row in rows]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise CohortError(
            f"{path}: participant_id {', '.join(twice)} stands in it more than once",
            "keep one row a person; ages at visits belong in sub-*_sessions.tsv",
        )
    return {name: _person(row) for name, row in zip(names, rows, strict=True)}


def _person(row: dict[str, str | None]) -> dict[str, Any]:
    def first(names: tuple[str, ...]) -> str | None:
        return next((row[name] for name in names if row.get(name) is not None), None)

    age = first(_AGE)
    try:
        years = None if age is None else float(age.removesuffix("+"))
    except ValueError:
        raise CohortError(f"age '{age}' is not a number of years") from None
    precision = None if age is None else "bin" if age.endswith("+") else "exact"
    return {
        "age_years": years,
        "age_precision": precision,
        "sex": first(_SEX),
        "diagnosis": first(_DIAGNOSIS),
    }


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
