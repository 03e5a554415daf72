"""`genmorph reconstruct`: held-out scans through a trained model or a trivial reference."""

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
    app.command("reconstruct")(reconstruct)


def reconstruct(
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
    """Reconstruct the held-out scans of a store; without a checkpoint, by a trivial reference.

    The parameter `split` says which: `test` or `validation`.
    """
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(values["numerical_threads"])
    from genmorph.cli.runs import write_run_store
    from genmorph.sampling import reconstruct_scans, reference_reconstructions
    from genmorph.seeds import derive_seed
    from genmorph.store import Store

    store = Store(index.parent)
    ids = scan_ids(store, manifest, participants, values["split"], values["population"])
    run_seed = derive_seed(seed, values["study"], values["model"], "reconstruct")
    if checkpoint is not None:
        from genmorph.training.checkpoints import load_model

        volumes = reconstruct_scans(load_model(checkpoint), store, ids, device=values["device"])
    else:
        volumes = reference_reconstructions(
            values["reference"],
            store,
            ids,
            training_ids=scan_ids(store, manifest, participants, "train", values["population"]),
            template=template_id(store, manifest, participants, values),
            seed=run_seed,
        )
    write_run_store(
        "reconstruct",
        out=out,
        volumes=volumes,
        store=store,
        values=values,
        run={"cohort": cohort, "population": population, "seed": seed},
        run_seed=run_seed,
        inputs=[index, index.with_name("store.json"), manifest, participants],
        checkpoint=checkpoint,
    )
