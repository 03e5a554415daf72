"""`genmorph evaluate diversity`."""

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
    """How alike generated volumes are; the real store only says what data they belong to."""
    with comparing("diversity", generated, reference, manifest, participants, out, parameters) as (
        two,
        _,
    ):
        from genmorph.metrics.diversity import measure_diversity

        measurement = measure_diversity(
            two.made.volumes().items(),
            data_range=two.options.data_range,
            max_pairs=two.options.max_pairs,
        )
        write(out, two.placed(measurement))
