"""`genmorph evaluate reconstruction`."""

from __future__ import annotations

from genmorph.cli.evaluate.common import Comparison
from genmorph.metrics.measurement import Measurement


def measure(two: Comparison) -> Measurement:
    """How near reconstructions come to the scans of the same ids."""
    from genmorph.metrics.reconstruction import measure_reconstruction

    return measure_reconstruction(
        ((name, two.real.read(name), two.made.read(name)) for name in two.real_ids),
        data_range=two.options.data_range,
    )
