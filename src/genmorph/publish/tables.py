"""A paper's table: the reported number beside the measured one, and every cell in long form."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genmorph.files import atomic_path
from genmorph.metrics.cells import NOT_AVAILABLE
from genmorph.publish.cells import (
    CELL_COLUMNS,
    Measured,
    at_grid,
    cells,
    read_measurements,
    read_trainings,
)
from genmorph.publish.shapes import Column, Row, Table

# what a study's room and the command need of tables stands here
__all__ = ["Column", "Row", "Table", "read_measurements", "read_trainings", "write_table"]


def write_table(
    table: Table,
    measured: Sequence[Measured],
    trainings: Sequence[Measured],
    parameters: Mapping[str, Any],
    out: Path,
) -> None:
    """Write `out` (CSV) with its `.md`, `.tex` and `_cells.csv`.

    Parameters
    ----------
    table : Table
    measured, trainings : sequence of Measured
        As `read_measurements` and `read_trainings` give them.
    parameters : mapping
        `scale`, `caption`, `grids` of the runs, `absent` (sentences on measures that could not be
        taken at all), and `rows`: the runs, when the table does not name
        them.
    out : Path

    Raises
    ------
    MeasurementError
        When two cells of a column were measured with different settings.
    """
    table = table.with_rows(parameters.get("rows"))
    found = cells(table, measured, trainings, parameters)
    titles = list(dict.fromkeys(cell["column"] for cell in found))
    lines = []
    for row in table.rows:
        own = {cell["column"]: cell["printed"] for cell in found if cell["row"] == row.title}
        runs = [entry for entry in measured if entry.run in table.runs_of(row)]
        lines.append(
            {
                "row": row.title,
                **{title: own.get(title, NOT_AVAILABLE) for title in titles},
                "n": _counts(runs),
                "remark": _remark(table, row, measured, parameters["grids"]),
                "data": _data(runs),
            }
        )
    header = ["row", *titles, "n", "remark", "data"]
    _write_csv(out, header, lines)
    _write_csv(out.with_name(f"{out.stem}_cells.csv"), CELL_COLUMNS, found)
    notes = _notes(table, measured, trainings, parameters)
    shown = [title for title in header if title != "data"]
    _write_text(out.with_suffix(".md"), _markdown(shown, lines, notes))
    _write_text(out.with_suffix(".tex"), _latex(shown, lines, notes))


def _remark(
    table: Table, row: Row, measured: Sequence[Measured], grids: Mapping[str, Sequence[int]]
) -> str:
    """What must be said of a row: where it is best, where it is no better than a yardstick."""
    remarks = []
    for runs in table.patterns:
        where = at_grid(table, runs, grids)
        of_grid = {runs.format(row=other.run) for other in table.rows}
        own = runs.format(row=row.run)
        for measure, key, remark in table.best:
            means = _means(measured, measure, key, of_grid)
            if means and own == min(means, key=means.__getitem__):
                remarks.append(remark + where)
        for yardstick, measure, key, remark in table.yardsticks:
            means = _means(measured, measure, key, of_grid)
            other = runs.format(row=yardstick)
            if own != other and {own, other} <= set(means) and means[own] >= means[other]:
                remarks.append(remark + where)
    return "; ".join(remarks)


def _means(
    measured: Sequence[Measured], measure: str, key: str, runs: Collection[str]
) -> dict[str, float]:
    """Mean of a measure's value over the seeds of each of some runs that has it."""
    values: dict[str, list[float]] = {}
    for entry in measured:
        of_measure = entry.content["measure"] == measure and entry.run in runs
        if of_measure and key in entry.content["values"]:
            values.setdefault(entry.run, []).append(entry.content["values"][key])
    return {run: sum(own) / len(own) for run, own in values.items()}


