"""`genmorph preprocess`: the scans of one shard become volumes on the recipe's grid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import (
    CohortName,
    Manifest,
    Out,
    Parameters,
    Root,
    Workers,
    read_parameters,
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preprocess")(preprocess)


def preprocess(
    manifest: Manifest,
    root: Root,
    shard: Annotated[int, typer.Option("--shard", help="Number of the shard.")],
    cohort: CohortName,
    array: Annotated[Path, typer.Option("--array", help="Shard array to write (.zarr).")],
    mosaics: Annotated[Path, typer.Option("--mosaics", help="Folder for a picture per scan.")],
    out: Out,
    parameters: Parameters,
    workers: Workers = 1,
) -> None:
    """Carry out a recipe on the scans of one shard with a pool of workers.

    A scan that fails is a row of the status table with its reason; the others go on. Look at the
    mosaics: raw scan, mask on the corrected image, result on the template.
    """
    from genmorph.processes import limit_threads

    limit_threads(1)
    from genmorph.cohorts.manifest import of_shard, read_manifest
    from genmorph.errors import CohortError
    from genmorph.files import locked
    from genmorph.preprocessing.engines import Engines
    from genmorph.preprocessing.pipeline import ScanRow, preprocess_shard
    from genmorph.preprocessing.raw import RawFile
    from genmorph.preprocessing.steps import Recipe
    from genmorph.provenance.record import recording
    from genmorph.validation import validate

    values = read_parameters(parameters)
    recipe = validate(
        Recipe, {key: values[key] for key in Recipe.model_fields}, f"recipe {values['recipe']}"
    )
    scans = of_shard(read_manifest(manifest), shard)
    if not scans:
        raise CohortError(f"{manifest}: no scans in shard {shard}")
    rows = [
        ScanRow(scan.scan_id, RawFile(root, scan.path, scan.format), scan.skull_stripped)
        for scan in scans
    ]
    engines = Engines(values["engine"], values["step_engines"])
    steps = [step.step for step in recipe.steps]
    engines.require(steps)
    with (
        locked(out),
        recording(
            "preprocess",
            out=out,
            parameters=values,
            outputs=[array, mosaics],
            modules=engines.modules(steps),
        ) as record,
    ):
        report = preprocess_shard(
            rows, array, out, mosaics, recipe, engines=engines, workers=workers
        )
        by_id = {scan.scan_id: scan for scan in scans}
        for scan_id, (sha256, size) in report.raw.items():
            record.add_input(
                root / by_id[scan_id].path,
                base=f"cohort:{cohort}",
                name=by_id[scan_id].public_name,
                sha256=sha256,
                size=size,
            )
    typer.echo(f"{out}: {report.n_ok} scans preprocessed, {report.n_failed} failed")
