"""`genmorph train`: a store becomes a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genmorph.cli.common import (
    Manifest,
    Out,
    Parameters,
    Participants,
    Seed,
    StoreIndex,
    read_parameters,
)
from genmorph.cli.runs import template_id
from genmorph.cli.selection import population_used, scan_ids

if TYPE_CHECKING:
    from genmorph.models.interface import GenerativeModel
    from genmorph.training.loop import Summary


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    index: StoreIndex,
    manifest: Manifest,
    participants: Participants,
    out: Out,
    parameters: Parameters,
    seed: Seed,
    state: Annotated[Path, typer.Option("--state", help="Folder of the resumable state.")],
) -> None:
    """Train one model on the training people of a preprocessed store.

    A killed job goes on from its last checkpoint when called again with the same parameters, code,
    seed and data; any other state is removed. One that is asked to end (SIGTERM, SIGUSR1) saves its
    state first and exits with code 75. Beside the checkpoint lie metrics.csv, training.json and
    TensorBoard events. Several GPUs: this command starts a process for each, or srun does
    (--ntasks-per-node).

    Example:
      genmorph config parameters train m3ae m3ae > m3ae.json
      genmorph train --index results/preprocessed/simulated/m3ae/index.tsv
        --manifest results/cohorts/simulated/manifest.tsv
        --participants results/cohorts/simulated/participants.tsv
        --parameters @m3ae.json --seed 0 --state state --out checkpoint/model.safetensors
    """
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(values["numerical_threads"])
    from genmorph.files import locked, sha256_file, write_json
    from genmorph.models import build, module_of, options_class
    from genmorph.provenance.code import code_hash
    from genmorph.provenance.record import recording
    from genmorph.seeds import derive_seed
    from genmorph.store import Store
    from genmorph.training.checkpoints import fingerprint, prune_states, save_model
    from genmorph.training.devices import is_first_task
    from genmorph.training.loop import train as run
    from genmorph.training.options import TrainingOptions
    from genmorph.validation import validate

    store = Store(index.parent)
    module = module_of(values["architecture"])
    training_ids = scan_ids(store, manifest, participants, "train", values["population"])
    validation_ids = scan_ids(store, manifest, participants, "validation", values["population"])
    population = population_used(manifest, participants, values["population"])
    template = template_id(store, manifest, participants, values)
    run_seed = derive_seed(seed, values["study"], values["model"], "train")
    own = fingerprint(
        values,
        code_hash("genmorph.cli.train", module),
        seed,
        sha256_file(index),
        {"training": training_ids, "validation": validation_ids, "template": template},
    )
    metrics, summary_file = out.with_name("metrics.csv"), out.with_name("training.json")
    events = out.with_name("events")
    options = validate(options_class(values["architecture"]), values["options"], "options")

    def learn() -> tuple[GenerativeModel, Summary]:
        start = store.mean(training_ids) if options.starts_from_mean else store.read(template)
        model = build(values["architecture"], options, store.shape, start, run_seed)
        summary = run(
            model,
            store,
            training_ids=training_ids,
            validation_ids=validation_ids,
            options=validate(TrainingOptions, values["training"], "training"),
            precision=values["precision"],
            seed=run_seed,
            state=state / own,
            metrics=metrics,
            events=events,
            accelerator=values["device"],
            devices=values["devices"],
        )
        return model, summary

    if not is_first_task():  # it shares the steps; what they make is the first one's
        learn()
        return
    with locked(out):
        with recording(
            "train",
            out=out,
            parameters=values,
            inputs=[index, index.with_name("store.json"), manifest, participants],
            outputs=[metrics, summary_file],
            seeds={"seed": seed, "train": run_seed},
            modules=(module,),
        ) as record:
            prune_states(state, keep=own)
            if not (state / own).is_dir():
                shutil.rmtree(events, ignore_errors=True)  # of a run that this one replaces
            model, summary = learn()
            record.note(device=summary.device, seconds=summary.seconds)
            content = summary.to_json() | {
                "run": {"study": values["study"], "model": values["model"], "seed": seed},
                "template_scan": template,
                "population": population,
                "training_scans": len(training_ids),
                "validation_scans": len(validation_ids),
            }
            write_json(summary_file, content)
            save_model(out, model, values)
        # the run is whole and recorded; whoever waits for the lock has not begun a state yet
        prune_states(state, keep=None)
