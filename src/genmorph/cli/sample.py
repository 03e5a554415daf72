"""`genmorph sample`: volumes from a trained model or a trivial reference."""

from __future__ import annotations

import typer

from genmorph.cli.common import (
    Checkpoint,
    CohortName,
    Manifest,
    Out,
    Parameters,
    Participants,
    Population,
    Seed,
    StoreIndex,
    read_parameters,
)
from genmorph.cli.runs import template_id
from genmorph.cli.selection import scan_ids


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    index: StoreIndex,
    manifest: Manifest,
    participants: Participants,
    out: Out,
    parameters: Parameters,
    seed: Seed,
    cohort: CohortName,
    population: Population = "all",
    checkpoint: Checkpoint = None,
) -> None:
    """Draw volumes from a checkpoint into a store; without one, from a trivial reference.

    The n-th sample depends on the seed and n alone, not on how many are drawn.
    """
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(values["numerical_threads"])
    from genmorph.cli.runs import write_run_store
    from genmorph.sampling import draw_samples, reference_samples
    from genmorph.seeds import derive_seed
    from genmorph.store import Store

    store = Store(index.parent)
    ids = {
        split: scan_ids(store, manifest, participants, split, values["population"])
        for split in ("train", "validation", "test")
    }
    n = values["n"] or len(ids["test"])
    run_seed = derive_seed(seed, values["study"], values["model"], "sample")
    if checkpoint is not None:
        from genmorph.training.checkpoints import load_model

        volumes = draw_samples(load_model(checkpoint), n=n, seed=run_seed, device=values["device"])
    else:
        template = template_id(store, manifest, participants, values)
        volumes = reference_samples(
            values["reference"], store, ids=ids, template=template, n=n, seed=run_seed
        )
    write_run_store(
        "sample",
        out=out,
        volumes=volumes,
        store=store,
        values=values,
        run={"cohort": cohort, "population": population, "seed": seed},
        run_seed=run_seed,
        inputs=[index, index.with_name("store.json"), manifest, participants],
        checkpoint=checkpoint,
    )
