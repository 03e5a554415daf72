"""Stores: preprocessed or generated volumes in shards, each volume known by its hash.

A store is a folder::

    index.tsv            scan_id, shard, row, sha256 of the volume
    store.json           affine, what the volumes are, and what must be said of them
    shard-0003.zarr      array [n, x, y, z]

Failed scans are absent from it. Readers verify a volume's hash as they read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import StoreError
from genmorph.files import (
    atomic_folder,
    folder_hashes,
    merkle_root,
    read_json,
    read_tsv,
    sha256_bytes,
    write_json,
    write_tsv,
)

INDEX_COLUMNS = ("scan_id", "shard", "row", "sha256")
# of a `source`: true as well of what is made of a store's volumes
PREPARED = ("skull_stripped", "registered")
MOST_VOXELS = 1024**3
_WRITE_AGAIN = "remove it and run the workflow again"


_PLACE = re.compile(r"[0-9]{1,9} [0-9]{1,9}")  # shard and row


def shard_name(shard: int) -> str:
    """Folder name of a shard's array."""
    return f"shard-{shard:04d}.zarr"


@dataclass(frozen=True)
class Description:
    """What a store holds.

    Attributes
    ----------
    affine : list of list of float
        4x4 voxel-to-world matrix (mm, RAS+) shared by all volumes.
    content : str
        A few words: 'preprocessed T1w', 'samples of m3ae', ...
    data_label : str
        What every table made from these volumes must say of them; '' when nothing.
    source : dict
        Settings a reader wants to see: cohort, recipe, model, seed, ... `skull_stripped` (None
        when some scans are) and `registered`, onto the template, say how scans were prepared.
    """

    affine: list[list[float]]
    content: str
    data_label: str
    source: dict[str, Any]


def volume_hash(stored: np.ndarray) -> str:
    """SHA-256 of a volume as stored: shape, type and C-ordered bytes."""
    stored = np.ascontiguousarray(stored)
    head = f"{stored.dtype.str}{stored.shape}".encode()
    return sha256_bytes(head + stored.tobytes())


