"""A tiny model and a store in memory."""

from __future__ import annotations

import numpy as np
import pytest

SHAPE = (17, 5, 4)


class MemoryStore:
    """What training asks of a store."""

    def __init__(self, volumes):
        self.volumes = volumes
        self.reads = 0

    @property
    def shape(self):
        return next(iter(self.volumes.values())).shape

    def read_stored(self, scan_id):
        self.reads += 1
        return self.volumes[scan_id]


@pytest.fixture
def store():
    rng = np.random.default_rng(0)
    base = rng.random(SHAPE)
    return MemoryStore(
        {
            f"sub-{number:02d}": np.uint8(255 * np.clip(base + 0.1 * rng.random(SHAPE), 0, 1))
            for number in range(9)
        }
    )


@pytest.fixture
def make_model(store):
    from genmorph.models import build

    def make(seed=0, **options):
        options = {"channels": (2, 2, 3, 3), "latent_size": 4, "integration_steps": 3} | options
        template = store.volumes["sub-00"].astype(np.float32) / 255
        return build("m3ae", options, SHAPE, template, seed)

    return make
