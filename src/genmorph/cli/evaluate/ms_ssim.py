"""`genmorph evaluate ms_ssim`."""

from __future__ import annotations

from genmorph.cli.evaluate.common import (
    NO_PARAMETERS,
    Generated,
    Manifest,
    Out,
    Parameters,
    Participants,
    Reference,
    comparing,
    write,
)


def evaluate(
    generated: Generated,
    reference: Reference,
    out: Out,
    manifest: Manifest = None,
    participants: Participants = None,
    parameters: Parameters = NO_PARAMETERS,
) -> None:
    """How alike samples are, pair by pair; with `store: reconstructions`, how like their scans."""
    with comparing("ms_ssim", generated, reference, manifest, participants, out, parameters) as (
        two,
        _,
    ):
        from genmorph.metrics.ms_ssim import measure_ms_ssim, measure_ms_ssim_reconstruction

        options = two.options
        how = {
            "mode": options.mode,
            "data_range": options.data_range,
            "intensity_range": options.intensity_range,
            "coarsest_power": options.coarsest_power,
        }
        if options.store == "samples":
            measurement = measure_ms_ssim(
                two.made.volumes(),
                **how,
                max_pairs=options.max_pairs,
                seed=options.seed,
                volumes_in_memory=options.volumes_in_memory,
            )
        else:
            measurement = measure_ms_ssim_reconstruction(
                ((name, two.real.read(name), two.made.read(name)) for name in two.real_ids), **how
            )
        write(out, two.placed(measurement))
