"""`genmorph evaluate latent_likelihood`: a checkpoint and its store in, a measurement out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from genmorph.cli import build as build_app
from genmorph.cohorts.manifest import Scan, write_manifest
from genmorph.files import read_json, write_json, write_tsv
from genmorph.models import build
from genmorph.store import Description, Store, write_store
from genmorph.training.checkpoints import save_model

SHAPE = (16, 6, 16)
THIN = {"latent_channels": 8, "batch_statistics": "running"}
SPLITS = ["train"] * 8 + ["validation"] * 2 + ["test"] * 3


def people():
    rng = np.random.default_rng(0)
    shade = np.sin(np.linspace(0, 3, SHAPE[0]))[:, None, None] * np.ones(SHAPE)
    return {
        f"sub-{number:02d}": shade * rng.uniform(0.5, 1.0, (1, SHAPE[1], 1))
        for number in range(len(SPLITS))
    }


@pytest.fixture
def folder(tmp_path):
    """A store with its cohort's files, and a slice VAE whose Gaussian was fitted on it."""
    description = Description(
        np.eye(4).tolist(), "scans", "made up", {"cohort": "c", "layout": "bids", "simulated": True}
    )
    scans = people()
    write_store(
        tmp_path / "store", scans.items(), shape=SHAPE, dtype="float32", description=description
    )
    write_manifest(
        tmp_path / "manifest.tsv",
        (Scan(name, name, None, f"{name}.nii", 1, True, shard=0) for name in scans),
    )
    rows = [
        {"participant_id": name, "split": split} for name, split in zip(scans, SPLITS, strict=True)
    ]
    write_tsv(tmp_path / "participants.tsv", ("participant_id", "split"), rows)
    return tmp_path


def save(folder, architecture="slice_vae", options=THIN, shape=SHAPE):
    model = build(architecture, options, shape, seed=1).eval()
    if architecture == "slice_vae" and shape == SHAPE:
        store = Store(folder / "store")
        with torch.no_grad():
            model.fit_after_training([torch.from_numpy(store.read_all(store.ids[:8]))])
    (folder / "checkpoint").mkdir(exist_ok=True)
    path = folder / "checkpoint" / "model.safetensors"
    save_model(path, model, {})
    run = {"study": "slice_vae", "model": "slice_vae-64", "seed": 0}
    write_json(path.with_name("training.json"), {"run": run})
    return path


def run(folder, *words):
    return CliRunner().invoke(
        build_app(),
        [
            *("evaluate", "latent_likelihood"),
            *("--generated", f"{folder}/checkpoint/model.safetensors"),
            *("--reference", f"{folder}/store/index.tsv"),
            *("--out", f"{folder}/out/likelihood.json"),
            *words,
        ],
    )


def cohort(folder):
    return (
        *("--manifest", f"{folder}/manifest.tsv"),
        *("--participants", f"{folder}/participants.tsv"),
    )


def test_a_checkpoint_is_measured_on_held_out_and_training_scans(folder):
    save(folder)
    done = run(folder, *cohort(folder), "--parameters", '{"draws": 2, "decoder_variance": 0.1}')
    assert done.exit_code == 0, done.output
    content = read_json(folder / "out" / "likelihood.json")
    assert content["n"]["reference_scans"] == 3 and content["n"]["training_scans"] == 8
    assert set(content["per_scan"]) == {f"sub-{number:02d}" for number in [*range(8), 10, 11, 12]}
    settings = content["settings"]
    assert settings["run"]["model"] == "slice_vae-64" and settings["cohort"] == "c"
    assert settings["decoder_variance"] == 0.1 and len(settings["encoder"]) == 64
    # 8 training scans of 6 slices span 6 directions
    assert settings["covariance_kind"] == "sample covariance"
    (record,) = map(read_json, (folder / "out" / "provenance").rglob("*.json"))
    read = {entry["path"].rpartition("/")[2] for entry in record["inputs"]}
    assert {"model.safetensors", "training.json", "index.tsv", "participants.tsv"} <= read
    assert "genmorph.models.slice_vae" in record["code"]["modules"]
    first = (folder / "out" / "likelihood.json").read_bytes()
    run(folder, *cohort(folder), "--parameters", '{"draws": 2, "decoder_variance": 0.1}')
    assert (folder / "out" / "likelihood.json").read_bytes() == first


def test_other_training_scans_are_refused(folder):
    save(folder)
    rows = [{"participant_id": name, "split": "test" if number < 5 else "train"}
            for number, name in enumerate(people())]  # fmt: skip
    write_tsv(folder / "participants.tsv", ("participant_id", "split"), rows)
    done = run(folder, *cohort(folder))
    assert done.exit_code != 0
    assert "are not the 8 that the Gaussian over slices was fitted on" in str(done.exception)
    assert not (folder / "out" / "likelihood.json").exists()


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (
            lambda folder: save(folder, "beta_vae", {"channels": (2, 2, 2, 2), "latent_size": 2},
                                (18, 18, 18)),
            "a beta_vae has no density",
        ),
        (lambda folder: save(folder, shape=(16, 7, 16)), "made for a grid of"),
        (lambda folder: (folder / "checkpoint" / "training.json").unlink(), "no training.json"),
        (
            lambda folder: (folder / "checkpoint" / "model.safetensors").write_text("no"),
            "not a checkpoint",
        ),
    ],
)  # fmt: skip
def test_what_has_no_such_likelihood_is_named(folder, damage, match):
    save(folder)
    damage(folder)
    done = run(folder, *cohort(folder))
    assert done.exit_code != 0 and match in str(done.exception)


def test_who_was_trained_on_has_to_be_told(folder):
    save(folder)
    done = run(folder)
    assert done.exit_code != 0 and "--manifest and --participants" in str(done.exception)


def test_a_gpu_that_is_not_there_is_named(folder, monkeypatch):
    save(folder)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = run(folder, *cohort(folder), "--device", "cuda")
    assert done.exit_code != 0 and "no GPU found" in str(done.exception)
