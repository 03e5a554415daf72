"""P2's printed numbers checked against each other.

Numbers of Table 1 come from `reported.csv`; those of the running text stand here, each with its
place in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from genmorph.publish.checks import IMPLIES, Check, consistent, read_reported

STUDY = "slice_vae"
REPORTED = Path(__file__).with_name("reported.csv")
TABLE = "table1"
SIZES = (64, 128, 256)
OURS = "slice_vae"
# models with a number at every size
AT_EVERY_SIZE = (OURS, "alpha_wgan")
BATCH = {64: 8, 128: 8, 256: 4}  # section 4.2

Rows = Mapping[str, Mapping[str, str]]


def checks() -> list[Check]:
    """Every check of this paper."""
    rows = read_reported(REPORTED, TABLE)
    return [
        equal_batches(rows),
        *(half_batch(rows, model) for model in AT_EVERY_SIZE),
        lowest(rows),
    ]


def per_voxel(rows: Rows, model: str) -> dict[int, float]:
    """A model's MMD divided by the number of voxels, by size of the grid."""
    return {
        size: float(rows[model][f"mmd_{size}"]) / size**3
        for size in SIZES
        if f"mmd_{size}" in rows[model]
    }


def equal_batches(rows: Rows) -> Check:
    """Two sizes measured with one batch size."""
    own = per_voxel(rows, OURS)
    ratio = own[128] / own[64]
    return Check(
        STUDY,
        "MMD a voxel at one batch size",
        "The estimate is a sum over voxels: divided by their number, two sizes with batches of 8 "
        "come near each other (within a tenth) if the model is as good at both. It cannot tell "
        "distance from the estimate's floor.",
        f"64³ {rows[OURS]['mmd_64']}, 128³ {rows[OURS]['mmd_128']}",
        f"a voxel {own[64]:.5f} and {own[128]:.5f}, ratio {ratio:.2f}",
        consistent(abs(ratio - 1) < 0.1),
    )


def half_batch(rows: Rows, model: str) -> Check:
    """What half the batch alone does to the number at 256³."""
    own = per_voxel(rows, model)
    small, large = (1 / BATCH[size] for size in (256, 128))
    # value = distance + spread / batch, were both the same at the two sizes
    spread = (own[256] - own[128]) / (small - large)
    distance = own[128] - spread * large
    ratio = own[256] / own[128]
    part = 100 * spread * large / own[128]
    return Check(
        STUDY,
        f"MMD at half the batch: {model}",
        "The biased estimate of two equal distributions is their spread over the batch size: half "
        "the batch doubles it. If distance and spread a voxel were the same at 128³ and 256³, this "
        "is how the number splits; that they were the same cannot be shown.",
        f"128³ {rows[model]['mmd_128']} (batches of {BATCH[128]}), 256³ {rows[model]['mmd_256']} "
        f"(batches of {BATCH[256]})",
        f"a voxel {own[128]:.5f} and {own[256]:.5f}, ratio {ratio:.2f}, by the batch alone "
        f"{small / large:g}; distance {distance:.5f}, floor at 128³ {spread * large:.5f}",
        f"{IMPLIES}the floor would be {part:.0f} % of the number at 128³",
    )


def lowest(rows: Rows) -> Check:
    """The text's claim of the lowest MMD at 128³ and 256³, and the second lowest at 64³."""
    orders = {
        size: sorted(
            (model for model in rows if f"mmd_{size}" in rows[model]),
            key=lambda model, size=size: float(rows[model][f"mmd_{size}"]),
        )
        for size in SIZES
    }
    return Check(
        STUDY,
        "order of the models by MMD",
        "Whether the table bears out what the text says of it: second to VAE-GAN at 64³, lowest at "
        "128³ and 256³. Whether the differences are more than chance cannot be told, as no spread "
        "is printed.",
        "; ".join(
            f"{size}³ " + ", ".join(f"{model} {rows[model][f'mmd_{size}']}" for model in order)
            for size, order in orders.items()
        ),
        "; ".join(f"{size}³: {', '.join(order[:2])}" for size, order in orders.items()),
        consistent(
            orders[64][:2] == ["vae_gan", OURS] and orders[128][0] == orders[256][0] == OURS
        ),
    )
