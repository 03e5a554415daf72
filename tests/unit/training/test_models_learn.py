"""Each of P2's models, trained on eight small volumes: what should fall falls."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from genmorph.models import build
from genmorph.training.loop import train
from genmorph.training.options import TrainingOptions

SHAPE = (16, 16, 16)
THIN = {"channels": (4, 8), "latent_size": 8}
CODES = {**THIN, "code_channels": 8}
CRITIC = ("critic_real", "critic_samples", "critic_penalty_samples")
RECONSTRUCTION = ("reconstruction",)
# options of the model, learning rate, terms whose sum falls
MODELS = {
    # it has no reconstruction: its critic tells samples from scans better and better
    "wgan_gp": (THIN, 2e-3, CRITIC),
    "vae_gan": ({**THIN, "head_channels": 8}, 2e-3, RECONSTRUCTION),
    "alpha_gan": (CODES, 2e-3, RECONSTRUCTION),
    "alpha_wgan": (CODES, 2e-3, RECONSTRUCTION),
    "vae3d": ({"width": 4, "halvings": 2, "latent_size": 8}, 5e-3, RECONSTRUCTION),
    "slice_vae": ({"latent_channels": 8}, 5e-3, RECONSTRUCTION),
}


class Scans:
    """A store in memory: bright balls of different sizes."""

    shape = SHAPE

    def __init__(self, n=8):
        edges = (np.linspace(-1, 1, size) for size in SHAPE)
        radius = np.sqrt(sum(np.square(axis) for axis in np.meshgrid(*edges, indexing="ij")))
        self.volumes = {
            f"s{k}": np.uint8(200 / (1 + np.exp(12 * (radius - 0.5 - 0.05 * k)))) for k in range(n)
        }

    def read_stored(self, scan_id):
        return self.volumes[scan_id]


def history(folder):
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("architecture", MODELS)
def test_training_lowers_what_should_fall(architecture, tmp_path):
    options, rate, terms = MODELS[architecture]
    store = Scans()
    train(
        build(architecture, options, SHAPE, seed=1),
        store,
        training_ids=list(store.volumes),
        validation_ids=[],
        options=TrainingOptions(
            epochs=20,
            checkpoint_every_epochs=20,
            batch_size=4,
            learning_rate=rate,
            optimizer="adam",
            tensorboard=False,
        ),
        seed=1,
        state=tmp_path / "state",
        metrics=tmp_path / "metrics.csv",
    )
    rows = [row for row in history(tmp_path) if row[terms[0]]]  # not every phase acts each epoch
    sums = [sum(float(row[term]) for term in terms) for row in rows]
    assert np.isfinite(sums).all()
    assert np.mean(sums[-3:]) < 0.3 * sums[0]
