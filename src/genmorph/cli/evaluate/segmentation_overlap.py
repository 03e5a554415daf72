"""`genmorph evaluate segmentation_overlap`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from genmorph.cli.evaluate.common import Comparison
from genmorph.metrics.measurement import Measurement


def measure(two: Comparison) -> Measurement:
    """Dice of tissues between scans and their reconstructions of the same ids."""
    from genmorph.metrics.segmentation_overlap import measure_segmentation_overlap
    from genmorph.preprocessing.engines.tissue import TISSUES

    sides = [{name: side.maps(name) for name in TISSUES} for side in (two.real, two.made)]

    def pairs() -> Iterator[tuple[str, Any, Any]]:
        for scan_id in (name for name in two.real_ids if name in two.made):
            original, rebuilt = (
                {name: store.read(scan_id) for name, store in stores.items()} for stores in sides
            )
            yield scan_id, original, rebuilt

    found = measure_segmentation_overlap(
        pairs(), labels=two.options.labels, brain_threshold=two.options.brain_threshold
    )
    settings = {**found.settings, "segmentation": two.made.segmentation}
    return two.noted(replace(found, settings=settings))
