"""`genmorph evaluate atlas_score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genmorph.cli.common import Workers
from genmorph.cli.evaluate.common import Comparison
from genmorph.cli.labels import Grouping, LabelsFile, LabelsNames, Space, Status, record_maps
from genmorph.errors import ConfigError
from genmorph.metrics.measurement import Measurement

if TYPE_CHECKING:
    from genmorph.preprocessing.label_maps import LabelMaps, LabelSource
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
    grouping: Grouping = "freesurfer_aseg",
    space: Space = "preprocessed",
    labels_file: LabelsFile = "**/{scan_id}_dseg.nii.gz",
    labels_names: LabelsNames = None,
    status: Status = None,
    workers: Workers = 1,
) -> Measurement:
    """Would a generated brain do as an atlas? Its labels, carried to real people, against theirs.

    With a store of other real people as --generated it is the bound that a perfect model reaches.
    """
    from concurrent.futures import ProcessPoolExecutor
    from functools import partial
    from multiprocessing import get_context

    from genmorph.metrics.atlas_score import measure_atlas_score
    from genmorph.metrics.label_groups import structures_of
    from genmorph.preprocessing.label_maps import LabelSource
    from genmorph.preprocessing.steps import Registration
    from genmorph.preprocessing.volumes import register_volumes
    from genmorph.training.segmenters import read_segmenters
    from genmorph.validation import validate

    options = two.options
    if (options.real_labels == "manual") != (labels is not None):
        raise ConfigError(
            f"atlas score: real_labels {options.real_labels}, and "
            f"{'no folder' if labels is None else 'a folder'} of labels",
            "give --labels with real_labels: manual, and only then",
        )
    two.record.add_input(segmenters)
    fitted = read_segmenters(segmenters)
    learnt = str(fitted[0].settings["grouping"])
    manual = None
    if labels is not None:
        source = LabelSource(
            labels, grouping, labels_file, space, status, two.manifest, labels_names
        )
        manual = _manual_labels(source, learnt, two.real)
        if status is not None:
            two.record.add_input(status)
        record_maps(two.record, manual)
    how = validate(Registration, options.registration, "atlas_score.registration")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return measure_atlas_score(
            two.made.volumes(),
            two.real.volumes(two.real_ids),
            segmenters=fitted,
            register=partial(register_volumes, grid_affine=two.real.affine, options=how),
            manual_labels=manual,
            structures=structures_of(learnt),
            n_generated=options.generated,
            n_reference_each=options.reference_each,
            seed=options.seed,
            least_held_out_dice=options.least_held_out_dice,
            settings={"registration": how.model_dump(mode="json")},
            run_map=pool.map,
        )


def _manual_labels(source: LabelSource, learnt: str, store: Store) -> LabelMaps:
    """Label maps of a store's scans, in the groups that the segmenters give."""
    from genmorph.metrics.label_groups import group_names
    from genmorph.preprocessing.label_maps import LabelMaps

    if group_names(source.grouping) != group_names(learnt):
        raise ConfigError(
            f"atlas score: labels in the groups of {source.grouping}, segmenters in those of "
            f"{learnt}",
            "train the segmenters on the same labels",
        )
    return LabelMaps(source, store)
