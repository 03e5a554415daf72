"""The cells of a table: reported, measured, and what each training took."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmorph.errors import MeasurementError
from genmorph.files import read_json
from genmorph.metrics.cells import AS_STATED, COMPARABLE, NOT_AVAILABLE, defined, measured_cell
from genmorph.publish.shapes import Column, Row, Table

CELL_COLUMNS = (
    "row",
    "column",
    "source",
    "printed",
    "value",
    "spread",
    "spread_over",
    "measurement",
    "key",
    "format",
    "reported",
    "comparable",
    "difference",
)
# title, key of the training's summary, format
TRAINING_COLUMNS = (
    ("parameters", "parameters", AS_STATED),
    ("steps", "steps", AS_STATED),
    ("volumes seen", "volumes_seen", AS_STATED),
    ("seconds", "seconds", ".0f"),
    ("device", "device", AS_STATED),
)

# settings that say what was measured, not how: its run, the hash of its trained weights, how many
# axes its codes span, and the mask that its maps gave
OF_THE_RUN = ("run", "encoder", "covariance_kind", "sides_mask_sha256")


@dataclass(frozen=True)
class Measured:
    """A measurement of one run, or the summary of its training.

    Attributes
    ----------
    path : str
        File, relative to the results root.
    run : str
        Model or reference.
    seed : int
    content : dict
        The measurement or the summary as its file states it.
    """

    path: str
    run: str
    seed: int
    content: dict[str, Any]


def read_measurements(files: Iterable[Path], root: Path) -> list[Measured]:
    """Read measurement files and say which run each is of."""
    contents = ((file, read_json(file)) for file in sorted(files))
    return [_of_run(file, root, content, content["settings"]) for file, content in contents]


def read_trainings(files: Iterable[Path], root: Path) -> list[Measured]:
    """Read summaries of trainings and say which run each is of.

    Raises
    ------
    MeasurementError
        When one does not name its run.
    """
    contents = ((file, read_json(file)) for file in sorted(files))
    return [_of_run(file, root, content, content) for file, content in contents]


def _of_run(file: Path, root: Path, content: dict[str, Any], holder: Mapping[str, Any]) -> Measured:
    if "run" not in holder:
        raise MeasurementError(
            f"{file}: does not say which run it is of",
            "it was written by an older version: remove it and run the workflow again",
        )
    path = file.absolute().relative_to(root.absolute()).as_posix()
    return Measured(path, holder["run"]["model"], holder["run"]["seed"], content)


def cells(
    table: Table,
    measured: Sequence[Measured],
    trainings: Sequence[Measured],
    parameters: Mapping[str, Any],
) -> list[dict[str, str]]:
    """Every cell of a table in long form, with the keys `CELL_COLUMNS`; columns in their order.

    Raises
    ------
    MeasurementError
        When two cells of a column were measured with different settings.
    """
    beside: list[dict[str, str]] = []
    apart: list[dict[str, str]] = []
    reported = _reported(table)
    in_a_block = table.apart and _other_grids(table, parameters["grids"])
    for column in table.columns:
        shown = {column.run_of(row) for row in table.rows}
        of_column = [
            entry
            for entry in measured
            if entry.content["measure"] == column.measure and entry.run in shown
        ]
        _refuse_mixed_settings(column, of_column)
        grid = grid_of(table, column.runs, parameters["grids"])
        title = column.title.format(**_labels(of_column), grid=grid)
        for row in table.rows:
            number, spread = reported.get((row.reported, column.reported), ("", ""))
            if column.reported is not None:
                own = _reported_cell(row, column, number, spread)
                (apart if in_a_block else beside).append(own)
            runs = [entry for entry in of_column if entry.run == column.run_of(row)]
            key = f"{column.part}.{column.key}"
            having = [entry for entry in runs if defined([entry.content], key)]
            comparable = comparability(table, column, having, number, parameters) if having else ""
            place = {"row": row.title, "column": f"{title}, measured", "source": "measured"}
            beside.append(place | _from_files(runs, key, column.form, number, comparable))
    return [*beside, *_training_cells(table, trainings, parameters["grids"]), *apart]


def grid_of(table: Table, runs: str, grids: Mapping[str, Sequence[int]]) -> str:
    """The grid of the runs that a column shows, such as `64x64x64`."""
    shown = [runs.format(row=row.run) for row in table.rows]
    return " / ".join(
        dict.fromkeys("x".join(map(str, grids[run])) for run in shown if run in grids)
    )


def at_grid(table: Table, runs: str, grids: Mapping[str, Sequence[int]]) -> str:
    """The words that tell the grid of some runs, such as ` at 64x64x64`; '' if there is but one."""
    return f" at {grid_of(table, runs, grids)}" if len(table.patterns) > 1 else ""


def _other_grids(table: Table, grids: Mapping[str, Sequence[int]]) -> bool:
    """Whether some reported number was obtained on another grid than is measured on."""
    return any(
        {**table.paper, **column.paper}.get("grid") != grid_of(table, column.runs, grids)
        for column in table.columns
        if column.reported is not None
    )


def _training_cells(
    table: Table, trainings: Sequence[Measured], grids: Mapping[str, Sequence[int]]
) -> Iterable[dict[str, str]]:
    for runs in table.patterns:
        where = at_grid(table, runs, grids)
        for title, key, form in TRAINING_COLUMNS:
            for row in table.rows:
                own = [entry for entry in trainings if entry.run == runs.format(row=row.run)]
                place = {"row": row.title, "column": f"{title}{where}", "source": "training"}
                yield place | _from_files(own, key, form)


def _from_files(
    runs: Sequence[Measured], key: str, form: str, reported: str = "", comparable: str = ""
) -> dict[str, str]:
    """What a cell says, and where its values stand, so that an audit can compute it again."""
    contents = [entry.content for entry in runs]
    return {
        "measurement": " ".join(entry.path for entry in runs),
        "key": key if runs else "",
        "format": form,
        "reported": reported,
        "comparable": comparable,
        **measured_cell(contents, key, form, reported=reported, comparable=comparable),
    }


def _reported_cell(row: Row, column: Column, number: str, spread: str) -> dict[str, str]:
    text = f"{number} ± {spread}" if spread else number
    return {
        "row": row.title,
        "column": f"{column.reported_title}, reported",
        "source": "reported",
        "printed": text or NOT_AVAILABLE,
        "value": number,
        "spread": spread,
    }


def _reported(table: Table) -> dict[tuple[str | None, str | None], tuple[str, str]]:
    """Number and spread of each reported cell, as the paper prints them."""
    with table.reported.open(newline="", encoding="utf-8") as stream:
        return {
            (line["row"], line["column"]): (line["value"], line["spread"])
            for line in csv.DictReader(stream)
            if line["table"] == table.name
        }


def _refuse_mixed_settings(column: Column, measured: Sequence[Measured]) -> None:
    """Two numbers obtained with different settings never share a column."""
    first = None
    for entry in measured:
        settings = {
            key: value for key, value in entry.content["settings"].items() if key not in OF_THE_RUN
        }
        if first is None:
            first, first_path = settings, entry.path
        elif settings != first:
            differing = [key for key in settings if settings[key] != first.get(key)]
            raise MeasurementError(
                f"column '{column.title}': {entry.path} and {first_path} differ in "
                f"{', '.join(differing) or 'their settings'}",
                "remove the older of the two and run the workflow again",
            )


def _labels(measured: Sequence[Measured]) -> dict[str, str]:
    """What a column's title takes from its measurements.

    The label says when n does not exceed the number of features d in a row of the column: such a
    Fréchet distance is biased by n.
    """
    if not measured:
        return {"label": "Fréchet distance", "extractor": "features"}
    settings = measured[0].content["settings"]
    label = settings.get("label", "")
    fewest = min(
        (
            count
            for entry in measured
            for side, count in entry.content["n"].items()
            if side in ("generated_scans", "reference_scans")
        ),
        default=0,
    )
    if fewest <= settings.get("feature_dimension", -1):
        label += " [biased by n: compare at equal n]"
    return {"label": label, "extractor": settings.get("extractor", "")}


def comparability(
    table: Table,
    column: Column,
    runs: Sequence[Measured],
    reported: str,
    parameters: Mapping[str, Any],
) -> str:
    """`yes`, or everything that differs from what the paper measured."""
    if not reported:
        return "not reported"
    settings = runs[0].content["settings"]
    found = {
        **settings,
        "scale": parameters["scale"],
        "grid": "x".join(map(str, settings.get("grid", ()))) or None,
        "n": _one_or_all(entry.content["n"].get("reference_scans") for entry in runs),
    }
    differing = [
        f"{key} ({'not known' if found.get(key) is None else found[key]}, paper {value})"
        for key, value in {**table.paper, **column.paper}.items()
        if found.get(key) != value
    ]
    return f"no: {'; '.join(differing)}" if differing else COMPARABLE


def _one_or_all(values: Iterable[Any]) -> Any:
    """The value that all runs have, or each of them as text."""
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else " / ".join(map(str, distinct))
