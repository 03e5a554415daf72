"""Check `cells`: every cell of a table, recomputed from the measurement it names."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genmorph.errors import AuditError, GenmorphError
from genmorph.files import read_json
from genmorph.metrics.cells import measured_cell
from genmorph.provenance.audit.findings import Finding, verdict

COLUMNS = (
    "row",
    "column",
    "source",
    "printed",
    "measurement",
    "key",
    "format",
    "reported",
    "comparable",
)


def cells_of(table: Path) -> list[dict[str, str]]:
    """The cells of a table in long form, from the file beside it.

    Raises
    ------
    AuditError
        When there is no such file, or it does not hold cells.
    """
    path = table.with_name(f"{table.stem}_cells.csv")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            cells = list(csv.DictReader(stream))
    except FileNotFoundError:
        raise AuditError(f"{path}: no such file", "name a table that the workflow wrote") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise AuditError(f"{path}: cannot be read: {error}") from None
    for number, cell in enumerate(cells, start=1):
        lacking = [column for column in COLUMNS if cell.get(column) is None]
        if lacking:
            raise AuditError(f"{path}: cell {number} has no {', '.join(lacking)}")
    return cells


def check_cells(root: Path, record: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare a table with its cells, and each cell with its measurement.

    Parameters
    ----------
    root : Path
        Results root.
    record : mapping
        Record of the command that wrote the table.
    """
    table = record["outputs"][0]["path"]
    try:
        cells = cells_of(root / table)
        with (root / table).open(newline="", encoding="utf-8") as stream:
            shown = {line["row"]: line for line in csv.DictReader(stream)}
    except (OSError, GenmorphError, KeyError, csv.Error, UnicodeDecodeError) as error:
        yield Finding("cells", "fail", table, f"cannot be read: {error}")
        return
    for cell in cells:
        row, column = cell["row"], cell["column"]
        subject = f"{table} [{row}, {column}]"
        printed, in_table = cell["printed"], shown.get(row, {}).get(column)
        if in_table != printed:
            message = f"table prints {in_table}, cell {printed}"
            yield Finding("cells", "fail", subject, message)
        elif cell["source"] != "reported":
            yield _recompute(root, cell, subject)


def _recompute(root: Path, cell: Mapping[str, str], subject: str) -> Finding:
    try:
        expected = measured_cell(
            [read_json(root / path) for path in cell["measurement"].split()],
            cell["key"],
            cell["format"],
            reported=cell["reported"],
            comparable=cell["comparable"],
        )
    except (GenmorphError, KeyError, TypeError, ValueError) as error:
        return Finding("cells", "fail", subject, f"its measurement cannot be read: {error}")
    differing = [
        f"measured {key} {value or 'none'}, cell {cell[key] or 'none'}"
        for key, value in expected.items()
        if cell[key] != value
    ]
    return verdict("cells", not differing, subject, "; ".join(differing))
