"""`genmorph evaluate reconstruction`."""

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
    """How near reconstructions come to the scans of the same ids."""
    with comparing(
        "reconstruction", generated, reference, manifest, participants, out, parameters
    ) as (two, _):
        from genmorph.metrics.reconstruction import measure_reconstruction

        measurement = measure_reconstruction(
            ((name, two.real.read(name), two.made.read(name)) for name in two.real_ids),
            data_range=two.options.data_range,
        )
        write(out, two.placed(measurement))
