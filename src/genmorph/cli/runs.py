"""What the commands of a run share: its scans, its template, its stores.

Apart from `common`, so that a change of a model does not count as one of the commands before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genmorph.cli.selection import scan_ids
from genmorph.errors import ConfigError


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
    # a left-out repeat of a visit has the id of the scan that is used
    diagnosis = {
        scan.scan_id: scan.diagnosis
        for scan in read_manifest(manifest)
        if scan.exclude_reason is None
    }
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
    from genmorph.store import PREPARED, Description, shard_name, write_store

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
        source={
            "study": values["study"],
            "model": values["model"],
            "reference": values.get("reference"),
            **run,
            **{key: value for key, value in store.description.source.items() if key in PREPARED},
        },
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
