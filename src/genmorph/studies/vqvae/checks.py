"""P3's printed numbers checked against each other: how far the codes compress a volume.

All stand in the running text, each with its place in the paper.
"""

from __future__ import annotations

import math

from genmorph.publish.checks import IMPLIES, Check, consistent, rounding_interval

STUDY = "vqvae"

GRID = (192, 256, 192)  # caption of table 1
# section 2.1: voxels of each level's codes, and numbers in a code
LEVELS = (((48, 64, 48), 2), ((12, 16, 12), 8), ((3, 4, 3), 32))
CUBES = (48, 12, 3)  # section 2.1 names the levels 48³, 12³, 3³
VOXEL_BYTES, CODE_BYTES = 4, 1  # section 2.1: 32-bit floats, 8-bit integers
VARIABLES_PERCENT, BITS_PERCENT = "3.3", "0.825"  # section 2.1; abstract, section 6
# appendix: α-WGAN trained on controls at low resolution, measured at high
LARGEST_LOG_MMD = "15.676"


def checks() -> list[Check]:
    """Every check of this paper."""
    return [cubes(), variables(), bits(), indices(), logarithm()]


def numbers() -> int:
    """Numbers in the quantised codes of a volume, over all levels."""
    return sum(math.prod(grid) * size for grid, size in LEVELS)


def positions() -> int:
    """Codes of a volume, over all levels: each is one index of a codebook."""
    return sum(math.prod(grid) for grid, _ in LEVELS)


def cubes() -> Check:
    """Whether the levels are the cubes that the text calls them."""
    named = [set(grid) == {cube} for cube, (grid, _) in zip(CUBES, LEVELS, strict=True)]
    factors = [
        "x".join(f"{size / side:g}" for size, side in zip(GRID, grid, strict=True))
        for grid, _ in LEVELS
    ]
    return Check(
        STUDY,
        "levels named as cubes",
        "Whether both ways to state a level's grid agree. The grid of the volumes tells which of "
        "them fits halvings on all axes; not what was run.",
        f"{', '.join(f'{cube}³' for cube in CUBES)}; "
        + ", ".join("x".join(map(str, grid)) for grid, _ in LEVELS),
        f"{'x'.join(map(str, GRID))} voxels are {', '.join(factors)} times the three grids",
        consistent(all(named)),
    )


def variables() -> Check:
    """The share of numbers that the codes keep."""
    share = 100 * numbers() / math.prod(GRID)
    return Check(
        STUDY,
        "compression in variables",
        "Whether the levels' sizes give the printed share of numbers; not how much a number holds.",
        f"{VARIABLES_PERCENT} %; {_levels()}",
        f"{numbers()} / {math.prod(GRID)} = {share:.3f} %",
        _within(share, VARIABLES_PERCENT),
    )


def bits() -> Check:
    """The share of bytes, if each number of a code is one byte."""
    voxels = math.prod(GRID)
    share = 100 * numbers() * CODE_BYTES / (voxels * VOXEL_BYTES)
    rounded = float(VARIABLES_PERCENT) * CODE_BYTES / VOXEL_BYTES
    return Check(
        STUDY,
        "compression in bytes, a byte each number of a code",
        "Whether the printed share of bytes follows from the sizes. If it follows from the rounded "
        "share of numbers alone, it carries that rounding; whether a number is stored in a byte is "
        "another question.",
        f"{BITS_PERCENT} %; {_levels()}",
        f"{numbers() * CODE_BYTES} / {voxels * VOXEL_BYTES} = {share:.3f} %; from the rounded "
        f"{VARIABLES_PERCENT} % it is {rounded:.3f} %",
        _within(share, BITS_PERCENT),
    )


def indices() -> Check:
    """The share of bytes, if each code is one 8-bit index of its codebook."""
    voxels = math.prod(GRID)
    stored = positions() * CODE_BYTES
    share = 100 * stored / (voxels * VOXEL_BYTES)
    return Check(
        STUDY,
        "compression in bytes, a byte each code",
        "What storing the index of each code would take, 256 being what 8 bits can tell apart. The "
        "paper's share is larger than it needs to be; the codebooks' own bytes, the same for every "
        "volume, are not counted.",
        f"{BITS_PERCENT} %; 8-bit integers; {_levels()}",
        f"{stored} / {voxels * VOXEL_BYTES} = {share:.3f} %",
        f"{IMPLIES}{share:.3f} % with one index a code",
    )


def logarithm() -> Check:
    """Which logarithm the discrepancies are printed in."""
    voxels = math.prod(GRID)
    natural, decimal = (base ** float(LARGEST_LOG_MMD) / voxels for base in (math.e, 10))
    # both means lie in the range of the voxels: [-1, 1] is the widest in use
    largest = 4.0
    return Check(
        STUDY,
        "log(MMD) is a natural logarithm",
        "The biased estimate with a linear kernel is a squared distance of two means: a voxel can "
        "give 4 at most on [-1, 1], and 1 on [0, 1]. Which of the two ranges it was, and the batch "
        "size, cannot be told.",
        f"log(MMD) up to {LARGEST_LOG_MMD} at {'x'.join(map(str, GRID))}",
        f"a voxel: {natural:.3f} if natural, {decimal:.3g} if to base ten",
        f"{IMPLIES}natural logarithm"
        if natural <= largest < decimal
        else f"{IMPLIES}no logarithm can be ruled out",
    )


def _within(value: float, printed: str) -> str:
    low, high = rounding_interval(printed)
    return consistent(low <= value <= high)


def _levels() -> str:
    return " + ".join(f"{'x'.join(map(str, grid))} x {size}" for grid, size in LEVELS)
