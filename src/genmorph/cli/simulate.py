"""`genmorph simulate`: a raw cohort with known anatomy."""

from __future__ import annotations

import sys
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
    layout: Annotated[
        str, typer.Option("--layout", help="How files lie on disk: bids, adni, hcp, ukb, oasis.")
    ] = "bids",
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 1,
    resolution: Annotated[
        float | None,
        typer.Option("--resolution", help="Edge of cubic voxels in mm; default: the source's own."),
    ] = None,
    truth: Annotated[
        str, typer.Option("--truth", help="full: maps and volumes; volumes: the table alone.")
    ] = "full",
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Atlas of labels in MNI152 space (NIfTI).")
    ] = None,
    labels_name: Annotated[str, typer.Option("--labels-name", help="Name of the atlas.")] = "",
    labels_licence: Annotated[
        str, typer.Option("--labels-licence", help="Licence of the atlas.")
    ] = "",
    cohort: Annotated[str, typer.Option("--cohort", help="Name for the record.")] = "simulated",
    workers: Workers = 1,
) -> None:
    """Make a raw cohort of whole heads with known anatomy, in a source's own layout.

    Brains are smooth warps of the MNI152 average with changes by age and diagnosis, lesions and
    thinned cortex that no warp explains, T1-like contrast, bias field, noise, skull and scalp.
    True tissue maps, volumes and deformations lie under derivatives/truth.

    Example: genmorph simulate --layout ukb --n 60 --seed 4 --out my_cohort
    """
    from genmorph.processes import limit_threads

    limit_threads(1)
    from genmorph.cohorts.simulate import simulate_cohort
    from genmorph.cohorts.simulate.atlas import LabelAtlas
    from genmorph.cohorts.simulate.trees import TREES
    from genmorph.files import locked
    from genmorph.provenance.record import recording

    atlas = LabelAtlas(labels, labels_name, labels_licence) if labels else None
    parameters = {
        "cohort": cohort,
        "layout": layout,
        "n": n,
        "seed": seed,
        "resolution_mm": resolution,
    }
    # a workflow asks for neither: its plan knows these parameters only
    if truth != "full":
        parameters["truth"] = truth
    if atlas:
        parameters["labels"] = {"name": labels_name, "licence": labels_licence}
    with (
        locked(out),
        recording(
            "simulate",
            out=out,
            parameters=parameters,
            seeds={"simulate": seed},
            modules=[TREES[layout]] if layout in TREES else [],
        ) as record,
    ):
        simulate_cohort(
            out,
            layout=layout,
            n=n,
            seed=seed,
            resolution_mm=resolution,
            truth=truth,
            atlas=atlas,
            workers=workers,
            progress=_say,
        )
        if labels:
            record.add_input(labels, base="external", name=labels.name)


def _say(done: int, n: int) -> None:
    """A line to standard error for each twentieth of the scans."""
    if done == n or done % max(1, n // 20) == 0:
        print(f"{done} of {n} scans made", file=sys.stderr, flush=True)
