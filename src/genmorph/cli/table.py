"""`genmorph table`: a paper's table, reported beside measured."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out, Parameters, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("table")(table)


def table(
    measurements: Annotated[list[Path], typer.Argument(help="Measurement files (JSON).")],
    out: Out,
    parameters: Parameters,
    training: Annotated[
        list[Path] | None,
        typer.Option("--training", help="training.json of a run in the table; repeatable."),
    ] = None,
) -> None:
    """Write a paper's table as CSV, Markdown and LaTeX, and its cells in long form.

    The reported number stands beside the measured one; *_cells.csv says for each cell which
    measurement it comes from and whether it may be compared with the paper. Rows of trained models
    state what their training took.
    """
    from genmorph.files import locked
    from genmorph.provenance.record import recording, results_root
    from genmorph.publish.tables import read_measurements, read_trainings, write_table

    values = read_parameters(parameters)
    room = f"genmorph.studies.{values['study']}.tables"
    outputs = [
        out.with_suffix(".md"),
        out.with_suffix(".tex"),
        out.with_name(f"{out.stem}_cells.csv"),
    ]
    with (
        locked(out),
        recording(
            "table",
            out=out,
            parameters=values,
            inputs=[*measurements, *(training or [])],
            outputs=outputs,
            modules=(room,),
        ),
    ):
        root = results_root(out)
        write_table(
            importlib.import_module(room).TABLES[values["table"]],
            read_measurements(measurements, root),
            read_trainings(training or [], root),
            values,
            out,
        )