def _counts(runs: Sequence[Measured]) -> str:
    parts = []
    for entry in runs:
        counts = entry.content["n"]
        made = counts.get("generated_scans", counts.get("scans"))
        sides = [side for side in (made, counts.get("reference_scans")) if side is not None]
        part = f"{entry.content['measure']} {' vs '.join(map(str, sides)) or NOT_AVAILABLE}"
        if "reference_people" in counts:
            part += f" ({counts['reference_people']} people)"
        if made is None and "training_scans" in counts:
            # of the model itself
            part += f", fitted on {counts['training_scans']}"
        if part not in parts:
            parts.append(part)
    return "; ".join(parts) or NOT_AVAILABLE


def _data(runs: Sequence[Measured]) -> str:
    labels = {entry.content["data_label"] for entry in runs} - {""}
    return "; ".join(sorted(labels))


def _notes(
    table: Table,
    measured: Sequence[Measured],
    trainings: Sequence[Measured],
    parameters: Mapping[str, Any],
) -> list[str]:
    notes = [
        f"Data are {label}." for label in sorted({_data([entry]) for entry in measured} - {""})
    ]
    notes.append(f"Scale: {parameters['scale']}. {parameters['caption']}")
    seeds = {entry.seed for entry in measured}
    if len(seeds) > 1:
        notes.append(
            f"Mean ± SD over {len(seeds)} seeds, or over as many as have the value where a cell "
            "says so; a half-sample SD is a mean over them."
        )
    notes += (*table.notes, *parameters.get("absent", ()))
    if trainings:
        notes.append(
            "Seconds are the training's wall time, which differs from run to run; trivial "
            "references are not trained."
        )
    return notes + _measurement_notes(table, measured, parameters["grids"])


def _measurement_notes(
    table: Table, measured: Sequence[Measured], grids: Mapping[str, Sequence[int]]
) -> list[str]:
    """Notes of the measurements; one that not all runs of its measure share names its rows."""
    notes = []
    for note in dict.fromkeys(note for entry in measured for note in entry.content["notes"]):
        having = [entry for entry in measured if note in entry.content["notes"]]
        measures = {entry.content["measure"] for entry in having}
        able = {entry.run for entry in measured if entry.content["measure"] in measures}
        runs = {entry.run for entry in having}
        notes.append(note if runs == able else f"{note} Rows: {_rows_of(table, runs, grids)}.")
    return notes


def _rows_of(table: Table, runs: Collection[str], grids: Mapping[str, Sequence[int]]) -> str:
    """The rows that show some runs, each grid's by themselves."""
    titles = {
        pattern: [row.title for row in table.rows if pattern.format(row=row.run) in runs]
        for pattern in table.patterns
    }
    return "; ".join(
        f"{', '.join(own)}{at_grid(table, pattern, grids)}"
        for pattern, own in titles.items()
        if own
    )


def _write_csv(path: Path, header: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _markdown(header: Sequence[str], lines: Iterable[Mapping[str, str]], notes: list[str]) -> str:
    rows = [
        "| " + " | ".join(header) + " |",
        "|" + "|".join(" --- " if title == "row" else " ---: " for title in header) + "|",
        *("| " + " | ".join(line[title] for title in header) + " |" for line in lines),
    ]
    return "\n".join(rows) + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"


def _latex(header: Sequence[str], lines: Iterable[Mapping[str, str]], notes: list[str]) -> str:
    def row(words: Iterable[str]) -> str:
        return " & ".join(_escape(word) for word in words) + r" \\"

    body = [
        "% needs \\usepackage{booktabs}",
        *(f"% {note}" for note in notes),
        r"\begin{tabular}{l" + "r" * (len(header) - 1) + "}",
        r"\toprule",
        row(header),
        r"\midrule",
        *(row(line[title] for title in header) for line in lines),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(body) + "\n"


def _escape(text: str) -> str:
    for character in "&%#_":
        text = text.replace(character, f"\\{character}")
    return (
        text.replace("±", r"$\pm$")
        .replace("³", r"$^3$")
        .replace("α", r"$\alpha$")
        .replace("β", r"$\beta$")
    )
