"""`genmorph evaluate memorisation`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genmorph.cli.evaluate.common import (
    NO_PARAMETERS,
    Comparison,
    Generated,
    Manifest,
    Out,
    Parameters,
    Participants,
    Reference,
    comparing,
    write,
)

if TYPE_CHECKING:
    from genmorph.metrics.memorisation import Memorisation
    from genmorph.store import Volumes


def evaluate(
    generated: Generated,
    reference: Reference,
    out: Out,
    manifest: Manifest = None,
    participants: Participants = None,
    parameters: Parameters = NO_PARAMETERS,
    training: Annotated[
        Path | None,
        typer.Option(
            "--training",
            help="index.tsv of a store of training scans alone; without it they are the training "
            "split of the real store, by its participants.tsv.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="PNG of the nearest pairs to draw, with an SVG beside it."),
    ] = None,
    feature_weights: Annotated[
        Path | None, typer.Option("--feature-weights", help="The FID Inception file.")
    ] = None,
) -> None:
    """Whether generated volumes are nearer to training people than to held-out people."""
    from genmorph.errors import CohortError

    if training is None and manifest is None:
        raise CohortError(
            "memorisation: nothing says who was trained on",
            "give --manifest and --participants, or the store of --training",
        )
    drawn = [figure.with_suffix(".png"), figure.with_suffix(".svg")] if figure else []
    with comparing(
        "memorisation", generated, reference, manifest, participants, out, parameters, drawn
    ) as (two, record):
        from genmorph.metrics.memorisation import measure_memorisation
        from genmorph.store import Store

        if training is None:
            seen = two.real.volumes(two.split_ids("train"))
        else:
            record.add_input(training)
            seen = Store(training.parent).volumes()
        options = two.options
        extractor = None
        if options.space == "feature":
            from genmorph.metrics.features import load_extractor

            weights = None
            if feature_weights is not None:
                weights = feature_weights.read_bytes()
                record.add_input(feature_weights, base="external")
            extractor = load_extractor(options.extractor, weights)
        found = measure_memorisation(
            two.made.volumes(),
            seen,
            two.real.volumes(two.real_ids),
            space=options.space,
            extractor=extractor,
            blur_voxels=options.blur_voxels,
            shift_voxels=options.shift_voxels,
            mirror=options.mirror,
            positions=options.positions,
            reference_shape=options.reference_grid,
            averaged_slices=options.averaged_slices,
            people=options.people,
            draws=options.draws,
            permutations=options.permutations,
            alpha=options.alpha,
            seed=options.seed,
            chunk=options.chunk,
        )
        write(out, two.placed(found.measurement))
        if figure:
            _draw(found, two, seen, figure)


def _draw(found: Memorisation, two: Comparison, seen: Volumes, path: Path) -> None:
    from genmorph.publish.figures import save_figure, style, voxel_sizes
    from genmorph.publish.memorisation import draw_nearest_pairs

    label = two.real.description.data_label.rstrip(".")
    with style():
        drawn = draw_nearest_pairs(
            found.nearest,
            two.made.volumes(),
            seen,
            voxel_mm=voxel_sizes(two.real.affine),
            footer=f"Data: {label}." if label else "",
        )
    save_figure(drawn, path.with_suffix(""))
