"""`genmorph evaluate atlas_score`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmorph.cli.common import Workers
from genmorph.cli.evaluate.common import Comparison
from genmorph.errors import ConfigError
from genmorph.metrics.measurement import Measurement

if TYPE_CHECKING:
    import numpy as np

    from genmorph.store import Store


def measure(
    two: Comparison,
    *,
    segmenters: Annotated[
        Path, typer.Option("--segmenters", help="segmenters.json of `genmorph segmenter`.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Label maps of real scans, for real_labels: manual."),
    ] = None,
    grouping: Annotated[
        str, typer.Option("--grouping", help="Whose numbers the label maps have.")
    ] = "freesurfer_aseg",
    workers: Workers = 1,
) -> Measurement:
    """Would a generated brain do as an atlas? Its labels, carried to real people, against theirs.

    With a store of other real people as --generated it is the bound that a perfect model reaches.
    """
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    from genmorph.cli.segmenter import read_segmenters
    from genmorph.metrics.atlas_score import measure_atlas_score
    from genmorph.preprocessing.steps import Registration
    from genmorph.preprocessing.volumes import register_volumes

    options = two.options
    if (options.real_labels == "manual") != (labels is not None):
        raise ConfigError(
            f"atlas score: real_labels {options.real_labels}, and "
            f"{'no folder' if labels is None else 'a folder'} of labels",
            "give --labels with real_labels: manual, and only then",
        )
    two.record.add_input(segmenters)
    how = Registration()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return measure_atlas_score(
            two.made.volumes(),
            two.real.volumes(two.real_ids),
            segmenters=read_segmenters(segmenters),
            register=partial(register_volumes, grid_affine=two.real.affine, options=how),
            manual_labels=None if labels is None else _manual_labels(labels, grouping, two.real),
            n_generated=options.generated,
            n_reference_each=options.reference_each,
            seed=options.seed,
            least_held_out_dice=options.least_held_out_dice,
            settings={"registration": how.model_dump(mode="json")},
            run_map=pool.map,
        )


def _manual_labels(folder: Path, grouping: str, store: Store) -> Mapping[str, np.ndarray]:
    """Label maps of a store's scans in the groups of the score."""
    from genmorph.metrics.label_groups import group_labels
    from genmorph.preprocessing.label_maps import LabelMaps

    maps: Mapping[str, Any] = LabelMaps(folder, store, "_dseg")
    return {scan_id: group_labels(maps[scan_id], grouping) for scan_id in maps}
