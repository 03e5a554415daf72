"""What P1's figures share: colours, and what all studies' figures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genmorph.publish.figures import BLUE_BLACK_ORANGE, VIOLET_BLACK_YELLOW, diverging
from genmorph.publish.words import describe, words_below
from genmorph.studies.figure_files import Files, Values, model_of_run, scans_of

__all__ = [
    "Files",
    "Values",
    "change_colours",
    "change_limits",
    "describe",
    "growth_colours",
    "model_of_run",
    "scans_of",
    "words_below",
]


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
