"""`genmorph figure`: a paper's figure from stores and checkpoints."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out, Parameters, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("figure")(figure)


def figure(
    inputs: Annotated[list[Path], typer.Argument(help="What it needs, in the order of `needs`.")],
    out: Out,
    parameters: Parameters,
    module: Annotated[
        list[str] | None, typer.Option("--module", help="Module loaded by name, for the record.")
    ] = None,
) -> None:
    """Draw one of a study's figures as PNG and SVG."""
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(values["numerical_threads"])
    from genmorph.files import locked
    from genmorph.provenance.record import recording

    room = f"genmorph.studies.{values['study']}.figures"
    with (
        locked(out),
        recording(
            "figure",
            out=out,
            parameters=values,
            inputs=inputs,
            outputs=[out.with_suffix(".svg")],
            modules=(room, *(module or ())),
        ),
    ):
        draw = importlib.import_module(room).FIGURES[values["figure"]]
        draw(dict(zip(values["needs"], inputs, strict=True)), values, out)
