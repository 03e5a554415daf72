"""`genmorph segmenter`: the instrument of the realistic atlas score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmorph.cli.common import Out, Seed, StoreIndex, read_parameters

if TYPE_CHECKING:
    from genmorph.metrics.atlas_pairs import FittedSegmenter


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("segmenter")(segmenter)


def segmenter(
    index: StoreIndex,
    labels: Annotated[
        Path,
        typer.Option(
            "--labels",
            help="Folder of label maps of these volumes: SCAN_dseg.nii.gz, at any depth.",
        ),
    ],
    grouping: Annotated[
        str,
        typer.Option(
            "--grouping", help="Whose numbers they are: freesurfer_aseg or neuromorphometrics."
        ),
    ],
    out: Out,
    seed: Seed = 0,
    suffix: Annotated[
        str, typer.Option("--suffix", help="What follows the id in a label map's name.")
    ] = "_dseg",
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
    measured on the labelled people that it never saw.

    Example:
      genmorph segmenter --index results/preprocessed/oasis/slice_vae_64/index.tsv
        --labels labels --grouping freesurfer_aseg --out segmenter/segmenters.json
    """
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(values.pop("numerical_threads", 1))
    from genmorph.errors import CohortError
    from genmorph.files import atomic_path, locked, sha256_bytes, write_json
    from genmorph.metrics.label_groups import group_labels
    from genmorph.metrics.label_overlap import measure_segmenter
    from genmorph.metrics.measurement import person
    from genmorph.metrics.people_folds import folds_of_people
    from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
    from genmorph.models.slice_segmenter_training import train_segmenter
    from genmorph.preprocessing.label_maps import LabelMaps
    from genmorph.provenance.record import recording
    from genmorph.seeds import derive_seed
    from genmorph.store import Store
    from genmorph.validation import validate

    options = validate(SliceSegmenterOptions, values, "segmenter")
    store = Store(index.parent)
    maps = LabelMaps(labels, store, suffix)
    ids = list(maps)
    if unnamed := [scan_id for scan_id in ids if person(scan_id) is None]:
        raise CohortError(f"{index}: {', '.join(unnamed[:3])}: ids that name no people")
    made = folds_of_people((str(person(scan_id)) for scan_id in ids), folds=folds, seed=seed)
    chosen = made[: fits or folds]
    files = [out.with_name(f"segmenter-{number}.safetensors") for number in range(len(chosen))]
    settings = {"grouping": grouping, "folds": folds, "fits": len(chosen), "device": device}
    with (
        locked(out),
        recording(
            "segmenter",
            out=out,
            parameters=options.model_dump(mode="json") | settings | {"suffix": suffix},
            inputs=[index, index.with_name("store.json")],
            outputs=files,
            seeds={"seed": seed},
        ) as record,
    ):
        for path in maps.files.values():
            record.add_input(path, base="external")
        # a byte a voxel: all label maps are held at once
        grouped = {scan_id: group_labels(maps[scan_id], grouping) for scan_id in ids}
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
                trained.segment, store.volumes(unseen), grouped, people_seen=fold.seen
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


def read_segmenters(description: Path) -> list[FittedSegmenter]:
    """The segmenters that `genmorph segmenter` wrote.

    Raises
    ------
    WeightsError
        When a file is missing, or not the one that was written.
    """
    from genmorph.errors import WeightsError
    from genmorph.files import read_json, sha256_bytes
    from genmorph.metrics.atlas_pairs import FittedSegmenter
    from genmorph.metrics.measurement import Measurement
    from genmorph.models.slice_segmenter import SliceSegmenter

    fitted = []
    for entry in read_json(description)["segmenters"]:
        file = description.with_name(entry["file"])
        content = file.read_bytes() if file.is_file() else b""
        if sha256_bytes(content) != entry["sha256"]:
            raise WeightsError(
                f"{file}: missing, or not the segmenter that {description} tells of",
                "train the segmenter again",
            )
        segmenter = SliceSegmenter.from_bytes(content)
        held_out = Measurement.from_json(entry["held_out"])
        fitted.append(
            FittedSegmenter(
                segment=segmenter.segment,
                people_seen=frozenset(entry["people_seen"]),
                held_out_dice=held_out.values,
                settings={
                    "sha256": entry["sha256"],
                    "grouping": entry["grouping"],
                    "options": segmenter.options.model_dump(mode="json"),
                    "best_epoch": segmenter.facts["best_epoch"],
                },
            )
        )
    return fitted
