"""Memorisation: copies of training scans are flagged, fresh people and the mean image are not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genmorph.controls.made_people import made_people
from genmorph.controls.rows import Result, Row
from genmorph.errors import MeasurementError
from genmorph.metrics.memorisation import measure_memorisation
from genmorph.seeds import derive_seed

VOXEL_MM = 4.0
PEOPLE = 24  # on each side
COPIES = 8
ALPHA = 0.05
NOISE = 0.05
# of 24 fresh people at 5 %: more than five flagged are rarer than 1 in 200
MOST_OF_FRESH = 5 / 24
# of 6 mean images at 5 %: three or more flagged are rarer than 1 in 400
MOST_OF_MEANS = 2 / 6

Volumes = dict[str, np.ndarray]


def run(seed: int, workers: int, folder: Path) -> Result:
    """Offer copies of training scans, fresh people and the mean image as generated volumes."""
    training, held_out, fresh = (
        volumes_of_people(derive_seed(seed, "controls", "people", part) % 1000)
        for part in ("training", "held out", "fresh")
    )
    rows = [
        Row(f"copies of training scans, {kind}: share flagged", "memorisation, image space",
            f"{COPIES} copies, {PEOPLE} people a side", flagged(made, training, held_out), 1.0, 1.0)
        for kind, made in copies(training, seed).items()
    ]  # fmt: skip
    rows.append(
        Row(
            "fresh people: share flagged",
            "memorisation, image space",
            f"{len(fresh)} volumes, {PEOPLE} people a side",
            flagged(fresh, training, held_out),
            0.0,
            MOST_OF_FRESH,
        )
    )
    rows.append(mean_image_row((training, held_out, fresh)))
    rows.append(both_sides_row(training, held_out))
    return Result(tuple(rows))


def volumes_of_people(seed: int) -> Volumes:
    """Brains of 24 people."""
    return {name: brain.volume for name, brain in made_people(PEOPLE, seed, VOXEL_MM).items()}


def copies(training: Mapping[str, np.ndarray], seed: int) -> dict[str, Volumes]:
    """Training scans as a model that remembers them might give them back."""
    chosen = list(training.values())[:COPIES]
    rng = np.random.default_rng(derive_seed(seed, "controls", "copies"))
    changed = {
        "exact": chosen,
        "with noise": [
            np.clip(volume + NOISE * rng.standard_normal(volume.shape), 0, 1) for volume in chosen
        ],
        "shifted by a voxel": [np.roll(volume, 1, axis=0) for volume in chosen],
        "flipped": [volume[::-1] for volume in chosen],
    }
    return {
        kind: {f"sample-{number}": np.float32(one) for number, one in enumerate(volumes)}
        for kind, volumes in changed.items()
    }


def flagged(
    made: Mapping[str, np.ndarray],
    training: Mapping[str, np.ndarray],
    held_out: Mapping[str, np.ndarray],
) -> float:
    """Share of volumes called memorised; NaN when the measure gives none."""
    found = measure_memorisation(made, training, held_out, alpha=ALPHA).measurement
    return found.values.get("share_flagged", float("nan"))


def mean_image_row(groups: Sequence[Volumes]) -> Row:
    """The mean image of each group as a generated volume, each other group held out in turn."""
    found = []
    for training, held_out in itertools.permutations(groups, 2):
        mean = np.mean(list(training.values()), axis=0).astype(np.float32)
        found.append(flagged({"mean": mean}, training, held_out))
    return Row(
        "the mean training image: share flagged",
        "memorisation, image space",
        f"{len(found)} means, {PEOPLE} people a side",
        float(np.mean(found)),
        0.0,
        MOST_OF_MEANS,
    )


def both_sides_row(training: Mapping[str, np.ndarray], held_out: Mapping[str, np.ndarray]) -> Row:
    """A training scan among the held-out ones is refused, not measured."""
    name, volume = next(iter(training.items()))
    try:
        measure_memorisation(held_out, training, {**dict(held_out), name: volume}, alpha=ALPHA)
        refused = 0.0
    except MeasurementError:
        refused = 1.0
    return Row(
        "a training scan on the held-out side: refused", "memorisation", "1 scan", refused, 1.0, 1.0
    )
