"""`genmorph simulate`: a raw cohort with known anatomy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Workers


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(simulate)


def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder of the raw tree to make.")],
    n: Annotated[int, typer.Option("--n", help="Number of scans.")],
    layout: Annotated[str, typer.Option("--layout", help="How files lie on disk: bids.")] = "bids",
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 1,
    resolution: Annotated[float, typer.Option("--resolution", help="Voxel size in mm.")] = 2.0,
    cohort: Annotated[str, typer.Option("--cohort", help="Name for the record.")] = "simulated",
    workers: Workers = 1,
) -> None:
    """Make a raw cohort of whole heads with known anatomy, in a source's own layout.

    Brains are smooth warps of the MNI152 average with changes by age and diagnosis, lesions and
    thinned cortex that no warp explains, T1-like contrast, bias field, noise, skull and scalp.
    True tissue maps and volumes lie under derivatives/truth.

    Example: genmorph simulate --layout bids --n 12 --seed 4 --resolution 2 --out my_cohort
    """
    from genmorph.processes import limit_threads

    limit_threads(1)
    from genmorph.cohorts.simulate import simulate_cohort
    from genmorph.files import locked
    from genmorph.provenance.record import recording

    parameters = {
        "cohort": cohort,
        "layout": layout,
        "n": n,
        "seed": seed,
        "resolution_mm": resolution,
    }
    with (
        locked(out),
        recording("simulate", out=out, parameters=parameters, seeds={"simulate": seed}),
    ):
        simulate_cohort(
            out, layout=layout, n=n, seed=seed, resolution_mm=resolution, workers=workers
        )
