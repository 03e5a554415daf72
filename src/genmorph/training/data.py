"""Training volumes, in memory when they fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from genmorph.errors import TrainingError
from genmorph.store import decode

GIGABYTE = 1e9


class Reader(Protocol):
    """What training asks of a store."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid of one volume."""

    def read_stored(self, scan_id: str) -> np.ndarray:
        """One volume as stored, verified."""


class Volumes:
    """Volumes of some scans of a store.

    Parameters
    ----------
    store : Reader
    ids : sequence of str
        Scan ids; their positions are what `batch` counts in.
    memory_gb : float
        Volumes stay in memory, as stored, when all need no more.

    Raises
    ------
    TrainingError
        When a scan stands in `ids` twice.
    """

    def __init__(self, store: Reader, ids: Sequence[str], memory_gb: float) -> None:
        self.ids = list(ids)
        if len(set(self.ids)) != len(self.ids):
            twice = sorted({scan_id for scan_id in self.ids if self.ids.count(scan_id) > 1})
            raise TrainingError(f"{', '.join(twice[:5])}: given twice for training")
        self._store = store
        self._stored: np.ndarray | None = None
        if not self.ids:
            return
        first = store.read_stored(self.ids[0])
        if len(self.ids) * math.prod(first.shape) * first.itemsize <= memory_gb * GIGABYTE:
            self._stored = np.empty((len(self.ids), *first.shape), first.dtype)
            for row, scan_id in enumerate(self.ids):
                self._stored[row] = store.read_stored(scan_id)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def gigabytes(self) -> float:
        """Memory that the volumes take; 0 when they are read from the store each time."""
        return 0.0 if self._stored is None else self._stored.nbytes / GIGABYTE

    def batch(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Volumes `[n, x, y, z]`, float32 intensities."""
        if self._stored is not None:
            return decode(self._stored[rows])
        return decode(np.stack([self._store.read_stored(self.ids[row]) for row in rows]))
