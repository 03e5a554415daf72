"""What P1's figures share: the words under them, the model of a run, colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.figures import (
    BLUE_BLACK_ORANGE,
    VIOLET_BLACK_YELLOW,
    diverging,
    small_print,
    voxel_sizes,
)

if TYPE_CHECKING:
    from genmorph.cohorts.manifest import Scan
    from genmorph.store import Store

Files = Mapping[str, Path]
Values = Mapping[str, Any]


def describe(scan: Scan, *, diagnosis: bool = True) -> str:
    """Age and, where wanted, diagnosis of a scan, as far as known.

    Ids stay out of a picture, and ages from 90 years are not told apart: it is made to be shared.
    """
    words = []
    if scan.age_years is not None:
        words.append("90+ years" if scan.age_years >= 90 else f"{scan.age_years:.0f} years")
    if diagnosis and scan.diagnosis is not None:
        words.append(scan.diagnosis)
    return ", ".join(words) or "age unknown"


def words_below(
    store: Store, values: Values, notes: Sequence[str] = (), *, sides: bool = True
) -> str:
    """Small print of a figure; `store` tells what must be said of the data, and whose they are."""
    source = store.description.source
    run = [f"Model {source['model']}, seed {source['seed']}."] if "seed" in source else []
    return small_print(
        data_label=store.description.data_label,
        shape=store.shape,
        voxel_mm=voxel_sizes(store.affine),
        scale=values["scale"],
        notes=[*run, *notes],
        sides=sides,
    )


def model_of_run(files: Files, store: Store) -> Any:
    """The model of the figure's `checkpoint`, on the CPU.

    Raises
    ------
    GenmorphError
        When it was made for another grid than the store's.
    """
    from genmorph.training.checkpoints import load_model

    model = load_model(files["checkpoint"])
    if tuple(model.shape) != tuple(store.shape):
        raise GenmorphError(
            f"{files['checkpoint']}: made for a grid of {tuple(model.shape)}, "
            f"{store.folder} has {tuple(store.shape)}",
            "give the store the model was trained on",
        )
    return model


def growth_colours() -> Any:
    """Blue below the middle, orange above it."""
    return diverging("growth", BLUE_BLACK_ORANGE)


def change_colours() -> Any:
    """Violet below the middle, yellow above it."""
    return diverging("change", VIOLET_BLACK_YELLOW)


def change_limits(changes: Sequence[np.ndarray]) -> tuple[float, float]:
    """Limits for changes of intensity, in hundredths, the greatest 1 in 500 of all aside."""
    shown = np.abs(np.concatenate([change.ravel() for change in changes]))
    limit = max(float(np.ceil(np.quantile(shown, 0.998) * 100)) / 100, 0.01)
    return -limit, limit
