"""`genmorph evaluate memorisation`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genmorph.cli.evaluate.common import Comparison, FeatureWeights, extractor_of
from genmorph.metrics.measurement import Measurement

if TYPE_CHECKING:
    from genmorph.metrics.memorisation import Memorisation
    from genmorph.store import Volumes


def measure(
    two: Comparison,
    *,
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
    feature_weights: FeatureWeights = None,
) -> Measurement:
    """Whether generated volumes are nearer to training people than to held-out people."""
    from genmorph.metrics.memorisation import measure_memorisation

    options = two.options
    seen = _training(two, training)
    found = measure_memorisation(
        two.made.volumes(),
        seen,
        two.real.volumes(two.real_ids),
        space=options.space,
        extractor=extractor_of(two, feature_weights) if options.space == "feature" else None,
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
    if figure:
        two.beside.extend([figure.with_suffix(".png"), figure.with_suffix(".svg")])
        _draw(found, two, seen, figure)
    return found.measurement


def _training(two: Comparison, index: Path | None) -> Volumes:
    """Scans that the model was trained on."""
    from genmorph.errors import CohortError
    from genmorph.store import Store

    if index is not None:
        two.record.add_input(index)
        return Store(index.parent).volumes()
    if not two.by_splits:
        raise CohortError(
            "memorisation: nothing says who was trained on",
            "give --manifest and --participants, or the store of --training",
        )
    return two.real.volumes(two.split_ids("train"))


def _draw(found: Memorisation, two: Comparison, seen: Volumes, path: Path) -> None:
    from genmorph.publish.figures import save_figure, style
    from genmorph.publish.memorisation import draw_nearest_pairs
    from genmorph.publish.views import voxel_sizes

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
