"""`genmorph notebook`: a notebook executed on a results root."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("notebook")(notebook)


def notebook(
    file: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="A notebook; stays as it is.")],
    results: Annotated[Path, typer.Option("--results", help="Results root that it reads.")],
    out: Out,
    reads: Annotated[
        list[Path] | None, typer.Option("--reads", help="File it reads, for the record; repeat.")
    ] = None,
) -> None:
    """Execute a copy of a notebook and write it with its outputs, and as a page (HTML).

    The notebook finds the results root in the environment variable GENMORPH_RESULTS.

    Example:
      genmorph notebook notebooks/01_first_look.ipynb --results results
      --out results/notebooks/01_first_look.ipynb
    """
    from genmorph.processes import limit_threads

    limit_threads(1)  # it reads and shows; what it computes must not depend on the machine
    from genmorph.errors import NotebookError
    from genmorph.files import locked
    from genmorph.provenance.record import recording
    from genmorph.publish.notebooks import (
        execute_notebook,
        imported_modules,
        source_of,
        write_notebook,
    )

    if out.absolute() == file.absolute():
        raise NotebookError(f"{file}: is never executed in place", "name another file with --out")
    if not results.is_dir():
        raise NotebookError(f"{results}: no such results root", "run the workflow first")
    with (
        locked(out),
        recording(
            "notebook",
            out=out,
            parameters=source_of(file),
            inputs=reads or [],
            outputs=[out.with_suffix(".html")],
            modules=imported_modules(file),
        ) as record,
    ):
        record.add_input(file, base="external")
        write_notebook(execute_notebook(file, results), out)
