"""`genmorph index`: the shards of a cohort become one store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out, Parameters, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("index")(index)


def index(
    tables: Annotated[list[Path], typer.Argument(help="Status tables of the shards.")],
    cohort_description: Annotated[Path, typer.Option("--cohort-description", help="cohort.json.")],
    out: Out,
    parameters: Parameters,
) -> None:
    """Gather shards into index.tsv, store.json and status.tsv; stop when too many scans failed.

    A scan whose measures differ from the cohort's is marked in status.tsv, and stays in the store.
    """
    from genmorph.errors import CohortError
    from genmorph.files import locked, read_json, read_tsv, write_tsv
    from genmorph.preprocessing.gate import mark_outliers
    from genmorph.preprocessing.pipeline import one_engine
    from genmorph.preprocessing.steps import Recipe
    from genmorph.provenance.record import recording
    from genmorph.store import Description, write_index
    from genmorph.validation import validate

    values = read_parameters(parameters)
    recipe = validate(
        Recipe, {key: values[key] for key in Recipe.model_fields}, f"recipe {values['recipe']}"
    )
    cohort = read_json(cohort_description)
    rows = []
    for table in sorted(tables):
        shard = int(table.stem.removeprefix("shard-"))
        rows += [
            {**row, "shard": shard}
            for row in read_tsv(table, ("scan_id", "status", "engine", "skull_stripped"))
        ]
    failed = [row for row in rows if row["status"] != "ok"]
    if len(failed) > values["max_failure_fraction"] * len(rows):
        reasons = "; ".join(f"{row['scan_id']}: {row['reason']}" for row in failed[:5])
        raise CohortError(
            f"{len(failed)} of {len(rows)} scans failed, more than "
            f"max_failure_fraction={values['max_failure_fraction']}: {reasons}",
            f"see the status tables in {out.parent}; mend or remove those scans, or raise "
            "preprocessing.max_failure_fraction",
        )
    engines = one_engine(rows, allow_mixed=values["allow_mixed_engines"])
    marks = mark_outliers(rows)
    for row, measures in zip(rows, marks, strict=True):
        row["outlier"] = ",".join(measures) or None
    good = [row for row in rows if row["status"] == "ok"]
    # what a whole-head recipe makes of a brain that came without its skull is a brain
    stripped = {not recipe.whole_head or row["skull_stripped"] == "true" for row in good}
    whole = "whole heads, skull not removed" if recipe.whole_head else ""
    description = Description(
        affine=recipe.grid_affine(),
        content=", ".join(filter(None, ("preprocessed T1w", whole))),
        data_label="; ".join(filter(None, (cohort["data_label"], whole))),
        source={
            "cohort": cohort["cohort"],
            "layout": cohort["layout"],
            "simulated": cohort["simulated"],
            "recipe": values["recipe"],
            "engine": "; ".join(engines),
            "skull_stripped": stripped.pop() if len(stripped) == 1 else None,
            "registered": recipe.step("registration") is not None,
        },
    )
    inputs = [*tables, cohort_description]
    outputs = [out.with_name("store.json"), out.with_name("status.tsv")]
    with (
        locked(out),
        recording("index", out=out, parameters=values, inputs=inputs, outputs=outputs),
    ):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        write_tsv(out.with_name("status.tsv"), columns, rows)
        write_index(out.parent, good, description)
    typer.echo(
        f"{out}: {len(rows) - len(failed)} volumes, {len(failed)} failed scans, "
        f"{sum(map(bool, marks))} to look at"
    )
