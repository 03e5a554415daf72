"""What a control says: a number, and the interval it has to lie in."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from genmorph.errors import ControlError
from genmorph.files import atomic_path, read_json, write_json

COLUMNS = ("control", "estimator", "n", "expected_low", "expected_high", "measured", "pass")
# as the cells of every table; `comparable` says why no paper's number stands beside them
CELL_COLUMNS = ("row", "column", "value", "measurement", "key", "format", "comparable")
PASSED, FAILED, PRINTED = "yes", "no", "printed"
FORMAT = ".4g"


@dataclass(frozen=True)
class Row:
    """One control.

    Attributes
    ----------
    control : str
        What was done to data whose answer is known.
    estimator : str
        What measured it, with the settings that decide the number.
    n : str
        How many of what.
    measured : float
        NaN when the measure refused to give a number where one was expected: it fails.
    low, high : float, optional
        Interval it has to lie in, ends included; a missing end is open. Without both the number is
        printed only, and nothing is demanded of it.
    """

    control: str
    estimator: str
    n: str
    measured: float
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> str:
        """'yes', 'no', or 'printed' where nothing is demanded."""
        if self.low is None and self.high is None:
            return PRINTED
        if math.isnan(self.measured):
            return FAILED
        above = self.low is None or self.measured >= self.low
        below = self.high is None or self.measured <= self.high
        return PASSED if above and below else FAILED


@dataclass(frozen=True)
class Curve:
    """A response to be drawn: `y` over `x`, with the spread of each point where there is one."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str
    y_label: str
    spread: tuple[float, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a group of controls gives: rows, and curves by name."""

    rows: tuple[Row, ...]
    curves: Mapping[str, Curve] = field(default_factory=dict)


def write_result(path: Path, group: str, result: Result, settings: Mapping[str, Any]) -> None:
    """Write a group's result as JSON."""
    # a measure that gave no number is null in JSON
    rows = [
        asdict(row) | {"measured": None if math.isnan(row.measured) else row.measured}
        for row in result.rows
    ]
    curves = {name: asdict(curve) for name, curve in result.curves.items()}
    write_json(path, {"group": group, "settings": dict(settings), "rows": rows, "curves": curves})


def read_result(path: Path) -> Result:
    """Read what `write_result` wrote."""
    content = read_json(path)
    rows = tuple(
        Row(**entry | {"measured": math.nan if entry["measured"] is None else entry["measured"]})
        for entry in content["rows"]
    )
    curves = {
        name: Curve(**{key: tuple(v) if isinstance(v, list) else v for key, v in curve.items()})
        for name, curve in content["curves"].items()
    }
    return Result(rows, curves)


def write_table(files: Sequence[Path], out: Path, root: Path) -> list[Row]:
    """Write `controls.csv`, the same as Markdown, and `controls_cells.csv`.

    Parameters
    ----------
    files : sequence of Path
        Results of the groups.
    out : Path
    root : Path
        Results root: cells name the files relative to it.

    Returns
    -------
    list of Row
        All rows, in order.
    """
    rows, cells = [], []
    for file in files:
        for number, row in enumerate(read_result(file).rows):
            rows.append(row)
            cells.append(
                {
                    "row": row.control,
                    "column": row.estimator,
                    "value": repr(row.measured),
                    "measurement": Path(os.path.relpath(file, root)).as_posix(),
                    "key": f"rows.{number}.measured",
                    "format": FORMAT,
                    "comparable": "no paper reports it",
                }
            )
    lines = [as_line(row) for row in rows]
    _write_csv(out, COLUMNS, lines)
    _write_csv(out.with_name(f"{out.stem}_cells.csv"), CELL_COLUMNS, cells)
    text = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    text += [f"| {' | '.join(str(line[key]) for key in COLUMNS)} |" for line in lines]
    with atomic_path(out.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join(text) + "\n", encoding="utf-8")
    return rows


def as_line(row: Row) -> dict[str, str]:
    """A row as the table prints it."""

    def number(value: float | None) -> str:
        if value is None:
            return ""
        return "n/a" if math.isnan(value) else format(value, FORMAT)

    return {
        "control": row.control,
        "estimator": row.estimator,
        "n": row.n,
        "expected_low": number(row.low),
        "expected_high": number(row.high),
        "measured": number(row.measured),
        "pass": row.verdict,
    }


def check_table(path: Path) -> int:
    """Number of controls of a table that were held to an interval, when every one passed.

    Raises
    ------
    ControlError
        When there is no table, one failed, or none was held to anything.
    """
    if not path.is_file():
        raise ControlError(f"{path}: no such table", "make it with `genmorph controls table`")
    with path.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    failed = [line for line in lines if line["pass"] == FAILED]
    if failed:
        told = "; ".join(
            f"{line['control']} ({line['estimator']}): {line['measured']}, expected "
            f"{line['expected_low'] or 'any'} to {line['expected_high'] or 'any'}"
            for line in failed
        )
        raise ControlError(f"{path}: {len(failed)} of {len(lines)} controls failed: {told}")
    passed = sum(line["pass"] == PASSED for line in lines)
    if not passed:
        raise ControlError(f"{path}: no control was held to anything")
    return passed


def _write_csv(path: Path, columns: Sequence[str], lines: Iterable[Mapping[str, str]]) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
