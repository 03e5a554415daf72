"""Trained segmenters, as files have them."""

from __future__ import annotations

from pathlib import Path

from genmorph.errors import WeightsError
from genmorph.files import read_json, sha256_bytes
from genmorph.metrics.atlas_pairs import FittedSegmenter
from genmorph.metrics.measurement import Measurement


def read_segmenters(description: Path) -> list[FittedSegmenter]:
    """The segmenters that `genmorph segmenter` wrote.

    Raises
    ------
    WeightsError
        When a file is missing, or not the one that was written.
    """
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
