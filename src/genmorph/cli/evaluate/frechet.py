"""`genmorph evaluate frechet`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    feature_weights: Annotated[
        Path | None, typer.Option("--feature-weights", help="The FID Inception file.")
    ] = None,
) -> None:
    """Distance between features of the slices of two stores."""
    with comparing("frechet", generated, reference, manifest, participants, out, parameters) as (
        two,
        record,
    ):
        from genmorph.metrics.features import load_extractor
        from genmorph.metrics.frechet import slice_frechet

        weights = None
        if feature_weights is not None:
            weights = feature_weights.read_bytes()
            record.add_input(feature_weights, base="external")
        options = two.options
        measurement = slice_frechet(
            two.made.volumes().items(),
            two.real.volumes(two.real_ids).items(),
            extractor=load_extractor(options.extractor, weights),
            positions=options.positions,
            reference_shape=options.reference_grid,
            half_sample_repeats=options.half_sample_repeats,
            half_sample_seed=options.half_sample_seed,
        )
        write(out, two.placed(measurement))
