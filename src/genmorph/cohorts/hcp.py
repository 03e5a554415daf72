"""Layout `hcp`: the Human Connectome Project's young adults (HCP-YA, S1200), folders or archives.

    <root>/100307/unprocessed/3T/T1w_MPR1/100307_3T_T1w_MPR1.nii.gz
    <root>/100307_3T_Structural_unproc.zip, <root>/100307_3T_Structural_preproc.zip

Images under `MNINonLinear` are warped to a template and are never taken.
"""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import Reading, Source, leave_out, nothing_found, require_folder
from genmorph.cohorts.tables import (
    Row,
    Table,
    by_person,
    find_tables,
    leave_out_withdrawn,
    number,
    seen,
    sex_of,
    walk,
)
from genmorph.errors import CohortError
from genmorph.validation import Options

PATTERNS = (
    "**/<six digits>/unprocessed/3T/T1w_MPR[12]/*_3T_T1w_MPR[12].nii[.gz]",
    "**/<six digits>/T1w/T1w_acpc_dc_restore[_brain].nii[.gz]",
    "**/*_3T_Structural_[un,pre]proc.zip",
)
HOLDS = "the subjects' folders or archives, such as 100307"
_IMAGES = {
    "unprocessed": r"unprocessed/3T/T1w_MPR(?P<repeat>[12])/(?P=person)_3T_T1w_MPR(?P=repeat)",
    "restored": r"T1w/T1w_acpc_dc_restore",
    "restored_brain": r"T1w/T1w_acpc_dc_restore_brain",
}
_ARCHIVE = re.compile(r"(?P<person>\d{6})_3T_Structural_(?P<kind>unproc|preproc)\.zip")
_PERSON_COLUMNS = ("gender", "age", "age_in_yrs", "family_id", "qc_issue")
_BIN = re.compile(r"(\d+)-(\d+)|(\d+)\+")


class LayoutOptions(Options):
    """Choices of this layout."""

    image: Literal["unprocessed", "restored", "restored_brain"] = Field(
        "unprocessed",
        description="the scanner's image (MPR1, else MPR2); or that aligned to the anterior and "
        "posterior commissures and corrected, with its head or as a brain alone",
    )
    leave_out_qc_issues: bool = Field(
        False, description="leave out people whose QC_Issue says anything"
    )


@dataclass(frozen=True)
class _Found:
    """An image on disk or in an archive."""

    person: str
    path: str
    size: int
    crc32: str | None = None
    repeat: str | None = None
    problem: str | None = None


def read_cohort(source: Source, options: LayoutOptions) -> Reading:
    """Every T1 image of the kind asked for, one of each person kept.

    A folder comes before an archive of the same person, MPR1 before MPR2. The unrestricted table
    has ages as bins (the middle is given, with precision `bin`; 36+ is 36); only the restricted
    table has ages in years and families.

    Parameters
    ----------
    source : Source
        Tables have a column `Subject`; `Gender` and `Age`, or `Age_in_Yrs` and `Family_ID`.
    options : LayoutOptions

    Raises
    ------
    CohortError
        When the folder is absent, holds no image of the kind, or no table is found.
    """
    root = source.root
    require_folder(root, HOLDS)
    files = list(walk(root))
    found = sorted(_find(root, files, options.image), key=lambda one: (one.person, *_order(one)))
    if not found:
        raise nothing_found(root, PATTERNS, HOLDS)
    every = find_tables(source, files)
    tables = [table for table in every if _describes_people(table)]
    if not tables:
        raise CohortError(
            f"{root}: no table with the columns Subject, Gender and Age{seen(every)}",
            "download the unrestricted data as CSV (and the restricted data, if you may), and set "
            "the cohort's tables to their folder",
        )
    people = by_person(tables, "subject", _PERSON_COLUMNS)
    path_of = {column: table.path for table in tables for column in table.columns}
    scans = leave_out_withdrawn(_choose(found, people, path_of, options), source)
    return Reading(
        scans,
        files=tuple(sorted(table.path for table in tables)),
        notes=_notes(tables, people, scans),
        rows_without_scan=tuple(sorted(set(people) - {one.person for one in found})),
        name="HCP Young Adult",
    )


def _describes_people(table: Table) -> bool:
    return table.has(("subject",)) and any(name in table.columns for name in _PERSON_COLUMNS)


def _order(one: _Found) -> tuple[object, ...]:
    return (one.problem is not None, one.repeat or "", "!" in one.path, one.path)


