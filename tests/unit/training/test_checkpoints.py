"""Checkpoints: what was saved is loaded, and damage is named."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from genmorph.errors import WeightsError
from genmorph.training.checkpoints import (
    fingerprint,
    load_model,
    load_state,
    prune_states,
    read_architecture,
    read_header,
    save_model,
    save_state,
)

PARAMETERS = {"study": "m3ae", "options": {"beta": 6.0}, "training": {"epochs": 2}}


def test_a_model_comes_back_with_its_template(tmp_path, make_model):
    model = make_model(seed=3, beta=2.0).eval()
    path = tmp_path / "model.safetensors"
    save_model(path, model, PARAMETERS)
    loaded = load_model(path)
    assert loaded.options == model.options and loaded.shape == model.shape
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert loaded.template.max() > 0.5
    assert read_architecture(path) == "m3ae"
    assert read_header(path)["parameters"] == PARAMETERS
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_same_model_same_bytes(tmp_path, make_model):
    for name in ("one", "two"):
        save_model(tmp_path / name, make_model(seed=3), PARAMETERS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_every_damaged_byte_is_seen(tmp_path, make_model):
    path = tmp_path / "model.safetensors"
    save_model(path, make_model(), PARAMETERS)
    whole = path.read_bytes()
    places = [0, 7, 30, whole.index(b"latent_size") + 14, len(whole) // 2, len(whole) - 1]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(WeightsError, match=r"model\.safetensors"):
            load_model(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError):
        load_model(path)


def test_foreign_and_missing_files_are_named(tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weights": torch.zeros(3)}, foreign, metadata={"format": "pt"})
    text = tmp_path / "text.safetensors"
    text.write_text("not weights")
    for path in (foreign, text):
        with pytest.raises(WeightsError, match="not a checkpoint of genmorph"):
            read_header(path)
    with pytest.raises(WeightsError, match="no such checkpoint"):
        load_model(tmp_path / "absent.safetensors")


def test_fingerprint_follows_everything_that_counts():
    scans = {"training": ["a", "b"], "validation": ["c"], "template": "a"}
    base = fingerprint({"a": 1, "b": 2}, "code", 0, "store", scans)
    assert fingerprint({"b": 2, "a": 1}, "code", 0, "store", scans) == base
    others = [
        fingerprint({"a": 1, "b": 3}, "code", 0, "store", scans),
        fingerprint({"a": 1, "b": 2}, "edited", 0, "store", scans),
        fingerprint({"a": 1, "b": 2}, "code", 1, "store", scans),
        fingerprint({"a": 1, "b": 2}, "code", 0, "other", scans),
        fingerprint({"a": 1, "b": 2}, "code", 0, "store", scans | {"training": ["a"]}),
        fingerprint({"a": 1, "b": 2}, "code", 0, "store", scans | {"validation": ["d"]}),
        fingerprint({"a": 1, "b": 2}, "code", 0, "store", scans | {"template": "b"}),
    ]
    assert len({base, *others}) == 8


def test_only_foreign_states_are_pruned(tmp_path):
    own, other = (fingerprint({}, "code", seed, "store", {}) for seed in (0, 1))
    for name in (own, other, "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    prune_states(tmp_path, keep=own)
    assert {entry.name for entry in tmp_path.iterdir()} == {own, "notes"}
    prune_states(tmp_path, keep=None)
    assert {entry.name for entry in tmp_path.iterdir()} == {"notes"}
    prune_states(tmp_path / "absent", keep=None)


@pytest.fixture
def states(tmp_path):
    for step in (1, 2, 3):
        tensors = {"w": torch.full((3,), float(step))}
        save_state(tmp_path, step, tensors, {"w/exp_avg": torch.zeros(3)}, {"seen": step})
    return tmp_path


def test_the_newest_state_is_loaded_and_two_are_kept(states):
    step, weights, optimizer, rest = load_state(states)
    assert step == 3 and rest == {"seen": 3}
    assert torch.equal(weights["w"], torch.full((3,), 3.0)) and set(optimizer) == {"w/exp_avg"}
    assert sorted(entry.name for entry in states.iterdir()) == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize("file", ["weights.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_state_is_named_and_the_one_before_is_taken(states, capsys, file, damage):
    path = states / "step-00000003" / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-20])
    else:
        flipped = (
            content.replace(b'"sha256"', b'"sha256_"') if file == "state.json" else b"x" + content
        )
        path.write_bytes(flipped)
    assert load_state(states)[0] == 2
    assert "step-00000003" in capsys.readouterr().err
    assert load_state(states)[0] == 2  # and it does not come back


def test_no_state_is_left_to_trust(states, capsys):
    for folder in states.iterdir():
        (folder / "state.json").write_text(json.dumps([]))
    assert load_state(states) is None
    assert load_state(states / "absent") is None
