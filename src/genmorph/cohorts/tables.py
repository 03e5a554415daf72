"""Tables that come with a cohort: found by what their header says, whatever the file is called."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import TRUTH, Source, leave_out
from genmorph.errors import CohortError

Row = Mapping[str, str | None]
SUFFIXES = (".csv", ".tsv")
_MISSING = {"", "n/a", "na", "nan", "none", "null", "-4", "-4.0"}  # -4: how ADNI writes it
_DATES = ("%Y-%m-%d", "%m/%d/%Y", "%Y/%m/%d", "%m/%d/%y", "%Y%m%d")


@dataclass(frozen=True)
class Table:
    """One table, its header in lower case.

    Attributes
    ----------
    path : Path
    columns : tuple of str
    rows : list of mapping
        Column to text; None where a value is missing.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, str | None]]

    def has(self, *alternatives: Sequence[str]) -> bool:
        """Whether the header has one spelling of each column asked for.

        Raises
        ------
        CohortError
            When it has them, but one of them more than once.
        """
        found = [[name for name in names if name in self.columns] for names in alternatives]
        if not all(found):
            return False
        twice = [name for names in found for name in names if self.columns.count(name) > 1]
        if twice:
            raise CohortError(f"{self.path}: column {twice[0]} stands in it more than once")
        return True


def seen(tables: Iterable[Table]) -> str:
    """Tables and the start of their headers, for the error that none of them is the one wanted."""
    heads = [f"{table.path.name} ({', '.join(table.columns[:6])})" for table in tables]
    return "; tables seen: " + (", ".join(heads[:5]) or "none")


def walk(root: Path) -> Iterator[Path]:
    """Every file below a folder in sorted order; not hidden ones, nor a simulation's truth."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if Path(folder) == root / TRUTH.parent and TRUTH.name in folders:
            folders.remove(TRUTH.name)
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def find_tables(source: Source, files: Iterable[Path]) -> list[Table]:
    """Tables of a cohort: of its folder of tables, else those among the `files` below its root.

    Below the root only the first two levels count: deeper tables describe one scan each.

    Raises
    ------
    CohortError
        When the folder of tables is absent, or a table cannot be read.
    """
    if source.tables is not None:
        if not source.tables.is_dir():
            raise CohortError(
                f"{source.tables}: no such folder", "set the cohort's tables in config.yaml"
            )
        files = walk(source.tables)
    else:
        files = (path for path in files if len(path.relative_to(source.root).parts) <= 2)
    return [read_table(path) for path in files if path.suffix.lower() in SUFFIXES]


def read_table(path: Path) -> Table:
    """Read a table separated by commas, tabs or semicolons, whichever its header shows.

    Raises
    ------
    CohortError
        When the file is no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")  # names of sites in older tables
    except OSError as error:
        raise CohortError(f"{path}: cannot be read ({error.strerror})") from None
    if "\0" in text:
        raise CohortError(f"{path}: not a text file", "save the table as CSV")
    header = text.split("\n", 1)[0]
    separator = max(",\t;", key=header.count)
    try:
        lines = list(csv.reader(text.splitlines(), delimiter=separator))
    except csv.Error as error:
        raise CohortError(f"{path}: not a table ({error})") from None
    if not lines:
        return Table(path, (), [])
    columns = tuple(name.strip().lower() for name in lines[0])
    rows = [dict(zip(columns, map(_value, line), strict=False)) for line in lines[1:] if any(line)]
    return Table(path, columns, rows)


def _value(text: str) -> str | None:
    text = text.strip()
    return None if text.lower() in _MISSING else text


def first(row: Row, names: Iterable[str]) -> str | None:
    """The first of some columns that has a value."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def number(row: Row, names: Iterable[str], path: Path) -> float | None:
    """A number of a row, None where it is missing.

    Raises
    ------
    CohortError
        When the text is no number; names the table.
    """
    text = first(row, names)
    try:
        return None if text is None else float(text)
    except ValueError:
        raise CohortError(f"{path}: '{text}' is not a number") from None


def sex_of(text: str | None) -> str | None:
    """`M` or `F` from the spellings M, F, male, female; None where it is missing or neither."""
    letter = (text or "").strip()[:1].upper()
    return letter if letter in ("M", "F") else None


def iso_date(text: str | None) -> str | None:
    """A date in ISO 8601, as `2006-05-02`; months come first in dates with slashes.

    None where the text is missing or no date.
    """
    for form in _DATES if text else ():
        try:
            return datetime.strptime(text.split(" ")[0].split("T")[0], form).date().isoformat()
        except ValueError:
            continue
    return None


def days_apart(one: str, other: str) -> int:
    """Days from one ISO date to another, without sign."""
    return abs((date.fromisoformat(one) - date.fromisoformat(other)).days)


def by_person(
    tables: Iterable[Table], key: str, columns: Iterable[str]
) -> dict[str, dict[str, str | None]]:
    """Some columns of several tables that have one row a person, joined by the person's id.

    Raises
    ------
    CohortError
        When two rows of a person differ in a column that both have; names the tables.
    """
    people: dict[str, dict[str, str | None]] = {}
    where: dict[tuple[str, str], Path] = {}
    columns = tuple(columns)
    for table in tables:
        for row in table.rows:
            person = row.get(key)
            if person is None:
                continue
            known = people.setdefault(person, {})
            for column in columns:
                value = row.get(column)
                if value is None:
                    continue
                earlier = known.setdefault(column, value)
                source = where.setdefault((person, column), table.path)
                if earlier != value:
                    raise CohortError(
                        f"{source} and {table.path} differ on {person}: "
                        f"{column} is '{earlier}' and '{value}'",
                        "keep one of the two tables, or correct one",
                    )
    return people


def people_withdrawn(lists: Iterable[Path]) -> frozenset[str]:
    """Ids of the people who withdrew their consent, one a line.

    Raises
    ------
    CohortError
        When a list cannot be read.
    """
    withdrawn: set[str] = set()
    for path in lists:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise CohortError(
                f"{path}: the list of withdrawn people cannot be read ({error.strerror})",
                "set the cohort's withdrawn in config.yaml to the list, one id a line",
            ) from None
        except UnicodeDecodeError:
            raise CohortError(
                f"{path}: the list of withdrawn people is not a text file",
                "save it as text (UTF-8), one id a line",
            ) from None
        withdrawn |= {line.split(",")[0].strip().strip('"') for line in lines}
    return frozenset(withdrawn - {""})


def leave_out_withdrawn(scans: Iterable[Scan], source: Source) -> list[Scan]:
    """The scans, those of people who withdrew left out at stage `kept`.

    A person is named by the id of the source or of the study.
    """
    gone = people_withdrawn([source.withdrawn] if source.withdrawn else [])
    return [
        # whatever else is wrong with the scan, that its person withdrew comes first
        leave_out(replace(scan, shard=None), "kept", "withdrawn")
        if gone & {scan.source_id, scan.participant_id}
        else scan
        for scan in scans
    ]
