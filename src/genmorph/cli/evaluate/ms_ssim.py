"""`genmorph evaluate ms_ssim`."""

from __future__ import annotations

from genmorph.cli.evaluate.common import Comparison
from genmorph.metrics.measurement import Measurement


def measure(two: Comparison) -> Measurement:
    """How alike samples are, pair by pair; with `store: reconstructions`, how like their scans."""
    from genmorph.metrics.ms_ssim import measure_ms_ssim, measure_ms_ssim_reconstruction

    options = two.options
    how = {
        "mode": options.mode,
        "data_range": options.data_range,
        "intensity_range": options.intensity_range,
        "coarsest_power": options.coarsest_power,
    }
    if options.store != "samples":
        return measure_ms_ssim_reconstruction(
            ((name, two.real.read(name), two.made.read(name)) for name in two.real_ids), **how
        )
    return measure_ms_ssim(
        two.made.volumes(),
        **how,
        max_pairs=options.max_pairs,
        seed=options.seed,
        volumes_in_memory=options.volumes_in_memory,
    )
