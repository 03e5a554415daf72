"""P2's printed numbers, as its room holds them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REPORTED = ROOT / "src/genmorph/studies/slice_vae/reported.csv"


def reported():
    with REPORTED.open(newline="") as stream:
        return {(row["row"], row["column"]): row["value"] for row in csv.DictReader(stream)}


def test_every_printed_number_is_there_once():
    values = reported()
    assert len(values) == len(REPORTED.read_text().splitlines()) - 1 == 25
    sizes = {
        row: {column.rsplit("_", 1)[1] for own, column in values if own == row} for row, _ in values
    }
    assert sizes["wgan_gp"] == sizes["vae_gan"] == sizes["alpha_gan"] == {"64"}
    assert sizes["vae3d"] == {"64", "128"}
    assert sizes["slice_vae"] == sizes["alpha_wgan"] == sizes["real"] == {"64", "128", "256"}
    assert not any(row == "real" and column.startswith("mmd") for row, column in values)


def test_mmd_a_voxel_doubles_with_half_the_batch():
    """What the page says of "Ours": 64 and 128 with batches of 8, 256 with 4."""
    values = reported()
    voxel = [float(values["slice_vae", f"mmd_{size}"]) / size**3 for size in (64, 128, 256)]
    assert [f"{value:.4f}" for value in voxel] == ["0.0091", "0.0095", "0.0193"]
    assert voxel[2] / voxel[1] == pytest.approx(2.03, abs=0.01)
