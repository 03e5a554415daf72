"""`genmorph segmenter`: the instrument of the realistic atlas score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from genmorph.cli.common import Out, Seed, StoreIndex, read_parameters
from genmorph.cli.labels import (
    Grouping,
    LabelsFile,
    LabelsNames,
    Space,
    Status,
    label_files,
    record_maps,
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("segmenter")(segmenter)


def segmenter(
    index: StoreIndex,
    labels: Annotated[Path, typer.Option("--labels", help="Folder of the label maps.")],
    grouping: Grouping,
    out: Out,
    seed: Seed = 0,
    space: Space = "preprocessed",
    labels_file: LabelsFile = "**/{scan_id}_dseg.nii.gz",
    labels_names: LabelsNames = None,
    status: Status = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="manifest.tsv of the cohort.")
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", help="Parts of the people; each is left out once.")
    ] = 2,
    fits: Annotated[
        int | None,
        typer.Option("--fits", help="Train that many of the folds; default: all (cross-fitted)."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    parameters: Annotated[
        str, typer.Option("--parameters", help="JSON, or @FILE with JSON: the network's options.")
    ] = "{}",
) -> None:
    """Train 2D U-Nets that label coronal slices (P2), cross-fitted by person.

    OUT is segmenters.json; beside it comes a safetensors file for each fold. Every network is
    measured on the labelled people that it never saw. How many labels there are follows from the
    grouping.

    Examples:
      genmorph segmenter --index results/preprocessed/oasis/slice_vae_64/index.tsv
        --labels labels --grouping freesurfer_aseg --out segmenter/segmenters.json
      genmorph segmenter --index results/preprocessed/hcp/slice_vae/index.tsv
        --status results/preprocessed/hcp/slice_vae/status.tsv --space scan
        --manifest results/cohorts/hcp/manifest.tsv --labels /data/hcp
        --labels-file "{source_id}/T1w/aparc+aseg.nii.gz" --grouping freesurfer_aseg
        --out segmenter/segmenters.json
    """
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(values.get("numerical_threads", 1))
    from genmorph.errors import CohortError, ConfigError
    from genmorph.files import atomic_path, locked, sha256_bytes, write_json
    from genmorph.metrics.label_groups import group_names, structures_of
    from genmorph.metrics.label_overlap import measure_segmenter
    from genmorph.metrics.measurement import person
    from genmorph.metrics.people_folds import folds_of_people
    from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
    from genmorph.models.slice_segmenter_training import train_segmenter
    from genmorph.preprocessing.label_maps import LabelMaps, LabelSource
    from genmorph.provenance.record import recording
    from genmorph.seeds import derive_seed
    from genmorph.store import Store
    from genmorph.validation import validate

    if "n_labels" in values:
        raise ConfigError(
            "segmenter: n_labels follows from the grouping", "leave it out of the parameters"
        )
    own = {key: value for key, value in values.items() if key != "numerical_threads"}
    n_labels = len(group_names(grouping))
    options = validate(SliceSegmenterOptions, own | {"n_labels": n_labels}, "segmenter")
    store = Store(index.parent)
    source = LabelSource(labels, grouping, labels_file, space, status, manifest, labels_names)
    maps = LabelMaps(source, store)
    ids = list(maps)
    if unnamed := [scan_id for scan_id in ids if person(scan_id) is None]:
        raise CohortError(f"{index}: {', '.join(unnamed[:3])}: ids that name no people")
    made = folds_of_people((str(person(scan_id)) for scan_id in ids), folds=folds, seed=seed)
    chosen = made[: fits or folds]
    files = [out.with_name(f"segmenter-{number}.safetensors") for number in range(len(chosen))]
    settings = {
        "grouping": grouping,
        "space": space,
        "labels_file": labels_file,
        "folds": folds,
        "fits": len(chosen),
        "device": device,
    }
    with (
        locked(out),
        recording(
            "segmenter",
            out=out,
            parameters=values,
            inputs=[index, index.with_name("store.json"), *label_files(source)],
            outputs=files,
            seeds={"seed": seed},
        ) as record,
    ):
        record.note(**settings, n_labels=n_labels)
        record_maps(record, maps)
        # a byte a voxel: all label maps are held at once
        grouped = {scan_id: maps[scan_id] for scan_id in ids}
        entries: list[dict[str, Any]] = []
        for number, (fold, file) in enumerate(zip(chosen, files, strict=True)):
            seen = [scan_id for scan_id in ids if person(scan_id) in fold.seen]
            trained = train_segmenter(
                store.volumes(seen),
                grouped,
                held_out=[scan_id for scan_id in seen if person(scan_id) in fold.selection],
                options=options,
                seed=derive_seed(seed, "segmenter", number),
                device=device,
                say=lambda line, number=number: typer.echo(f"fold {number}: {line}", err=True),
            )
            content = trained.to_bytes()
            with atomic_path(file) as temporary:
                temporary.write_bytes(content)
            unseen = [scan_id for scan_id in ids if person(scan_id) in fold.unseen]
            measured = measure_segmenter(
                trained.segment,
                store.volumes(unseen),
                grouped,
                people_seen=fold.seen,
                structures=structures_of(grouping),
            )
            typer.echo(f"{file}: Dice {measured.values['mean']:.3f} on people it never saw")
            entries.append(
                {
                    "file": file.name,
                    "sha256": sha256_bytes(content),
                    "people_seen": sorted(fold.seen),
                    "first": list(fold.first),
                    "second": list(fold.second),
                    "grouping": grouping,
                    "held_out": measured.to_json(),
                }
            )
        write_json(out, {"store": store.description.source, "segmenters": entries})
