"""Layout `ukb`: T1 bulk zips of UK Biobank, read in place, with the project's tables.

A scan is `<eid>_20252_<instance>_<array>.zip`; the same names lie under the research platform's
`Bulk/Brain MRI/T1/`. Instance 2 is the first imaging visit, 3 the repeat. Tables are whatever
files have an `eid` column; their columns are known by field, instance and array, however spelled.
The ids of people belong to one application and are never published: ingest gives pseudonyms.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any, Literal

from pydantic import Field

from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import (
    Reading,
    Source,
    leave_out,
    nothing_found,
    require_folder,
)
from genmorph.cohorts.tables import people_withdrawn
from genmorph.errors import CohortError
from genmorph.validation import Options

HOLDS = "<eid>_20252_<instance>_0.zip"
PATTERNS = ("**/[0-9]*_20252_[0-9]_[0-9].zip",)
PSEUDONYMS = True

_ZIP = re.compile(r"(?P<eid>\d+)_20252_(?P<instance>\d+)_(?P<array>\d+)\.zip")
_WITHDRAWN = re.compile(r"w\d+_\d+\.csv")
_TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
_EID = ("eid", "f.eid", "n_eid", "participant.eid")
_SPELLINGS = (
    re.compile(r"(?P<field>\d+)-(?P<instance>\d+)\.(?P<array>\d+)"),  # 21003-2.0
    # f.21003.2.0, X21003.2.0
    re.compile(r"(?:f\.|X)(?P<field>\d+)\.(?P<instance>\d+)\.(?P<array>\d+)"),
    # p21003_i2, participant.p21003_i2_a0, p31
    re.compile(r"(?:participant\.)?p(?P<field>\d+)(?:_i(?P<instance>\d+))?(?:_a(?P<array>\d+))?"),
    # age_when_attended_assessment_centre_f21003_2_0, n_21003_2_0
    re.compile(r"(?:\w*_)?(?:f|[nst]_)(?P<field>\d+)_(?P<instance>\d+)_(?P<array>\d+)"),
)

SEX, BIRTH_YEAR, AGE, DATE, CENTRE = 31, 34, 21003, 53, 54
VENTRICLE_NORMALISED, VENTRICLE, BRAIN_NORMALISED, BRAIN = 25003, 25004, 25009, 25010
VOLUMES = {
    "ventricle_normalised_ml": VENTRICLE_NORMALISED,
    "ventricle_ml": VENTRICLE,
    "brain_normalised_ml": BRAIN_NORMALISED,
    "brain_ml": BRAIN,
}
FIELDS = (SEX, BIRTH_YEAR, AGE, DATE, CENTRE, *VOLUMES.values())
LEAST_BRAIN_ML, MOST_BRAIN_ML = 200.0, 4000.0  # beyond them a volume is not in mm3
_SEXES = {"0": "F", "1": "M", "female": "F", "male": "M", "f": "F", "m": "M"}

Cell = tuple[int, int, int]  # field, instance, array


class LayoutOptions(Options):
    """Choices of this layout."""

    image: Literal[
        "T1/T1.nii.gz",
        "T1/T1_orig_defaced.nii.gz",
        "T1/T1_unbiased.nii.gz",
        "T1/T1_brain.nii.gz",
        "T1/T1_unbiased_brain.nii.gz",
    ] = Field("T1/T1.nii.gz", description="member of the zip; `brain` ones have no skull")
    instances: tuple[int, ...] = Field((2, 3), description="2: first imaging visit, 3: repeat")


def parse_column(name: str) -> Cell | None:
    """Field, instance and array of a column, in any spelling; None when it is no field.

    `21003-2.0`, `f.21003.2.0`, `age_when_attended_assessment_centre_f21003_2_0`, `p21003_i2` and
    `participant.p21003_i2` are the same column.
    """
    for spelling in _SPELLINGS:
        if match := spelling.fullmatch(name.strip()):
            return int(match["field"]), int(match["instance"] or 0), int(match["array"] or 0)
    return None


def read_cohort(source: Source, options: LayoutOptions) -> Reading:
    """Every T1 zip, in the order of its name; scans left out say why.

    Parameters
    ----------
    source : Source
        Without `tables`, tables are searched below the root. Withdrawal lists (`w<app>_<date>.csv`)
        that lie with the tables count too: nobody who withdrew is ever used.
    options : LayoutOptions

    Raises
    ------
    CohortError
        When the folder is absent, holds no zip, there is no table with the ages, two tables
        disagree about a person, or a value cannot be one.
    """
    root = source.root
    require_folder(root, HOLDS)
    files = list(_walk(root))
    zips = [path for path in files if _ZIP.fullmatch(path.name)]
    if not zips:
        raise nothing_found(root, PATTERNS, HOLDS)
    beside = files if source.tables is None else list(_walk(source.tables))
    tables = [
        path
        for path in beside
        if path.suffix in _TABLE_SUFFIXES and not _WITHDRAWN.fullmatch(path.name)
    ]
    lists = [path for path in beside if _WITHDRAWN.fullmatch(path.name)]
    if source.withdrawn is not None and source.withdrawn not in lists:
        lists.append(source.withdrawn)
    scanned = {_ZIP.fullmatch(path.name)["eid"] for path in zips}
    people, read, without_scan = _read_tables(tables, scanned, options.instances)
    fields = {cell[0] for values in people.values() for cell in values}
    if AGE not in fields and not {BIRTH_YEAR, DATE} <= fields:
        raise CohortError(
            f"{source.tables or root}: no table with an eid column and field {AGE} (age when "
            f"attended) for the people scanned; tables seen: "
            f"{', '.join(path.name for path in tables) or 'none'}",
            "put the table extracted for your application below the root, or name its folder in "
            "the cohort's `tables`; columns such as 21003-2.0, f.21003.2.0 and p21003_i2 are known",
        )
    withdrawn = people_withdrawn(lists)
    scans = _one_per_visit([_examine(root, path, people, withdrawn, options) for path in zips])
    _require_mm3(scans)
    notes = ["ages are whole years, as field 21003 gives them"]
    if any(scan.age_precision == "bin" for scan in scans):
        notes.append("some ages are the year of the visit less the year of birth")
    if not lists:
        notes.append("no withdrawal list was given: use `withdrawn`, and renew it")
    return Reading(
        scans,
        files=(*read, *lists),
        notes=tuple(notes),
        rows_without_scan=tuple(without_scan),
        name="UK Biobank",
    )


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder in a fixed order; derived data are no raw tree."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "derivatives")
        yield from (Path(place, name) for name in sorted(names))


# -- one scan --------------------------------------------------------------------------------------


def _examine(
    root: Path,
    path: Path,
    people: Mapping[str, Mapping[Cell, str]],
    withdrawn: frozenset[str],
    options: LayoutOptions,
) -> Scan:
    match = _ZIP.fullmatch(path.name)
    eid, instance = match["eid"], int(match["instance"])
    session = f"ses-{instance}"
    found = Scan(
        scan_id=f"sub-{eid}_{session}",
        participant_id=f"sub-{eid}",
        session=session,
        source_id=eid,
        path=f"{path.relative_to(root).as_posix()}!{options.image}",
        size=path.stat().st_size,
        skull_stripped="brain" in options.image,
    )
    if eid not in people:
        return leave_out(found, "matched", "no table has a row for this person")
    scan = replace(found, **_describe(people[eid], instance))
    if instance not in options.instances:
        return leave_out(scan, "selected", f"instance {instance} is not among those chosen")
    member, problem = _member(path, options.image)
    if member is None:
        return leave_out(scan, "selected", problem)
    scan = replace(scan, size=member.file_size, crc32=f"{member.CRC:08x}")
    if eid in withdrawn:
        return leave_out(scan, "kept", "withdrew consent")
    if scan.age_years is None:
        return leave_out(scan, "kept", "no age at this visit in the tables")
    return scan


def _require_mm3(scans: Iterable[Scan]) -> None:
    """Raise when brains are of no human size: then volumes are not in cubic millimetres."""
    brains = [ml for scan in scans if (ml := scan.brain_ml or scan.brain_normalised_ml)]
    if brains and not LEAST_BRAIN_ML <= median(brains) <= MOST_BRAIN_ML:
        raise CohortError(
            f"by the tables (field {BRAIN} or {BRAIN_NORMALISED}) the median brain has "
            f"{median(brains):.4g} ml",
            "export volumes in mm3, as the source has them",
        )


def _one_per_visit(scans: list[Scan]) -> list[Scan]:
    """The first usable image of each visit, by its name; a repeat or a second copy is left out."""
    used: set[str] = set()
    chosen = []
    for scan in sorted(scans, key=lambda scan: scan.path.rsplit("/", 1)[-1]):
        if scan.exclude_reason is None and scan.scan_id in used:
            scan = leave_out(scan, "selected", "a further image of the same visit")
        elif scan.exclude_reason is None:
            used.add(scan.scan_id)
        chosen.append(scan)
    return chosen


def _member(path: Path, image: str) -> tuple[zipfile.ZipInfo | None, str]:
    """The image's entry in an archive's directory, or why there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError):
        return None, "the archive is damaged or was not downloaded to its end"
    for name in entries:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if name.startswith(("/", "\\")) or ".." in parts or re.match("[A-Za-z]:", name):
            return None, f"the archive holds a member that leads outside of it: {name}"
    if image in entries:
        return entries[image], ""
    if any("unusable" in name for name in entries):
        return None, "the source calls the scan unusable"
    return None, f"the archive holds no {image}"


