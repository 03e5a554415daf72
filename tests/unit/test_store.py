"""Stores: what is written is read, and damage is named."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import StoreError
from genmorph.store import Description, Store, decode, encode, shard_name, write_store

SHAPE = (3, 5, 4)
DESCRIPTION = Description(np.diag([2.0, 2.0, 2.0, 1.0]).tolist(), "tiny", "made", {"seed": 0})


@pytest.fixture
def volumes():
    rng = np.random.default_rng(0)
    return {f"sub-{number:02d}": rng.random(SHAPE, np.float32) for number in range(4)}


@pytest.fixture
def folder(tmp_path, volumes):
    write_store(tmp_path, volumes.items(), shape=SHAPE, dtype="float32", description=DESCRIPTION)
    return tmp_path


def test_float_volumes_read_back_as_they_were(folder, volumes):
    store = Store(folder)
    assert store.ids == list(volumes)
    assert store.shape == SHAPE
    assert store.description == DESCRIPTION
    for scan_id, volume in volumes.items():
        np.testing.assert_array_equal(store.read(scan_id), volume)
    np.testing.assert_array_equal(
        store.read_all(["sub-02", "sub-00"]), np.stack([volumes["sub-02"], volumes["sub-00"]])
    )


def test_uint8_keeps_intensities_to_half_a_step():
    volume = np.linspace(0, 1, 60, dtype=np.float32).reshape(SHAPE)
    back = decode(encode(volume, "uint8"))
    assert np.abs(back - volume).max() <= 0.5 / 255 + 1e-7
    assert (decode(encode(np.array([[[-1.0, 2.0]]]), "uint8")) == [[[0.0, 1.0]]]).all()


def test_the_same_volumes_give_the_same_bytes(tmp_path, volumes):
    from genmorph.files import folder_hashes

    for name in ("a", "b"):
        write_store(
            tmp_path / name, volumes.items(), shape=SHAPE, dtype="uint8", description=DESCRIPTION
        )
    assert folder_hashes(tmp_path / "a") == folder_hashes(tmp_path / "b")


def test_a_flipped_byte_in_a_chunk_is_named(folder):
    chunk = next(path for path in (folder / shard_name(0) / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    store = Store(folder)
    bad = []
    for scan_id in store.ids:
        try:
            store.read(scan_id)
        except StoreError as error:
            assert scan_id in str(error)
            assert shard_name(0) in str(error)
            bad.append(scan_id)
    assert len(bad) == 1


def test_swapped_rows_are_noticed(folder):
    index = folder / "index.tsv"
    index.write_text(index.read_text().replace("sub-00", "x").replace("sub-01", "sub-00"))
    with pytest.raises(StoreError, match="no volume of scan sub-01"):
        Store(folder).read("sub-01")


def test_what_is_no_store_is_named(tmp_path):
    with pytest.raises(StoreError, match="not a store"):
        Store(tmp_path)


def test_a_volume_of_another_shape_is_refused_and_nothing_is_left(tmp_path):
    volumes = [("a", np.zeros(SHAPE)), ("b", np.zeros((2, 2, 2)))]
    with pytest.raises(StoreError, match="b: volume"):
        write_store(tmp_path / "s", volumes, shape=SHAPE, dtype="float32", description=DESCRIPTION)
    assert list((tmp_path / "s").iterdir()) == []


def test_volumes_are_read_as_they_are_asked_for(folder, volumes):
    some = Store(folder).volumes(["sub-02", "sub-01"])
    assert list(some) == ["sub-02", "sub-01"]
    assert np.array_equal(some["sub-01"], volumes["sub-01"])
    assert "sub-03" not in some and len(some) == 2