def encode(volume: np.ndarray, dtype: str) -> np.ndarray:
    """Bring a float volume to its stored form.

    `uint8` holds intensities of [0, 1] in steps of 1/255 (values beyond are clipped);
    `float32` holds them as they are.
    """
    if dtype == "uint8":
        return np.rint(np.clip(volume, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.asarray(volume, dtype=dtype)


def decode(stored: np.ndarray) -> np.ndarray:
    """Bring a stored volume back to float32 intensities."""
    if stored.dtype == np.uint8:
        return stored.astype(np.float32) / np.float32(255.0)
    return stored.astype(np.float32)


def write_shard(
    path: Path, volumes: Iterable[tuple[str, np.ndarray]], *, shape: Sequence[int], dtype: str
) -> tuple[list[dict[str, Any]], str]:
    """Write one shard array atomically.

    Parameters
    ----------
    path : Path
        `.../shard-0003.zarr`; replaced when it exists.
    volumes : iterable of (str, ndarray)
        Scan id and float volume `[x, y, z]`; consumed one at a time.
    shape : sequence of int
        Grid of one volume.
    dtype : {'uint8', 'float32'}

    Returns
    -------
    rows : list of dict
        `scan_id`, `row`, `sha256` for each volume.
    root : str
        Merkle root of the array's files.
    """
    import zarr

    rows = []
    with atomic_folder(path) as temporary:
        array = zarr.create_array(
            temporary, shape=(0, *shape), chunks=(1, *shape), dtype=dtype, overwrite=True
        )
        for row, (scan_id, volume) in enumerate(volumes):
            if tuple(volume.shape) != tuple(shape):
                raise StoreError(f"{scan_id}: volume {volume.shape} in a store of {tuple(shape)}")
            stored = encode(volume, dtype)
            array.resize((row + 1, *shape))
            array[row] = stored
            rows.append({"scan_id": scan_id, "row": row, "sha256": volume_hash(stored)})
        root = merkle_root(folder_hashes(temporary))
    return rows, root


def open_shard(path: Path) -> Any:
    """The array `[n, x, y, z]` of a shard, for `read_row`.

    Raises
    ------
    StoreError
        When it cannot be opened.
    """
    import zarr

    try:
        array = zarr.open_array(path, mode="r")
        if array.ndim != 4 or np.prod(array.shape[1:], dtype=object) > MOST_VOXELS:
            raise ValueError(f"an array of {array.shape}")
        return array
    except Exception as error:
        raise StoreError(
            f"{path}: cannot be opened ({error})", "remove that shard and run the workflow again"
        ) from error


def read_row(array: Any, path: Path, entry: Mapping[str, str]) -> np.ndarray:
    """One volume `[x, y, z]` of a shard as stored, its hash verified.

    Parameters
    ----------
    array : zarr array
        As `open_shard` gives it.
    path : Path
        Where it lies, for errors.
    entry : mapping
        `scan_id`, `row` and `sha256` of an index or a status table.

    Raises
    ------
    StoreError
        When it cannot be read, or is not the volume that `entry` knows.
    """
    try:
        stored = np.asarray(array[int(entry["row"])])
    except Exception as error:  # zarr and its codecs raise many kinds on damaged chunks
        raise StoreError(
            f"{path}: scan {entry['scan_id']} cannot be read ({error})",
            "remove that shard and run the workflow again",
        ) from error
    if volume_hash(stored) != entry["sha256"]:
        raise StoreError(
            f"{path}: volume of scan {entry['scan_id']} is not the one the index knows",
            "remove that shard and run the workflow again",
        )
    return stored


def write_index(folder: Path, rows: Iterable[dict[str, Any]], description: Description) -> None:
    """Write `store.json`, then `index.tsv`: the index appears last, so a reader who sees it
    sees a whole store."""
    write_json(folder / "store.json", vars(description))
    write_tsv(folder / "index.tsv", INDEX_COLUMNS, rows)


def write_store(
    folder: Path,
    volumes: Iterable[tuple[str, np.ndarray]],
    *,
    shape: Sequence[int],
    dtype: str,
    description: Description,
) -> None:
    """Write a store of one shard (samples, reconstructions)."""
    rows, _ = write_shard(folder / shard_name(0), volumes, shape=shape, dtype=dtype)
    write_index(folder, [{**row, "shard": 0} for row in rows], description)


class Store:
    """A store opened for reading.

    Parameters
    ----------
    folder : Path or str
        Folder that holds `index.tsv` and the shards.

    Raises
    ------
    StoreError
        When the folder is not a store, or a volume is not what the index says.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not (self.folder / "index.tsv").is_file():
            raise StoreError(f"{self.folder}: not a store (no index.tsv)")
        rows = read_tsv(self.folder / "index.tsv", INDEX_COLUMNS)
        for row in rows:
            place = f"{row['shard'] or ''} {row['row'] or ''}"
            if not row["scan_id"] or not row["sha256"] or not _PLACE.fullmatch(place):
                raise StoreError(
                    f"{self.folder}/index.tsv: damaged at scan {row['scan_id']}", _WRITE_AGAIN
                )
        self._rows = {row["scan_id"]: row for row in rows}
        if len(self._rows) != len(rows):
            raise StoreError(f"{self.folder}/index.tsv: a scan id stands in it twice")
        self.description = _read_description(self.folder / "store.json")
        self._arrays: dict[int, Any] = {}

    @property
    def ids(self) -> list[str]:
        """Scan ids, in index order."""
        return list(self._rows)

    @property
    def affine(self) -> np.ndarray:
        """4x4 voxel-to-world matrix (mm, RAS+)."""
        return np.asarray(self.description.affine, dtype=float)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid of one volume."""
        if not self._rows:
            raise StoreError(f"{self.folder}: the store is empty")
        first = next(iter(self._rows.values()))
        return tuple(self._array(int(first["shard"])).shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._rows

    def read_stored(self, scan_id: str) -> np.ndarray:
        """One volume `[x, y, z]` as stored, its hash verified."""
        if scan_id not in self._rows:
            raise StoreError(f"{self.folder}: no volume of scan {scan_id}")
        entry = self._rows[scan_id]
        shard = int(entry["shard"])
        return read_row(self._array(shard), self.folder / shard_name(shard), entry)

    def read(self, scan_id: str) -> np.ndarray:
        """One volume `[x, y, z]` as float32 intensities, its hash verified."""
        return decode(self.read_stored(scan_id))

    def volumes(self, scan_ids: Sequence[str] | None = None) -> Volumes:
        """Some volumes by id (default: all), each read when it is asked for."""
        return Volumes(self, tuple(self.ids if scan_ids is None else scan_ids))

    def read_all(self, scan_ids: Sequence[str] | None = None) -> np.ndarray:
        """Volumes `[n, x, y, z]`, float32, in the order of `scan_ids` (default: all)."""
        return np.stack([self.read(scan_id) for scan_id in scan_ids or self.ids])

    def mean(self, scan_ids: Sequence[str]) -> np.ndarray:
        """Mean image `[x, y, z]` of some scans, float32, summed in double precision."""
        total = np.zeros(self.shape)
        for scan_id in scan_ids:
            total += self.read(scan_id)
        return (total / len(scan_ids)).astype(np.float32)

    def _array(self, shard: int) -> Any:
        if shard not in self._arrays:
            self._arrays[shard] = open_shard(self.folder / shard_name(shard))
        return self._arrays[shard]


def _read_description(path: Path) -> Description:
    """What `store.json` says, checked: a damaged one would move every volume in space."""
    try:
        description = Description(**read_json(path))
        affine = np.asarray(description.affine, dtype=float)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("its affine is no 4x4 matrix of numbers")
    except (TypeError, ValueError) as error:
        raise StoreError(f"{path}: no description of a store ({error})", _WRITE_AGAIN) from None
    return description


@dataclass(frozen=True)
class Volumes(Mapping[str, np.ndarray]):
    """Volumes of a store by scan id, read from disk at every access: as few are held as are used.

    Attributes
    ----------
    store : Store
    ids : tuple of str
    """

    store: Store
    ids: tuple[str, ...]

    def __getitem__(self, scan_id: str) -> np.ndarray:
        if scan_id not in self.ids:
            raise KeyError(scan_id)
        return self.store.read(scan_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)
