"""The shape of a paper's table: rows, columns, and what its reported numbers were obtained with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Column:
    """One measure of a table.

    Attributes
    ----------
    title : str
        Its name; `{label}` takes the measurement's own label (FID, FD of another extractor) and
        what must be said of it, `{extractor}` the extractor's name, `{grid}` the grid measured on.
    measure, key : str
        Measurement, and the value in it.
    form : str
        How a value prints.
    reported : str or None
        Column of `reported.csv`; None when the paper does not have it.
    reported_title : str
        What the paper calls it.
    part : {'values', 'spread'}
        Whether it shows the value or the measurement's own spread of it.
    paper : dict
        Settings that the paper's numbers of this column were obtained with.
    runs : str
        Which run of a row it shows: `{row}-64` where a row has one on each of several grids.
    """

    title: str
    measure: str
    key: str
    form: str
    reported: str | None = None
    reported_title: str = ""
    part: str = "values"
    paper: Mapping[str, Any] = field(default_factory=dict)
    runs: str = "{row}"

    def run_of(self, row: Row) -> str:
        """The run that this column shows in a row."""
        return self.runs.format(row=row.run)


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes
    ----------
    title : str
    run : str
        Model or trivial reference whose run is shown, as a column's `runs` names it.
    reported : str or None
        Row of `reported.csv`.
    """

    title: str
    run: str
    reported: str | None = None


@dataclass(frozen=True)
class Table:
    """Shape of a table.

    Attributes
    ----------
    name : str
        Name in `reported.csv`.
    rows : tuple of Row
        Empty when the specification names the runs; each is a row then.
    columns : tuple of Column
    reported : Path
        The paper's numbers: table, row, column, value, spread.
    paper : dict
        What all reported numbers were obtained with: compared with each measurement's settings.
        A column adds its own.
    yardsticks : tuple of (str, str, str, str)
        Row that the others must beat in a measure's value, lower being better, and the remark if
        one does not.
    apart : bool
        Reported numbers stand in a block of their own as long as one was obtained on another grid
        than is measured on.
    best : tuple of (str, str, str)
        Measure and value whose least row is marked, and the remark.
    notes : tuple of str
    """

    name: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    reported: Path
    paper: Mapping[str, Any]
    yardsticks: tuple[tuple[str, str, str, str], ...] = ()
    apart: bool = False
    best: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def patterns(self) -> tuple[str, ...]:
        """The different `runs` of the columns, one for each grid."""
        return tuple(dict.fromkeys(column.runs for column in self.columns))

    def runs_of(self, row: Row) -> tuple[str, ...]:
        """Every run that a row shows."""
        return tuple(pattern.format(row=row.run) for pattern in self.patterns)

    def with_rows(self, runs: Sequence[str] | None) -> Table:
        """The same table with a row for each run, when the specification names them."""
        return self if runs is None else replace(self, rows=tuple(Row(run, run) for run in runs))
