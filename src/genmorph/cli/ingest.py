"""`genmorph ingest`: a raw tree becomes manifest, participants table and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out, Parameters, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest")(ingest)


def ingest(
    root: Annotated[Path, typer.Option("--root", help="Folder of the raw scans (only read).")],
    out: Out,
    parameters: Parameters,
) -> None:
    """List a cohort's scans: manifest.tsv, participants.tsv with splits, cohort.json.

    Called again on a grown cohort it keeps every known scan's shard and every person's split.
    """
    from genmorph.cohorts.ingest import LAYOUTS, ingest_cohort
    from genmorph.files import locked
    from genmorph.provenance.record import recording

    values = read_parameters(parameters)
    outputs = [out / "participants.tsv", out / "cohort.json"]
    with (
        locked(out),
        recording(
            "ingest",
            out=out / "manifest.tsv",
            parameters=values,
            outputs=outputs,
            modules=(LAYOUTS[values["layout"]],),
        ) as record,
    ):
        counts, files = ingest_cohort(
            name=values["cohort"],
            layout=values["layout"],
            root=root,
            out=out,
            shares=values["shares"],
            split_seed=values["split_seed"],
            shard_size=values["shard_size"],
        )
        for file in files:
            name = file.relative_to(root).as_posix()
            record.add_input(file, base=f"cohort:{values['cohort']}", name=name)
        typer.echo(f"{root}: {counts['found']} scans found, {counts['kept']} kept")
        for reason, count in counts["left_out"].items():
            typer.echo(f"  left out: {count} x {reason}")
