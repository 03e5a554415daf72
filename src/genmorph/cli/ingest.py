"""`genmorph ingest`: a raw tree becomes manifest, participants table and splits."""

from __future__ import annotations

import typer

from genmorph.cli.common import Out, Parameters, Root, Tables, Withdrawn, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ingest")(ingest)


def ingest(
    root: Root,
    out: Out,
    parameters: Parameters,
    tables: Tables = None,
    withdrawn: Withdrawn = None,
) -> None:
    """List a cohort's scans: manifest.tsv, participants.tsv with splits, cohort.json.

    Called again on a grown cohort it keeps every known scan's shard and every person's split.
    """
    from genmorph.cohorts.ingest import LAYOUTS, ingest_cohort
    from genmorph.cohorts.reading import Source
    from genmorph.files import locked
    from genmorph.provenance.record import recording

    values = read_parameters(parameters)
    outputs = [out / "participants.tsv", out / "cohort.json", out / "ledger.tsv"]
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
        flow, files = ingest_cohort(
            name=values["cohort"],
            layout=values["layout"],
            source=Source(root, tables, withdrawn),
            options=values["options"],
            out=out,
            shares=values["shares"],
            split_seed=values["split_seed"],
            shard_size=values["shard_size"],
        )
        for file in files:
            inside = file.is_relative_to(root)
            record.add_input(
                file,
                base=f"cohort:{values['cohort']}" if inside else f"tables:{values['cohort']}",
                name=file.relative_to(root).as_posix() if inside else file.name,
            )
        for line in flow.lines():
            typer.echo(line)
