"""A paper's table: the reported number beside the measured one, and every cell in long form."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genmorph.errors import MeasurementError
from genmorph.files import atomic_path, read_json
from genmorph.metrics.cells import NOT_AVAILABLE, printed

CELL_COLUMNS = (
    "row",
    "column",
    "source",
    "printed",
    "value",
    "measurement",
    "key",
    "format",
    "comparable",
)


@dataclass(frozen=True)
class Column:
    """One measure of a table.

    Attributes
    ----------
    title : str
        Its name; `{label}` takes the measurement's own label (FID, FD of another extractor).
    measure, key : str
        Measurement, and the value in it.
    form : str
        How a value prints.
    reported : str or None
        Column of `reported.csv`; None when the paper does not have it.
    reported_title : str
        What the paper calls it.
    """

    title: str
    measure: str
    key: str
    form: str
    reported: str | None = None
    reported_title: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes
    ----------
    title : str
    run : str
        Model or trivial reference whose run is shown.
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
    rows, columns
    reported : Path
        The paper's numbers: table, row, column, value, spread.
    paper : dict
        What the reported numbers were obtained with: compared with each measurement's settings.
    yardstick : tuple of str, optional
        Run and column title that a row must beat, lower being better, and the remark if not.
    notes : tuple of str
    """

    name: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    reported: Path
    paper: Mapping[str, Any]
    yardstick: tuple[str, str, str] | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Measured:
    """A measurement of one run.

    Attributes
    ----------
    path : str
        File, relative to the results root.
    run : str
        Model or reference.
    seed : int
    content : dict
        The measurement as its file states it.
    """

    path: str
    run: str
    seed: int
    content: dict[str, Any]


def read_measurements(files: Iterable[Path], root: Path) -> list[Measured]:
    """Read measurement files and say which run each is of."""
    measured = []
    for file in sorted(files):
        content = read_json(file)
        source = content["settings"]["run"]
        path = file.absolute().relative_to(root.absolute()).as_posix()
        measured.append(Measured(path, source["model"], source["seed"], content))
    return measured


def write_table(
    table: Table, measured: Sequence[Measured], parameters: Mapping[str, Any], out: Path
) -> None:
    """Write `out` (CSV) with its `.md`, `.tex` and `_cells.csv`.

    Raises
    ------
    MeasurementError
        When two cells of a column were measured with different settings.
    """
    cells = list(_cells(table, measured, parameters))
    titles = list(dict.fromkeys(cell["column"] for cell in cells))
    lines = []
    for row in table.rows:
        own = {cell["column"]: cell["printed"] for cell in cells if cell["row"] == row.title}
        runs = [entry for entry in measured if entry.run == row.run]
        lines.append(
            {
                "row": row.title,
                **{title: own.get(title, NOT_AVAILABLE) for title in titles},
                "n": _counts(runs),
                "remark": _remark(table, row, measured),
                "data": _data(runs),
            }
        )
    header = ["row", *titles, "n", "remark", "data"]
    _write_csv(out, header, lines)
    _write_csv(out.with_name(f"{out.stem}_cells.csv"), CELL_COLUMNS, cells)
    notes = _notes(table, measured, parameters)
    shown = [title for title in header if title != "data"]
    _write_text(out.with_suffix(".md"), _markdown(shown, lines, notes))
    _write_text(out.with_suffix(".tex"), _latex(shown, lines, notes))


def _cells(
    table: Table, measured: Sequence[Measured], parameters: Mapping[str, Any]
) -> Iterable[dict[str, Any]]:
    reported = _reported(table)
    for column in table.columns:
        of_column = [entry for entry in measured if entry.content["measure"] == column.measure]
        _refuse_mixed_settings(column, of_column)
        title = column.title.format(label=_label(of_column))
        for row in table.rows:
            if column.reported is not None:
                yield _reported_cell(row, column, reported)
            runs = [
                entry
                for entry in of_column
                if entry.run == row.run and column.key in entry.content["values"]
            ]
            values = [entry.content["values"][column.key] for entry in runs]
            yield {
                "row": row.title,
                "column": f"{title}, measured",
                "source": "measured",
                "printed": printed(values, column.form),
                "value": " ".join(repr(value) for value in values),
                "measurement": " ".join(entry.path for entry in runs),
                "key": column.key if runs else "",
                "format": column.form,
                "comparable": _comparable(table, column, runs, parameters) if runs else "",
            }


