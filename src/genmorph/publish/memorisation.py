"""Figure of the generated volumes most like a copy, each above its nearest training scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.comparisons import draw_pairs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from genmorph.metrics.memorisation import NearestPair

SHOWN = 3


def draw_nearest_pairs(
    nearest: Sequence[NearestPair],
    generated: Mapping[str, np.ndarray],
    training: Mapping[str, np.ndarray],
    *,
    voxel_mm: Sequence[float],
    footer: str = "",
    shown: int = SHOWN,
) -> Figure:
    """The first pairs: a generated volume, its nearest training scan, and their difference.

    A training scan is shown as it lies over the generated volume: where a shifted or mirrored copy
    was found, it is shifted and mirrored too. Ids stay out of the picture.

    Parameters
    ----------
    nearest : sequence of NearestPair
        Those most like a copy first, as the measure gives them.
    generated, training : mapping of str to ndarray
        Volume `[x, y, z]`, RAS+, in [0, 1] by id; those shown are read.
    voxel_mm : sequence of float
    footer : str
    shown : int
        Pairs at most.

    Raises
    ------
    GenmorphError
        When there are no pairs.
    """
    if not nearest:
        raise GenmorphError("figure: no nearest pairs to show")
    pairs = [
        (
            title(pair),
            generated[pair.generated],
            np.ascontiguousarray(pair.placement.carried(training[pair.training])),
        )
        for pair in nearest[:shown]
    ]
    words = (
        f"The {len(pairs)} of {len(nearest)} generated volumes most like a copy, with their "
        "nearest training scans. Ratio: distance to that scan over distance to the nearest "
        "held-out scan; 0 for a copy, near 1 for a fresh person."
    )
    return draw_pairs(
        pairs,
        names=("generated", "training"),
        subtracted=1,
        voxel_mm=voxel_mm,
        footer=f"{footer} {words}".strip(),
    )


def title(pair: NearestPair) -> str:
    """What stands above a pair: its ratio and p, and how the training scan had to be moved."""
    lines = ["held-out copy" if pair.ratio is None else f"ratio {pair.ratio:.2f}"]
    if pair.p is not None:
        lines[0] += f", p {pair.p:.2g}"
    moves = ["mirrored"] if pair.placement.mirrored else []
    if any(pair.placement.shift_voxels):
        moves.append("shifted " + " ".join(f"{step:+d}" for step in pair.placement.shift_voxels))
    lines.append(", ".join(moves))
    return "\n".join(lines)
