"""`genmorph evaluate atlas_score`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmorph.cli.common import Workers
from genmorph.cli.evaluate.common import (
    NO_PARAMETERS,
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
    import numpy as np

    from genmorph.store import Store


def evaluate(
    generated: Generated,
    reference: Reference,
    out: Out,
    segmenters: Annotated[
        Path, typer.Option("--segmenters", help="segmenters.json of `genmorph segmenter`.")
    ],
    manifest: Manifest = None,
    participants: Participants = None,
    parameters: Parameters = NO_PARAMETERS,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Label maps of real scans, for real_labels: manual."),
    ] = None,
    grouping: Annotated[
        str, typer.Option("--grouping", help="Whose numbers the label maps have.")
    ] = "freesurfer_aseg",
    workers: Workers = 1,
) -> None:
    """Would a generated brain do as an atlas? Its labels, carried to real people, against theirs.

    With a store of other real people as --generated it is the bound that a perfect model reaches.
    """
    from genmorph.errors import ConfigError

    with comparing(
        "atlas_score", generated, reference, manifest, participants, out, parameters
    ) as (two, record):
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
        record.add_input(segmenters)
        manual = None if labels is None else _manual_labels(labels, grouping, two.real)
        how = Registration()
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            measurement = measure_atlas_score(
                two.made.volumes(),
                two.real.volumes(two.real_ids),
                segmenters=read_segmenters(segmenters),
                register=partial(register_volumes, grid_affine=two.real.affine, options=how),
                manual_labels=manual,
                n_generated=options.generated,
                n_reference_each=options.reference_each,
                seed=options.seed,
                least_held_out_dice=options.least_held_out_dice,
                settings={"registration": how.model_dump(mode="json")},
                run_map=pool.map,
            )
        write(out, two.placed(measurement))


def _manual_labels(folder: Path, grouping: str, store: Store) -> Mapping[str, np.ndarray]:
    """Label maps of a store's scans in the groups of the score."""
    from genmorph.metrics.label_groups import group_labels
    from genmorph.preprocessing.label_maps import LabelMaps

    maps: Mapping[str, Any] = LabelMaps(folder, store, "_dseg")
    return {scan_id: group_labels(maps[scan_id], grouping) for scan_id in maps}
