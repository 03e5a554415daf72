"""`genmorph quality`: a page on a preprocessed cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out, Parameters, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("quality")(quality)


def quality(
    status: Annotated[Path, typer.Argument(help="status.tsv of the store.")],
    store_description: Annotated[Path, typer.Option("--store-description", help="store.json.")],
    out: Out,
    parameters: Parameters,
) -> None:
    """Show failed scans, outliers and measures of a cohort on one page, and in quality.tsv.

    Pictures are taken from the folder `mosaics` beside status.tsv. The page shows raw scans and
    their ids: it is not for sharing.
    """
    from genmorph.files import atomic_path, locked, read_json, read_tsv, write_tsv
    from genmorph.preprocessing.quality import TABLE_COLUMNS, review
    from genmorph.preprocessing.quality_page import render_page
    from genmorph.provenance.record import recording

    values = read_parameters(parameters)
    table = out.with_suffix(".tsv")
    with (
        locked(out),
        recording(
            "quality",
            out=out,
            parameters=values,
            inputs=[status, store_description],
            outputs=[table],
        ),
    ):
        rows = read_tsv(status, ("scan_id", "status", "reason", "shard", "outlier"))
        found = review(rows, status.parent / "mosaics", seed=values["seed"])
        page = render_page(
            found, read_json(store_description), f"{values['cohort']}, recipe {values['recipe']}"
        )
        write_tsv(table, TABLE_COLUMNS, found.rows)
        with atomic_path(out) as temporary:
            temporary.write_text(page, encoding="utf-8")
    typer.echo(
        f"{out}: {len(found.failed)} failed scans, {len(found.outliers)} outliers, "
        f"{len(found.pictures)} pictures"
    )