def _reported_cell(row: Row, column: Column, reported: Mapping[Any, str]) -> dict[str, Any]:
    value = reported.get((row.reported, column.reported))
    return {
        "row": row.title,
        "column": f"{column.reported_title}, reported",
        "source": "reported",
        "printed": value or NOT_AVAILABLE,
        "value": value or "",
    }


def _reported(table: Table) -> dict[tuple[str, str], str]:
    with table.reported.open(newline="", encoding="utf-8") as stream:
        return {
            (line["row"], line["column"]): line["value"]
            + (f" ± {line['spread']}" if line["spread"] else "")
            for line in csv.DictReader(stream)
            if line["table"] == table.name
        }


def _refuse_mixed_settings(column: Column, measured: Sequence[Measured]) -> None:
    """Two numbers obtained with different settings never share a column."""
    first = None
    for entry in measured:
        settings = {key: value for key, value in entry.content["settings"].items() if key != "run"}
        if first is None:
            first, first_path = settings, entry.path
        elif settings != first:
            differing = [key for key in settings if settings[key] != first.get(key)]
            raise MeasurementError(
                f"column '{column.title}': {entry.path} and {first_path} differ in "
                f"{', '.join(differing) or 'their settings'}",
                "remove the older of the two and run the workflow again",
            )


def _label(measured: Sequence[Measured]) -> str:
    return measured[0].content["settings"].get("label", "") if measured else ""


def _comparable(
    table: Table, column: Column, runs: Sequence[Measured], parameters: Mapping[str, Any]
) -> str:
    """`yes`, or what differs from what the paper measured."""
    if column.reported is None:
        return "not reported"
    settings = runs[0].content["settings"]
    found = {
        "data": settings.get("cohort"),
        "scale": parameters["scale"],
        "grid": "x".join(map(str, settings.get("grid", ()))),
        "n": runs[0].content["n"].get("reference_scans"),
        "extractor": settings.get("extractor"),
    }
    differing = [
        f"{key} ({found[key]}, paper {value})"
        for key, value in table.paper.items()
        if found[key] is not None and found[key] != value
    ]
    return f"no: {'; '.join(differing)}" if differing else "yes"


def _remark(table: Table, row: Row, measured: Sequence[Measured]) -> str:
    if table.yardstick is None:
        return ""
    run, key, remark = table.yardstick

    def values(of: str) -> list[float]:
        return [
            entry.content["values"][key]
            for entry in measured
            if entry.run == of and key in entry.content["values"]
        ]

    own, bar = values(row.run), values(run)
    if row.run == run or not own or not bar:
        return ""
    return remark if sum(own) / len(own) >= sum(bar) / len(bar) else ""


def _counts(runs: Sequence[Measured]) -> str:
    parts = []
    for entry in runs:
        counts = entry.content["n"]
        side = counts.get("generated_scans", counts.get("scans"))
        part = f"{entry.content['measure']} {side}"
        if "reference_scans" in counts:
            part += f" vs {counts['reference_scans']}"
        if part not in parts:
            parts.append(part)
    return "; ".join(parts) or NOT_AVAILABLE


def _data(runs: Sequence[Measured]) -> str:
    labels = {entry.content["data_label"] for entry in runs} - {""}
    return "; ".join(sorted(labels))


def _notes(table: Table, measured: Sequence[Measured], parameters: Mapping[str, Any]) -> list[str]:
    notes = [
        f"Data are {label}." for label in sorted({_data([entry]) for entry in measured} - {""})
    ]
    notes.append(f"Scale: {parameters['scale']}. {parameters['caption']}")
    notes += table.notes
    for entry in measured:
        notes += [note for note in entry.content["notes"] if note not in notes]
    return notes


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
