"""`genmorph evaluate tissue_volumes`."""

from __future__ import annotations

from genmorph.cli.evaluate.common import Comparison
from genmorph.metrics.measurement import Measurement


def measure(two: Comparison) -> Measurement:
    """Volumes of gray, white and deep gray matter and of fluid beside those of real scans."""
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
        source={"generated": two.made.segmentation, "reference": two.real.segmentation},
    )
    return two.noted(measurement)
