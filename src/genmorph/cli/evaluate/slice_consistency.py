"""`genmorph evaluate slice_consistency`."""

from __future__ import annotations

from genmorph.cli.evaluate.common import Comparison
from genmorph.metrics.measurement import Measurement


def measure(two: Comparison) -> Measurement:
    """Whether neighbouring slices fit: their differences along each axis beside those of scans."""
    from genmorph.metrics.slice_consistency import measure_slice_consistency

    return measure_slice_consistency(
        two.made.volumes(),
        two.real.volumes(two.real_ids),
        background=two.options.background,
    )
