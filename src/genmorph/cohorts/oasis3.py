"""OASIS-3: longitudinal scans in BIDS names, whose sessions are days since the person's entry."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import Reading, leave_out
from genmorph.cohorts.tables import Table, by_person, first, number, seen
from genmorph.errors import CohortError

PATTERNS = ("**/sub-OAS3<number>_ses-d<day>[_run-<n>]_T1w.nii[.gz]",)
NEAREST_RATING_DAYS = 365
_NAME = re.compile(
    r"sub-(?P<person>OAS3\d{4})_(?P<session>ses-d(?P<day>\d+))(_[a-z]+-[A-Za-z0-9]+)*_T1w\.nii(\.gz)?"
)
_PERSON = ("oasisid", "subject")
_AGE = ("ageatentry",)
_SEX = ("gender", "sex", "m/f")
_RATING = ("cdrtot", "cdr")
_DAY = ("days_to_visit",)
_DAY_IN_ID = re.compile(r"_d(\d+)$")
_SEXES = {"1": "M", "2": "F", "M": "M", "F": "F", "MALE": "M", "FEMALE": "F"}


def is_there(files: Iterable[Path]) -> bool:
    """Whether any file has the name of an OASIS-3 scan."""
    return any(_NAME.fullmatch(path.name) for path in files)


def read(root: Path, files: Iterable[Path], tables: Sequence[Table]) -> Reading:
    """Every T1 scan of OASIS-3, the first by name of each session kept.

    Age: the clinical table's age at entry plus the session's days. Diagnosis: the Clinical
    Dementia Rating nearest in days, within a year, `CN` of 0 and `AD` above.

    Raises
    ------
    CohortError
        When no table has ages at entry, or a table cannot be understood.
    """
    people = [table for table in tables if table.has(_PERSON, _AGE)]
    ratings = [table for table in tables if table.has(_PERSON, _RATING)]
    if not people:
        raise CohortError(
            f"{root}: no table with the columns OASISID and AgeatEntry{seen(tables)}",
            "download OASIS3_demographics.csv (and OASIS3_UDSb4_cdr.csv for diagnoses), and set "
            "the cohort's tables to their folder",
        )
    described = _described(people)
    rated = _rated(ratings)
    scans: dict[str, Scan] = {}
    left_out: list[Scan] = []
    for path in sorted(files, key=lambda path: (path.name, path)):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        scan = _scan(root, path, match, described, rated)
        if match["person"] not in described:
            left_out.append(leave_out(scan, "matched", "no table describes the person"))
        elif scan.scan_id in scans:
            left_out.append(leave_out(scan, "selected", "an earlier image of the session is used"))
        else:
            scans[scan.scan_id] = scan
    every = [*scans.values(), *left_out]
    every.sort(key=lambda scan: (scan.scan_id, scan.exclude_reason is not None, scan.path))
    found = {scan.source_id for scan in every}
    notes = ("diagnosis: CN is a Clinical Dementia Rating of 0 within a year, AD one above 0",)
    if not ratings:
        notes = ("no table of Clinical Dementia Ratings (CDRTOT): no diagnoses",)
    return Reading(
        every,
        files=tuple(sorted({table.path for table in (*people, *ratings)})),
        notes=notes,
        rows_without_scan=tuple(sorted(set(described) - found)),
        name="OASIS-3",
    )


def _described(tables: list[Table]) -> dict[str, tuple[float, str | None]]:
    """Age at entry and sex of each person."""
    described = {}
    for key in _PERSON:
        for person, row in by_person(tables, key, (*_AGE, *_SEX)).items():
            age = number(row, _AGE, tables[0].path)
            if age is not None:
                described[person] = (age, _SEXES.get((first(row, _SEX) or "").upper()))
    return described


def _rated(tables: list[Table]) -> dict[str, list[tuple[int, float]]]:
    """Days since entry and Clinical Dementia Rating of each person's visits."""
    rated: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for table in tables:
        for row in table.rows:
            person, rating = first(row, _PERSON), number(row, _RATING, table.path)
            day = number(row, _DAY, table.path)
            if day is None:  # older tables say it only in the visit's id, OAS30001_..._d0129
                ends = (_DAY_IN_ID.search(value) for value in row.values() if value)
                day = next((float(end[1]) for end in ends if end), None)
            if person and rating is not None and day is not None:
                rated[person].append((int(day), rating))
    return {person: sorted(visits) for person, visits in rated.items()}


def diagnosis_of(rating: float | None) -> str | None:
    """`CN` of a Clinical Dementia Rating of 0, `AD` of one above, None without one."""
    return None if rating is None else "AD" if rating > 0 else "CN"


def _scan(
    root: Path,
    path: Path,
    match: re.Match[str],
    described: dict[str, tuple[float, str | None]],
    rated: dict[str, list[tuple[int, float]]],
) -> Scan:
    person, day = match["person"], int(match["day"])
    entry, sex = described.get(person, (None, None))
    near = min(rated.get(person, []), key=lambda visit: abs(visit[0] - day), default=None)
    rating = near[1] if near and abs(near[0] - day) <= NEAREST_RATING_DAYS else None
    return Scan(
        scan_id=f"sub-{person}_{match['session']}",
        participant_id=f"sub-{person}",
        session=match["session"],
        source_id=person,
        path=path.relative_to(root).as_posix(),
        size=path.stat().st_size,
        skull_stripped=False,
        age_years=None if entry is None else round(entry + day / 365.25, 2),
        age_precision=None if entry is None else "exact",
        sex=sex,
        diagnosis=diagnosis_of(rating),
    )
