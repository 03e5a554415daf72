"""P2's interpolation, from a tiny slice VAE and a tiny store."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genmorph.cohorts.manifest import Scan, write_manifest
from genmorph.errors import GenmorphError
from genmorph.files import write_tsv
from genmorph.models import build
from genmorph.store import Description, write_store
from genmorph.studies.slice_vae.figures.latents import decode, interpolation, slice_codes
from genmorph.training.checkpoints import save_model

SHAPE = (18, 9, 18)
VALUES = {"model": "slice_vae-64", "seed": 3, "scale": "smoke", "population": None}
MODELS = {
    "slice_vae": {"latent_channels": 8},
    "beta_vae": {"channels": (2, 2, 2, 2), "latent_size": 2},
}


def files_of(folder, architecture="slice_vae", shape=SHAPE, split="test"):
    rng = np.random.default_rng(0)
    volumes = {f"sub-{number}": rng.random(SHAPE, np.float32) for number in range(4)}
    description = Description(np.diag([8.0, 8, 8, 1]).tolist(), "scans", "made up", {})
    write_store(
        folder / "store", volumes.items(), shape=SHAPE, dtype="float32", description=description
    )
    write_manifest(
        folder / "manifest.tsv",
        (
            Scan(name, name, None, f"{name}.nii", 1, True, age_years=60.0 + number, shard=0)
            for number, name in enumerate(volumes)
        ),
    )
    rows = [
        {"participant_id": name, "split": split if number < 3 else "train"}
        for number, name in enumerate(volumes)
    ]
    write_tsv(folder / "participants.tsv", ("participant_id", "split"), rows)
    model = build(architecture, MODELS[architecture], shape).eval()
    save_model(folder / "model.safetensors", model, {})
    files = {
        "checkpoint": folder / "model.safetensors",
        "store": folder / "store" / "index.tsv",
        "manifest": folder / "manifest.tsv",
        "participants": folder / "participants.tsv",
    }
    return files, model, volumes


def test_the_way_is_drawn_the_same_each_time_without_ids(tmp_path):
    files, _, _ = files_of(tmp_path)
    written = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.png"
        interpolation(files, VALUES, out)
        written.append((out.read_bytes(), out.with_suffix(".svg").read_bytes()))
    assert written[0] == written[1]
    assert b"sub-" not in written[0][1]


def test_the_ends_are_the_reconstructions_of_the_scans(tmp_path):
    _, model, volumes = files_of(tmp_path)
    scan = volumes["sub-1"]
    codes = slice_codes(model, scan)
    assert codes.shape == (8 * 3 * 3, SHAPE[1])
    (made,) = decode(model, codes[None])
    with torch.no_grad():
        expected = model.reconstruct(torch.from_numpy(scan)[None])[0].numpy()
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"architecture": "beta_vae", "shape": (18, 18, 18)}, "made for a grid of"),
        ({"architecture": "beta_vae"}, "a beta_vae has no codes of slices"),
        ({"split": "validation"}, "test"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path, how, match):
    files, _, _ = files_of(tmp_path, **how)
    with pytest.raises(GenmorphError, match=match):
        interpolation(files, VALUES, tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
