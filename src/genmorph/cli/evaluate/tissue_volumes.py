"""`genmorph evaluate tissue_volumes`."""

from __future__ import annotations

from dataclasses import replace

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
    """Volumes of gray, white and deep gray matter and of fluid beside those of real scans."""
    with comparing(
        "tissue_volumes", generated, reference, manifest, participants, out, parameters
    ) as (two, _):
        from genmorph.metrics.tissue_volumes import TISSUES, compare_tissue_volumes

        options = two.options
        measurement = compare_tissue_volumes(
            two.made.volumes(two.made.ids),
            two.real.volumes(two.real_ids),
            comparisons=options.comparisons or len(TISSUES),
            family_alpha=options.family_alpha,
            equivalence_margin=options.equivalence_margin,
            fewest=options.fewest,
            confidence=options.confidence,
            source={
                "generated": two.made.segmentation,
                "reference": two.real.segmentation,
            },
        )
        notes = (
            *measurement.notes,
            *two.made.note_of_failures("generated"),
            *two.real.note_of_failures("real"),
        )
        write(out, two.placed(replace(measurement, notes=notes)))