def _find(root: Path, files: Iterable[Path], image: str) -> list[_Found]:
    pattern = re.compile(rf"(.*/)?(?P<person>\d{{6}})/{_IMAGES[image]}\.nii(\.gz)?")
    wanted = "unproc" if image == "unprocessed" else "preproc"
    found: list[_Found] = []
    for path in files:
        below = path.relative_to(root).as_posix()
        archive = _ARCHIVE.fullmatch(path.name)
        if archive and archive["kind"] == wanted:
            found += _look_into(path, below, archive["person"], pattern)
        elif match := pattern.fullmatch(below):
            repeat = match.groupdict().get("repeat")
            found.append(_Found(match["person"], below, path.stat().st_size, repeat=repeat))
    return found


def _look_into(path: Path, below: str, person: str, pattern: re.Pattern[str]) -> list[_Found]:
    """Images of an archive, from its central directory alone."""
    try:
        with zipfile.ZipFile(path) as packed:
            members = packed.infolist()
    except (zipfile.BadZipFile, OSError):
        problem = "the archive cannot be read: damaged, or its download was cut short"
        return [_Found(person, below, path.stat().st_size, problem=problem)]
    found = [
        _Found(
            person,
            f"{below}!{member.filename}",
            member.file_size,
            crc32=f"{member.CRC:08x}",
            repeat=match.groupdict().get("repeat"),
        )
        for member in members
        if (match := pattern.fullmatch(member.filename)) and match["person"] == person
    ]
    missing = [_Found(person, below, path.stat().st_size, problem="no such image in the archive")]
    return found or missing


def _choose(
    found: list[_Found],
    people: dict[str, dict[str, str | None]],
    path_of: dict[str, Path],
    options: LayoutOptions,
) -> list[Scan]:
    of_person: dict[str, list[_Found]] = defaultdict(list)
    for one in found:
        of_person[one.person].append(one)
    scans = []
    for person, images in of_person.items():
        row = people.get(person)
        for place, one in enumerate(images):
            scan = Scan(
                scan_id=f"sub-HCP{person}",
                participant_id=f"sub-HCP{person}",
                session=None,
                source_id=person,
                path=one.path,
                size=one.size,
                crc32=one.crc32,
                skull_stripped=options.image == "restored_brain",
                field_strength_tesla=3.0,
                **(_person(row, path_of) if row else {}),
            )
            if one.problem:
                scan = leave_out(scan, "selected", one.problem)
            elif row is None:
                scan = leave_out(scan, "matched", "no table describes the person")
            elif place:
                same = one.repeat == images[0].repeat
                other = "unpacked image" if same else f"MPR{images[0].repeat}"
                scan = leave_out(scan, "selected", f"the {other} of the person is used")
            elif options.leave_out_qc_issues and row.get("qc_issue"):
                scan = leave_out(scan, "kept", "the table names an issue of quality (QC_Issue)")
            scans.append(scan)
    return scans


def _person(row: Row, path_of: dict[str, Path]) -> dict[str, Any]:
    exact = number(row, ("age_in_yrs",), path_of.get("age_in_yrs", Path()))
    age = exact if exact is not None else bin_middle(row.get("age"), path_of.get("age", Path()))
    precision = None if age is None else "exact" if exact is not None else "bin"
    return {
        "age_years": age,
        "age_precision": precision,
        "sex": sex_of(row.get("gender")),
        "family_id": row.get("family_id"),
    }


def bin_middle(text: str | None, path: Path) -> float | None:
    """The middle of an age bin; an open bin is its lower bound.

    Raises
    ------
    CohortError
        When the text is no bin; names the table.

    Examples
    --------
    >>> bin_middle("26-30", Path("a.csv")), bin_middle("36+", Path("a.csv"))
    (28.0, 36.0)
    """
    if text is None:
        return None
    match = _BIN.fullmatch(text)
    if match is None:
        raise CohortError(f"{path}: age '{text}' is no bin such as 26-30 or 36+")
    return float(match[3]) if match[3] else (int(match[1]) + int(match[2])) / 2


def _notes(
    tables: list[Table], people: dict[str, dict[str, str | None]], scans: list[Scan]
) -> tuple[str, ...]:
    notes = []
    kept = [scan for scan in scans if scan.exclude_reason is None]
    if not any("family_id" in table.columns for table in tables):
        notes.append(
            "without the restricted table families are unknown: twins and siblings may stand on "
            "two sides of a split"
        )
    elif unknown := sum(scan.family_id is None for scan in kept):
        notes.append(f"the family of {unknown} people is unknown")
    bins = sum(scan.age_precision == "bin" for scan in kept)
    if bins:
        notes.append(
            f"the ages of {bins} people are those of bins: the middle, of an open bin (such as "
            "36+) the lower bound"
        )
    issues = sum(people[scan.source_id or ""].get("qc_issue") is not None for scan in kept)
    if issues:
        notes.append(
            f"{issues} people have an issue of quality (QC_Issue) and are kept; "
            "leave_out_qc_issues: true leaves them out"
        )
    return tuple(notes)
