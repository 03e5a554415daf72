"""`genmorph evaluate frechet`."""

from __future__ import annotations

from genmorph.cli.evaluate.common import Comparison, FeatureWeights, extractor_of
from genmorph.metrics.measurement import Measurement


def measure(two: Comparison, *, feature_weights: FeatureWeights = None) -> Measurement:
    """Distance between features of the slices of two stores."""
    from genmorph.metrics.frechet import slice_frechet

    options = two.options
    return slice_frechet(
        two.made.volumes().items(),
        two.real.volumes(two.real_ids).items(),
        extractor=extractor_of(two, feature_weights),
        positions=options.positions,
        reference_shape=options.reference_grid,
        half_sample_repeats=options.half_sample_repeats,
        half_sample_seed=options.half_sample_seed,
    )
