"""`genmorph resample`: the volumes of one shard on a coarser grid."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Out, Parameters, Workers, read_parameters


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("resample")(resample)


def resample(
    table: Annotated[Path, typer.Argument(help="Status table of the shard.")],
    finer: Annotated[Path, typer.Option("--from", help="Its array (.zarr).")],
    array: Annotated[Path, typer.Option("--array", help="Shard array to write (.zarr).")],
    out: Out,
    parameters: Parameters,
    workers: Workers = 1,
) -> None:
    """Bring preprocessed volumes onto a coarser grid over the same field of view.

    What is known of each scan, and of those that failed, is kept.

    Example:
      genmorph config parameters resample slice_vae_64 > coarser.json
      genmorph resample results/preprocessed/simulated_hcp/slice_vae/shard-0000.tsv
        --from results/preprocessed/simulated_hcp/slice_vae/shard-0000.zarr
        --parameters @coarser.json --array shard-0000.zarr --out shard-0000.tsv
    """
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(1)
    import numpy as np

    from genmorph.files import locked
    from genmorph.preprocessing.coarser import resample_shard
    from genmorph.preprocessing.steps import Recipe
    from genmorph.provenance.record import recording
    from genmorph.validation import validate

    finer_recipe, recipe = (
        validate(Recipe, {key: own[key] for key in Recipe.model_fields}, f"recipe {own['recipe']}")
        for own in (values["from"], values)
    )
    with (
        locked(out),
        # the table knows the hash of every volume of the array, and each is checked
        recording("resample", out=out, parameters=values, inputs=[table], outputs=[array]),
    ):
        affine = np.asarray(finer_recipe.grid_affine())
        n = resample_shard(finer, table, array, out, recipe, affine, workers=workers)
    typer.echo(f"{out}: {n} volumes on a grid of {'x'.join(map(str, recipe.grid))}")