def _describe(values: Mapping[Cell, str], instance: int) -> dict[str, Any]:
    """Manifest columns of a person at one visit."""

    def of(field: int, at: int = instance) -> str | None:
        return values.get((field, at, 0))

    age, precision = _number(of(AGE), AGE), "exact"
    scanned, born = of(DATE), of(BIRTH_YEAR, 0)
    if age is None and scanned and born:
        age, precision = _number(scanned[:4], DATE) - _number(born, BIRTH_YEAR), "bin"
    volumes = {
        column: None if mm3 is None else mm3 / 1000.0
        for column, field in VOLUMES.items()
        for mm3 in [_number(of(field), field)]
    }
    return {
        "age_years": age,
        "age_precision": None if age is None else precision,
        "sex": _sex(of(SEX, 0)),
        "acquisition_date": of(DATE),
        "site": of(CENTRE),
        **volumes,  # the tables have cubic millimetres
    }


def _number(text: str | None, field: int) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise CohortError(f"field {field} is '{text}' in the tables, which is no number") from None


def _sex(text: str | None) -> str | None:
    if text is None:
        return None
    word = text.lower().removesuffix(".0")
    if word not in _SEXES:
        raise CohortError(
            f"field {SEX} (sex) is '{text}' in the tables", "0 is female, 1 male; or those words"
        )
    return _SEXES[word]


