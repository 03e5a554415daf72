"""`genmorph evaluate mmd`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genmorph.cli.evaluate.common import Comparison
from genmorph.metrics.measurement import Measurement

HELD_OUT = "test"


def measure(two: Comparison) -> Measurement:
    """How far the mean images of batches are apart, with what equal distributions would give.

    Against another split than the test scans, values against these stand beside, as `held_out_mmd`
    and so on, and notes on these say so: a training reference rewards copies. They are absent when
    the test scans are fewer than a batch.
    """
    measurement = _against(two, two.options.split)
    if two.options.split == HELD_OUT or not two.by_splits:
        return measurement
    held_out = len(two.split_ids(HELD_OUT))
    if held_out < two.options.batch_size:
        note = f"MMD to the {held_out} test scans: n/a, as batches are of {two.options.batch_size}."
        return replace(measurement, notes=(*measurement.notes, note))
    beside = _against(two, HELD_OUT)
    return replace(
        measurement,
        values=measurement.values | _renamed(beside.values),
        spread=measurement.spread | _renamed(beside.spread),
        n=measurement.n | _renamed(beside.n),
        notes=(*measurement.notes, *(f"To the test scans: {note}" for note in beside.notes)),
    )


def _against(two: Comparison, split: str) -> Measurement:
    from genmorph.metrics.mmd import measure_mmd

    options = two.options
    return measure_mmd(
        two.made.volumes(),
        two.real.volumes(two.split_ids(split)),
        convention=options.convention,
        batch_size=options.batch_size,
        repeats=options.repeats,
        paired=options.paired,
        natural_log=options.natural_log,
        seed=options.seed,
        reference_name=split,
        intensity_range=options.intensity_range,
    )


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"held_out_{name}": value for name, value in values.items()}
