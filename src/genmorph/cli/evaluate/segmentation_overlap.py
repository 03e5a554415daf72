"""`genmorph evaluate segmentation_overlap`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from genmorph.cli.evaluate.common import (
    NO_PARAMETERS,
    Manifest,
    Out,
    Parameters,
    Participants,
    comparing,
    write,
)
from genmorph.cli.evaluate.tissue_folder import GeneratedTissues, ReferenceTissues


def evaluate(
    generated: GeneratedTissues,
    reference: ReferenceTissues,
    out: Out,
    manifest: Manifest = None,
    participants: Participants = None,
    parameters: Parameters = NO_PARAMETERS,
) -> None:
    """Dice of tissues between scans and their reconstructions of the same ids."""
    with comparing(
        "segmentation_overlap", generated, reference, manifest, participants, out, parameters
    ) as (two, _):
        from genmorph.metrics.segmentation_overlap import measure_segmentation_overlap
        from genmorph.preprocessing.engines.tissue import TISSUES

        sides = [{name: side.maps(name) for name in TISSUES} for side in (two.real, two.made)]
        ids = [scan_id for scan_id in two.real_ids if scan_id in two.made]

        def pairs() -> Iterator[tuple[str, Any, Any]]:
            for scan_id in ids:
                original, rebuilt = (
                    {name: store.read(scan_id) for name, store in stores.items()}
                    for stores in sides
                )
                yield scan_id, original, rebuilt

        measurement = measure_segmentation_overlap(
            pairs(), labels=two.options.labels, brain_threshold=two.options.brain_threshold
        )
        notes = (
            *measurement.notes,
            *two.made.note_of_failures("reconstructed"),
            *two.real.note_of_failures("real"),
        )
        content = two.placed(replace(measurement, notes=notes))
        content["settings"]["segmentation"] = two.made.segmentation
        write(out, content)
