"""Checks of a paper's printed numbers against each other: no data needed, nothing measured."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Literal

from genmorph.errors import MeasurementError
from genmorph.files import atomic_path

CONSISTENT, INCONSISTENT, IMPLIES = "consistent", "inconsistent", "implies: "


@dataclass(frozen=True)
class Check:
    """What some printed numbers of a paper say about each other.

    Attributes
    ----------
    study : str
    check : str
        Name of the check.
    shows : str
        What it can show, and what it cannot.
    printed : str
        The numbers as the paper prints them.
    recomputed : str
        What follows from them.
    verdict : str
        `consistent`, `inconsistent`, or `implies: ...` where the numbers settle something that the
        paper does not state.

    Raises
    ------
    MeasurementError
        When the verdict is none of these.
    """

    study: str
    check: str
    shows: str
    printed: str
    recomputed: str
    verdict: str

    def __post_init__(self) -> None:
        implied = self.verdict.removeprefix(IMPLIES)
        if self.verdict not in (CONSISTENT, INCONSISTENT) and implied in ("", self.verdict):
            raise MeasurementError(
                f"{self.study}, {self.check}: no verdict '{self.verdict}'",
                f"{CONSISTENT}, {INCONSISTENT} or {IMPLIES}...",
            )


COLUMNS = tuple(field.name for field in fields(Check))


def consistent(holds: bool) -> str:
    """The verdict of a check that holds or does not."""
    return CONSISTENT if holds else INCONSISTENT


def read_reported(
    path: Path, table: str, part: Literal["value", "spread"] = "value"
) -> dict[str, dict[str, str]]:
    """Numbers of one table of a `reported.csv` as printed: {row: {column: text}}.

    `part` says which: the value, or the ± beside it ('' where none is printed).
    """
    rows: dict[str, dict[str, str]] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            if line["table"] == table:
                rows.setdefault(line["row"], {})[line["column"]] = line[part]
    if not rows:
        raise MeasurementError(f"{path}: no table '{table}'", "name a table of that file")
    return rows


def rounding_interval(text: str) -> tuple[float, float]:
    """The numbers that print as `text`: half a unit of its last digit to either side.

    Examples
    --------
    >>> rounding_interval("0.25")
    (0.245, 0.255)
    """
    value = Decimal(text)
    half = Decimal((0, (5,), int(value.as_tuple().exponent) - 1))
    return float(value - half), float(value + half)


def write_checks(checks: Sequence[Check], out: Path) -> None:
    """Write `out` (CSV) and, beside it, the same as Markdown."""
    rows = [asdict(check) for check in checks]
    with (
        atomic_path(out) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        _markdown_row(COLUMNS),
        _markdown_row("---" for _ in COLUMNS),
        *(_markdown_row(row.values()) for row in rows),
        "",
        "Printed numbers of the papers, checked against each other. No data were used: a check "
        "that holds does not make a number true.",
    ]
    with atomic_path(out.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _markdown_row(words: Iterable[str]) -> str:
    return "| " + " | ".join(word.replace("|", r"\|") for word in words) + " |"
