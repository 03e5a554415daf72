"""`genmorph crate`: the results as a Workflow Run RO-Crate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("crate")(crate)


def crate(
    results: Annotated[Path, typer.Argument(help="Results root.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="What to write: crate.zip.")],
    include_personal: Annotated[
        bool,
        typer.Option(
            "--include-personal",
            help="Also manifests, participants, records, and paths of real people's scans.",
        ),
    ] = False,
) -> None:
    """Pack tables, figures and how each was made as a Provenance Run Crate.

    Stores, checkpoints and scans are described by their hashes. Of real cohorts nobody is named
    and no date is told, unless --include-personal is given.

    Examples:
      genmorph crate results/ -o crate.zip
    """
    from genmorph.provenance.crate import write_crate

    counts = write_crate(results, out, include_personal=include_personal)
    typer.echo(f"{out}: {counts['actions']} actions, {counts['files']} files")
