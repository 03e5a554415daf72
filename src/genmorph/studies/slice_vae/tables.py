"""Shape of P2's table, and of those that go beyond it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from genmorph.publish.tables import Column, Row, Table

REPORTED = Path(__file__).with_name("reported.csv")
# the paper's edge of a volume, and its batches and tests of the MMD (section 4.2)
SIZES = {64: (8, 100), 128: (8, 100), 256: (4, 10)}

ROWS = (
    Row("3D WGAN GP", "wgan_gp", "wgan_gp"),
    Row("3D VAE GAN", "vae_gan", "vae_gan"),
    Row("3D α-GAN", "alpha_gan", "alpha_gan"),
    Row("3D α-WGAN", "alpha_wgan", "alpha_wgan"),
    Row("3D VAE", "vae3d", "vae3d"),
    Row("slice VAE", "slice_vae", "slice_vae"),
    Row("real: training scans", "training_scans", "real"),
    Row("reference: training mean plus noise", "training_mean_noise"),
    Row("reference: independent slices", "independent_slices"),
)
RECONSTRUCTION = (("L1", "l1", ".4f"), ("L2", "l2", ".4f"), ("SSIM", "ssim", ".3f"))
GRIDS = (
    "A model has the paper's settings of one size and the grid of its column; at scale paper the "
    "two are the same.",
)


def _of_size(size: int, title: str, measure: str, key: str, form: str, **more: str) -> Column:
    """A column of what the paper's size became at this scale."""
    return Column(f"{title} at {{grid}}", measure, key, form, runs=f"{{row}}-{size}", **more)


def _in_paper(size: int) -> tuple[Column, ...]:
    """MMD and MS-SSIM of one size."""
    batch, repeats = SIZES[size]
    grid = f"{size}x{size}x{size}"
    common = {"intensity_range": [-1.0, 1.0], "grid": grid}
    mmd = {**common, "convention": "biased", "batch_size": batch, "repeats": repeats}
    return (
        Column(
            title="MMD at {grid}",
            measure="mmd",
            key="mmd",
            form=".4g",
            reported=f"mmd_{size}",
            reported_title=f"MMD at {grid}",
            paper={**mmd, "reference_split": "train", "n": 960},
            runs=f"{{row}}-{size}",
        ),
        _of_size(size, "MMD of equal distributions", "mmd", "floor", ".4g"),
        Column(
            title="MS-SSIM at {grid}",
            measure="ms_ssim",
            key="ms_ssim",
            form=".4f",
            reported=f"ms_ssim_{size}",
            reported_title=f"MS-SSIM at {grid}",
            paper={**common, "mode": "kwon"},
            runs=f"{{row}}-{size}",
        ),
    )


def _beyond(size: int) -> tuple[Column, ...]:
    """What the paper does not tabulate, of one size."""
    consistency, likelihood = "slice_consistency", "latent_likelihood"
    density = "gaussian_over_slices"
    return (
        _of_size(size, "{label} all axes", "frechet", "all_axes", ".1f"),
        _of_size(size, "difference of neighbouring coronal slices", consistency, "coronal", ".4f"),
        _of_size(size, "the same of real scans", consistency, "coronal_reference", ".4f"),
        _of_size(size, "departure of the former", consistency, "coronal_departure", ".3f"),
        _of_size(size, "realistic atlas score", "atlas_score", "mean", ".3f"),
        _of_size(size, "log p of held-out codes", likelihood, f"log_density_{density}", ".0f"),
        _of_size(
            size,
            "bound on log p of held-out volumes",
            likelihood,
            f"elbo_{density}_with_noise",
            ".0f",
        ),
    )


def _anatomy(size: int) -> tuple[Column, ...]:
    """Anatomy of the samples, of one size."""
    return (
        *(
            _of_size(size, f"{tissue} (ml)", "tissue_volumes", f"{tissue}_generated_ml", ".0f")
            for tissue in ("GM", "WM", "CSF")
        ),
        *(
            _of_size(size, f"{extreme} t of gray matter", "vbm", f"{extreme}_t", ".1f")
            for extreme in ("greatest", "least")
        ),
        _of_size(
            size, "share of samples flagged as memorised", "memorisation", "share_flagged", ".2f"
        ),
    )


def _not_in_paper(name: str, columns: Callable[[int], tuple[Column, ...]], **more: Any) -> Table:
    """A table of the paper's rows whose columns, of each size, the paper does not have."""
    every = tuple(column for size in SIZES for column in columns(size))
    return Table(name=name, rows=ROWS, columns=every, reported=REPORTED, paper={}, **more)


TABLES = {
    "table1": Table(
        name="table1",
        rows=ROWS,
        columns=tuple(column for size in SIZES for column in _in_paper(size)),
        reported=REPORTED,
        paper={"data": "hcp", "scale": "paper"},
        apart=True,
        yardsticks=(
            ("training_mean_noise", "mmd", "mmd", "MMD no better than mean plus noise"),
            ("independent_slices", "mmd", "mmd", "MMD no better than independent slices"),
        ),
        notes=(
            *GRIDS,
            "MMD: sum over voxels, biased, of batches; beside it what two samples of one "
            "distribution give. Values of different grids or batches do not compare.",
            "Empty cells are empty in the paper: its 3D VAE did not converge at 256, the other "
            "baselines were not trained beyond 64.",
        ),
    ),
    "beyond": _not_in_paper(
        "beyond",
        _beyond,
        yardsticks=(
            ("training_mean_noise", "frechet", "all_axes", "FD no better than mean plus noise"),
            (
                "independent_slices",
                "slice_consistency",
                "coronal_departure",
                "no more coherent than independent slices",
            ),
        ),
        notes=(
            *GRIDS,
            "log p of codes: density of the stack of held-out slice codes. It holds within "
            "one encoder, and does not compare rows or grids.",
            "Departure: |difference / that of real scans - 1|, so that slices that jump and slices "
            "that blur into each other both count against a model; independent slices must be "
            "beaten in it. They are each a real coronal slice, which the Fréchet distance rewards: "
            "on coarse grids theirs may be better than a model's.",
        ),
    ),
    "anatomy": _not_in_paper(
        "anatomy",
        _anatomy,
        notes=(
            *GRIDS,
            "t of gray matter: samples less test scans, so that above zero samples have more. "
            "Greatest and least are over the voxels tested, which differ from run to run.",
        ),
    ),
    **{
        f"tune_{size}": Table(
            name="tune",
            rows=(),
            columns=tuple(
                Column(f"{title} at {{grid}}", "reconstruction", key, form)
                for title, key, form in RECONSTRUCTION
            ),
            reported=REPORTED,
            paper={},
            best=(("reconstruction", "l2", "least L2"),),
            notes=(
                "Reconstructions of the validation scans; x0.1 is a tenth of the learning rate of "
                "the model beside it. The paper does not state its criterion.",
            ),
        )
        for size in SIZES
    },
}
