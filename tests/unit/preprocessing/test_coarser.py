"""A store on a coarser grid: same field of view, same people, whatever the number of workers."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import StoreError
from genmorph.files import folder_hashes, read_tsv, write_tsv
from genmorph.preprocessing.coarser import onto_coarser_grid, resample_shard
from genmorph.store import write_shard
from genmorph.studies import load_spec

EDGE, COARSE = 24, 12
RECIPE = load_spec("slice_vae").recipe
FINER = RECIPE.altered({"resample": {"grid": (EDGE, EDGE, EDGE)}})
COARSER = RECIPE.altered({"resample": {"grid": (COARSE, COARSE, COARSE)}})
AFFINE = np.asarray(FINER.grid_affine())


def ball(centre=(0.0, -17.0, 6.0), radius_mm=60.0) -> np.ndarray:
    """A bright ball (mm, template's world) on the finer grid."""
    index = np.indices((EDGE, EDGE, EDGE)).reshape(3, -1)
    world = AFFINE[:3, :3] @ index + AFFINE[:3, 3:]
    distance = np.linalg.norm(world - np.asarray(centre)[:, None], axis=0)
    return np.where(distance < radius_mm, 0.8, 0.0).reshape(EDGE, EDGE, EDGE).astype(np.float32)


def centre_of_mass_mm(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    index = np.indices(volume.shape).reshape(3, -1)
    middle = (index * volume.ravel()).sum(1) / volume.sum()
    return affine[:3, :3] @ middle + affine[:3, 3]


@pytest.mark.parametrize("centre", [(0.0, -17.0, 6.0), (15.0, -25.0, 14.0)])
def test_what_lies_where_in_the_world_stays_there(centre):
    made = onto_coarser_grid(ball(centre, 45.0), AFFINE, COARSER)
    assert made.shape == COARSER.grid
    found = centre_of_mass_mm(made, np.asarray(COARSER.grid_affine()))
    voxel_mm = RECIPE.step("resample").field_of_view_mm[0] / COARSE
    assert np.abs(found - centre).max() < 0.1 * voxel_mm


def test_the_brain_keeps_its_intensity_up_to_its_edge():
    made = onto_coarser_grid(ball(), AFFINE, COARSER)
    inside = made > 0
    assert np.allclose(made[inside], 0.8, atol=1e-5)
    volumes = inside.sum() * (EDGE / COARSE) ** 3, (ball() > 0).sum()
    assert volumes[0] == pytest.approx(volumes[1], rel=0.05)


@pytest.fixture
def shard(tmp_path):
    """Two volumes and a failed scan, as preprocessing writes them."""
    volumes = {"sub-1": ball(), "sub-2": ball(radius_mm=40.0)}
    array, table = tmp_path / "shard-0000.zarr", tmp_path / "shard-0000.tsv"
    written, root = write_shard(array, volumes.items(), shape=FINER.grid, dtype="uint8")
    rows = [
        {"scan_id": name, "status": "ok", "reason": None, "brain_ml": "900"} for name in volumes
    ]
    rows = [row | entry for row, entry in zip(rows, written, strict=True)]
    rows.insert(1, {"scan_id": "sub-9", "status": "failed", "reason": "too dark"})
    columns = ("scan_id", "status", "reason", "row", "sha256", "brain_ml", "shard_root")
    write_tsv(table, columns, [row | {"shard_root": root} for row in rows])
    return array, table


def test_a_shard_keeps_its_scans_and_what_is_known_of_them(shard, tmp_path):
    array, table = tmp_path / "coarse.zarr", tmp_path / "coarse.tsv"
    assert resample_shard(*shard, array, table, COARSER, AFFINE, workers=1) == 2
    finer, coarser = (
        read_tsv(file, ("scan_id", "status", "reason", "brain_ml", "sha256", "shard_root"))
        for file in (shard[1], table)
    )
    for key in ("scan_id", "status", "reason", "brain_ml"):
        assert [row[key] for row in coarser] == [row[key] for row in finer]
    for key in ("sha256", "shard_root"):
        assert coarser[0][key] != finer[0][key]


def test_workers_change_no_byte(shard, tmp_path):
    hashes = []
    for workers in (1, 2):
        array, table = tmp_path / f"by{workers}.zarr", tmp_path / f"by{workers}.tsv"
        resample_shard(*shard, array, table, COARSER, AFFINE, workers=workers)
        hashes.append((folder_hashes(array), table.read_bytes()))
    assert hashes[0] == hashes[1]


def test_a_changed_volume_is_an_error_and_leaves_nothing(shard, tmp_path):
    content = shard[1].read_text()
    row = read_tsv(shard[1], ("sha256",))[0]
    shard[1].write_text(content.replace(row["sha256"], "0" * 64))
    array, table = tmp_path / "coarse.zarr", tmp_path / "coarse.tsv"
    with pytest.raises(StoreError, match="sub-1 is not the one"):
        resample_shard(*shard, array, table, COARSER, AFFINE)
    assert not array.exists()
    assert not table.exists()