# -- tables ----------------------------------------------------------------------------------------


def _read_tables(
    tables: Iterable[Path], scanned: set[str], instances: tuple[int, ...]
) -> tuple[dict[str, dict[Cell, str]], list[Path], list[str]]:
    """Values of the people scanned, the tables that had any, and people with a visit but no scan.

    Raises
    ------
    CohortError
        When two tables, or two rows, disagree about a person.
    """
    import pandas as pd

    people: dict[str, dict[Cell, str]] = {}
    origin: dict[tuple[str, Cell], Path] = {}
    read, visited = [], set()
    for path in tables:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            header = stream.readline().rstrip("\r\n")
        separator = "\t" if "\t" in header else ","
        names = [name.strip().strip('"') for name in header.split(separator)]
        eid = next((name for name in names if name in _EID), None)
        cells = {name: cell for name in names if (cell := parse_column(name)) is not None}
        cells = {name: cell for name, cell in cells.items() if cell[0] in FIELDS}
        if eid is None or not cells:
            continue
        read.append(path)
        try:
            table = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                usecols=[eid, *cells],
                encoding="utf-8-sig",
                encoding_errors="replace",
                skipinitialspace=True,
            )
        except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
            raise CohortError(f"{path}: cannot be read as a table ({error})") from None
        table = table[table[eid].notna()]
        ages = [name for name, cell in cells.items() if cell[0] == AGE and cell[1] in instances]
        visited |= set(table[eid][table[ages].notna().any(axis=1)])
        for row in table[table[eid].isin(scanned)].to_dict("records"):
            person = people.setdefault(row[eid], {})
            for name, cell in cells.items():
                value = row[name]
                if not isinstance(value, str):
                    continue
                key = (row[eid], cell)
                if not _same(person.setdefault(cell, value.strip()), value.strip()):
                    raise CohortError(
                        f"{path}: field {cell[0]} of one person differs from {origin[key]}",
                        "keep one of the two tables",
                    )
                origin.setdefault(key, path)
    return people, read, sorted(visited - scanned)


def _same(one: str, other: str) -> bool:
    """Whether two texts are one value: 62 and 62.0 are."""
    if one == other:
        return True
    try:
        return float(one) == float(other)
    except ValueError:
        return False
