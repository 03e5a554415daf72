"""What several commands share: argument types, parameters, the selection of scans."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from genmorph.errors import ConfigError

Parameters = Annotated[
    str,
    typer.Option(
        "--parameters",
        help="JSON, or @FILE with JSON; `genmorph config parameters COMMAND NAME...` prints it.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="What to write.")]
Workers = Annotated[int, typer.Option("--workers", help="Worker processes.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the run.")]
Manifest = Annotated[Path, typer.Option("--manifest", help="manifest.tsv of the cohort.")]
Participants = Annotated[
    Path, typer.Option("--participants", help="participants.tsv of the cohort, with splits.")
]
StoreIndex = Annotated[Path, typer.Option("--index", help="index.tsv of the preprocessed store.")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", help="model.safetensors.")]
CohortName = Annotated[str, typer.Option("--cohort", help="Name of the cohort.")]
Population = Annotated[str, typer.Option("--population", help="Name of the population.")]


def read_parameters(text: str) -> dict[str, Any]:
    """Parse the value of `--parameters`.

    Raises
    ------
    ConfigError
        When it is not a JSON object.
    """
    try:
        content = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        values = json.loads(content)
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"--parameters: not JSON ({error})",
            "genmorph config parameters COMMAND NAME... prints them",
        ) from None
    if not isinstance(values, dict):
        raise ConfigError("--parameters: a JSON object is expected")
    return values


def scan_ids(
    store: Any, manifest: Path, participants: Path, split: str, population: str | None
) -> list[str]:
    """Ids of a split's scans that the store holds; failed scans are absent from it."""
    from genmorph.cohorts.manifest import read_manifest, select
    from genmorph.errors import CohortError
    from genmorph.files import read_tsv

    people = read_tsv(participants, ("participant_id", "split"))
    scans = select(read_manifest(manifest), people, split=split, population=population)
    ids = [scan.scan_id for scan in scans if scan.scan_id in store]
    if not ids:
        raise CohortError(f"{store.folder}: none of the {len(scans)} scans of split '{split}'")
    return ids


def template_id(store: Any, manifest: Path, participants: Path, values: Mapping[str, Any]) -> str:
    """The training scan that serves as template.

    The configured one; or, among scans of cognitively normal (or undiagnosed) people, the one
    nearest to the mean of all training scans. The paper took one such person's baseline scan and
    does not say how it was chosen (P1, section 3).

    Raises
    ------
    ConfigError
        When the configured scan is not a training scan of the store.
    """
    from genmorph.cohorts.manifest import read_manifest
    from genmorph.errors import did_you_mean
    from genmorph.sampling import nearest_to_mean

    training = scan_ids(store, manifest, participants, "train", values["population"])
    wanted = values["template_scan"]
    if wanted is not None:
        if wanted not in training:
            raise ConfigError(
                f"template_scan '{wanted}' is not a training scan; {did_you_mean(wanted, training)}"
            )
        return wanted
    diagnosis = {scan.scan_id: scan.diagnosis for scan in read_manifest(manifest)}
    healthy = [scan_id for scan_id in training if diagnosis[scan_id] in (None, "CN")]
    return nearest_to_mean(store, healthy or training, training)


def write_run_store(
    command: str,
    *,
    out: Path,
    volumes: Iterable[Any],
    store: Any,
    values: Mapping[str, Any],
    run: Mapping[str, Any],
    run_seed: int,
    inputs: list[Path],
    checkpoint: Path | None,
) -> None:
    """Write a run's volumes beside `out` (an index.tsv) as a store, with its record.

    Intensities beyond [0, 1] are clipped, as those of preprocessed scans are.
    """
    from genmorph.files import locked
    from genmorph.provenance.record import recording
    from genmorph.store import Description, shard_name, write_store

    modules: tuple[str, ...] = ()
    if checkpoint is not None:
        from genmorph.models import module_of
        from genmorph.training.checkpoints import read_architecture

        inputs = [*inputs, checkpoint]
        modules = (module_of(read_architecture(checkpoint)),)
    what = {"sample": "samples", "reconstruct": "reconstructions"}[command]
    description = Description(
        affine=store.description.affine,
        content=f"{what} of {values['model']}, clipped to [0, 1]",
        data_label=store.description.data_label,
        source={"study": values["study"], "model": values["model"], **run},
    )
    outputs = [out.with_name("store.json"), out.with_name(shard_name(0))]
    with (
        locked(out),
        recording(
            command,
            out=out,
            parameters=values,
            inputs=inputs,
            outputs=outputs,
            seeds={"seed": run["seed"], command: run_seed},
            modules=modules,
        ),
    ):
        clipped = ((name, volume.clip(0.0, 1.0)) for name, volume in volumes)
        write_store(
            out.parent, clipped, shape=store.shape, dtype="float32", description=description
        )
