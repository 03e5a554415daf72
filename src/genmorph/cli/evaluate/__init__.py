"""`genmorph evaluate`: one command a measure, each on any pair of stores."""

from __future__ import annotations

import inspect

import typer

from genmorph.cli.evaluate.common import command_of
from genmorph.metrics.options import MEASURES


def add_to(app: typer.Typer) -> None:
    """Add the group, with a command for each measure."""
    group = typer.Typer(
        help="Measure volumes: samples or reconstructions beside real scans.\n\n"
        "Each measure works on any pair of stores and writes one JSON file with its values, their "
        "spread, the counts on each side and every setting of the estimator.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for name, measure in MEASURES.items():
        command = command_of(name)
        about = f"{measure.papers}: {measure.summary}\n\n{inspect.getdoc(command)}"
        group.command(name, help=about)(command)
    app.add_typer(group, name="evaluate")
