"""`genmorph evaluate diversity`."""

from __future__ import annotations

from genmorph.cli.evaluate.common import Comparison
from genmorph.metrics.measurement import Measurement


def measure(two: Comparison) -> Measurement:
    """How alike generated volumes are; the real store only says what data they belong to."""
    from genmorph.metrics.diversity import measure_diversity

    return measure_diversity(
        two.made.volumes().items(),
        data_range=two.options.data_range,
        max_pairs=two.options.max_pairs,
    )
