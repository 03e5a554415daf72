"""`genmorph checks`: the papers' printed numbers against each other."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from genmorph.cli.common import Out, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("checks")(checks)


def checks(
    out: Out,
    parameters: Annotated[
        str | None,
        typer.Option("--parameters", help="JSON, or @FILE with JSON; default: every study."),
    ] = None,
) -> None:
    """Check the numbers that the papers print, without any data; write CSV and Markdown.

    Each row says what it can show, what is printed, what follows from it, and whether they agree.

    Example: genmorph checks --out results/tables/reported_checks.csv
    """
    from genmorph.files import locked
    from genmorph.provenance.record import recording
    from genmorph.publish.checks import write_checks
    from genmorph.studies import rooms_with

    values = (
        {"studies": rooms_with("checks")} if parameters is None else read_parameters(parameters)
    )
    rooms = [f"genmorph.studies.{study}.checks" for study in values["studies"]]
    with (
        locked(out),
        recording(
            "checks",
            out=out,
            parameters=values,
            outputs=[out.with_suffix(".md")],
            modules=rooms,
        ),
    ):
        found = [check for room in rooms for check in importlib.import_module(room).checks()]
        write_checks(found, out)
    for verdict in sorted({check.verdict.split(":")[0] for check in found}):
        n = sum(check.verdict.split(":")[0] == verdict for check in found)
        typer.echo(f"{out}: {n} {verdict}")
