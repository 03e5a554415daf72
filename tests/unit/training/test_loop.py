"""The loop: same seed same weights, resumed or not; errors that name step, term and scans."""

from __future__ import annotations

import csv
import os
import signal
import threading

import numpy as np
import pytest
import torch

from genmorph.errors import StoreError, TrainingError
from genmorph.training.checkpoints import load_state
from genmorph.training.data import Volumes
from genmorph.training.loop import Preempted, train
from genmorph.training.options import TrainingOptions

OPTIONS = {"epochs": 3, "batch_size": 2, "learning_rate": 1e-3, "tensorboard": False}
STEPS = 12  # seven scans in batches of two, three times


@pytest.fixture
def run(tmp_path, store, make_model):
    """Train a fresh tiny model in `tmp_path / name`; returns the model and its summary."""

    def run(name="run", model=None, stop_after=None, source=None, seed=1, devices=1, **options):
        model = make_model() if model is None else model
        ids = list(store.volumes)
        summary = train(
            model,
            source or store,
            training_ids=ids[:7],
            validation_ids=ids[7:],
            options=TrainingOptions(**OPTIONS | options),
            seed=seed,
            state=tmp_path / name / "state",
            metrics=tmp_path / name / "metrics.csv",
            stop_after=stop_after,
            devices=devices,
        )
        return model, summary

    return run


def vector(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach()


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_training_lowers_the_loss_and_tells_of_it(run, tmp_path, make_model, capsys):
    model, summary = run(epochs=8)
    table = rows(tmp_path / "run" / "metrics.csv")
    assert [row["epoch"] for row in table] == [str(number) for number in range(1, 9)]
    assert float(table[-1]["reconstruction"]) < float(table[0]["reconstruction"])
    assert float(table[-1]["validation_reconstruction"]) > 0
    assert [float(row["beta"]) for row in table][:5] == pytest.approx(
        [0, 6 * 3 / 8, 6 * 6 / 8, 6, 6]
    )
    for row in table:
        terms = [key for key in row if key.startswith(("intensity_", "smoothness_"))]
        assert len(terms) == 7
        assert float(row["total"]) > float(row["reconstruction"]) > 0
        assert float(row["gradient_norm"]) > 0
    assert summary.steps == 32 and summary.volumes_seen == 56 and summary.device == "cpu"
    assert summary.parameters == vector(model).numel()
    assert summary.losses["total"] == pytest.approx(float(table[-1]["total"]))
    assert not torch.equal(vector(model), vector(make_model()))
    assert "epoch 8/8" in capsys.readouterr().err


def test_same_seed_same_bytes(run, tmp_path):
    first, _ = run("first")
    second, _ = run("second")
    other, _ = run("other", seed=2)
    assert torch.equal(vector(first), vector(second))
    assert not torch.equal(vector(first), vector(other))
    tables = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("first", "second")]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("stop_after", [3, 4, 9])
def test_a_stopped_run_ends_with_the_weights_of_one_never_stopped(run, tmp_path, stop_after):
    whole, summary = run("whole")
    with pytest.raises(Preempted, match=f"after step {stop_after} of {STEPS}"):
        run("stopped", stop_after=stop_after)
    assert not (tmp_path / "stopped" / "metrics.csv").exists()
    resumed, again = run("stopped")
    assert torch.equal(vector(whole), vector(resumed))
    assert again.volumes_seen == summary.volumes_seen == 21
    tables = [(tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "stopped")]
    assert tables[0] == tables[1]


class Killed(Exception):
    pass


class DyingStore:
    """Reads that fail for good after a while, as a process that is killed."""

    def __init__(self, store, reads):
        self.store, self.left, self.shape = store, reads, store.shape

    def read_stored(self, scan_id):
        self.left -= 1
        if self.left < 0:
            raise Killed
        return self.store.read_stored(scan_id)


def test_a_killed_run_goes_on_from_its_last_checkpoint(run, store, tmp_path):
    whole, _ = run("whole", memory_gb=0)
    reads = 2 + 2 * 4 + 2 + 2 * 2 + 1  # the first epoch, its validation, and a bit of the second
    with pytest.raises(Killed):
        run("killed", memory_gb=0, source=DyingStore(store, reads))
    assert [entry.name for entry in (tmp_path / "killed" / "state").glob("step-*")] == [
        "step-00000004"
    ]
    resumed, _ = run("killed", memory_gb=0)
    assert torch.equal(vector(whole), vector(resumed))


def test_a_damaged_state_is_left_for_the_one_before(run, tmp_path, capsys):
    whole, _ = run("whole")
    with pytest.raises(Preempted):
        run("stopped", stop_after=9)
    newest = tmp_path / "stopped" / "state" / "step-00000009" / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    resumed, _ = run("stopped")
    assert "step-00000009" in capsys.readouterr().err
    assert torch.equal(vector(whole), vector(resumed))


def test_a_finished_run_is_not_trained_again(run, tmp_path):
    first, _ = run()
    (tmp_path / "run" / "metrics.csv").unlink()
    second, summary = run()
    assert torch.equal(vector(first), vector(second)) and summary.steps == STEPS
    assert len(rows(tmp_path / "run" / "metrics.csv")) == 3


def test_sigterm_saves_and_stops(run, tmp_path, make_model):
    class Slow(type(make_model())):
        def losses(self, volumes, *, progress, **how):
            if progress.step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().losses(volumes, progress=progress, **how)

    assert threading.current_thread() is threading.main_thread()
    model = make_model()
    model.__class__ = Slow
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted, match="same command again"):
        run("stopped", model=model)
    assert signal.getsignal(signal.SIGTERM) is before
    assert (tmp_path / "stopped" / "state" / "step-00000006").is_dir()
    assert torch.equal(vector(run("stopped")[0]), vector(run("whole")[0]))


def test_a_loss_that_is_not_finite_names_step_term_and_scans(run, store, tmp_path, make_model):
    store.volumes = {key: value.astype(np.float32) / 255 for key, value in store.volumes.items()}
    store.volumes["sub-03"][2, 1, 1] = np.nan
    with pytest.raises(TrainingError, match=r"step [1-4]: reconstruction.*sub-03"):
        run("bad")
    assert not list((tmp_path / "bad" / "state").glob("step-*"))


def test_a_gradient_that_is_not_finite_stops_too(run, make_model):
    class Broken(type(make_model())):
        def losses(self, volumes, **how):
            terms = super().losses(volumes, **how)
            weights = next(self.parameters())
            return terms | {"root": (weights.sum() * 0).abs().sqrt()}  # infinite slope at 0

    model = make_model()
    model.__class__ = Broken
    with pytest.raises(TrainingError, match=r"step 1: gradient_norm.*scans sub-"):
        run(model=model)


def test_memory_changes_nothing(run):
    kept, _ = run("kept")
    read, _ = run("read", memory_gb=0)
    assert torch.equal(vector(kept), vector(read))


def test_volumes_are_read_once_when_they_fit(store):
    kept = Volumes(store, ["sub-01", "sub-00"], memory_gb=1)
    for _ in range(3):
        batch = kept.batch([1, 0])
    assert store.reads == 3
    assert kept.gigabytes == 2 * store.volumes["sub-00"].nbytes / 1e9
    assert Volumes(store, ["sub-01"], memory_gb=0).gigabytes == 0
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch[0], store.volumes["sub-00"] / np.float32(255))
    with pytest.raises(TrainingError, match="sub-01"):
        Volumes(store, ["sub-01", "sub-01"], memory_gb=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("gradient_clip", 1e-3), ("weight_decay", 0.9), ("optimizer", "adam"), ("batch_size", 4)],
)
def test_options_change_the_weights(run, name, value):
    default, _ = run("default")
    changed, _ = run("changed", **{name: value})
    assert not torch.equal(vector(default), vector(changed))


def test_reduced_precision_trains(tmp_path, store, make_model):
    ids = list(store.volumes)
    summary = train(
        make_model(),
        store,
        training_ids=ids[:4],
        validation_ids=[],
        options=TrainingOptions(**OPTIONS),
        seed=1,
        state=tmp_path / "state",
        metrics=tmp_path / "metrics.csv",
        precision="bf16-mixed",
    )
    assert np.isfinite(summary.losses["total"])
    assert not any(key.startswith("validation") for key in summary.losses)


def test_events_for_tensorboard(run, tmp_path):
    run(tensorboard=True, epochs=1)
    assert list((tmp_path / "run" / "state" / "events").glob("events.*"))


def test_two_devices_take_the_steps_of_one(run, tmp_path):
    """Two processes on the CPU: what one does with the joint batch, noise included."""
    # Adam's first steps show little but the signs of gradients; its moments hold the gradients
    one, _ = run("one", epochs=1, drop_last=True)
    two, summary = run("two", epochs=1, drop_last=True, devices=2)
    assert summary.steps == 3 and len(rows(tmp_path / "two" / "metrics.csv")) == 1
    _, _, moments, _ = load_state(tmp_path / "one" / "state")
    _, _, shared, _ = load_state(tmp_path / "two" / "state")
    assert set(moments) == set(shared)
    for key, value in moments.items():
        torch.testing.assert_close(shared[key], value, rtol=1e-3, atol=1e-5, msg=key)
    torch.testing.assert_close(vector(two), vector(one), rtol=1e-4, atol=1e-5)


def test_mirrored_scans_are_shown_left_for_right(run, make_model, store):
    seen = []

    class Watching(type(make_model())):
        def losses(self, volumes, **how):
            if self.training:
                seen.extend(volumes.clone().numpy())
            return super().losses(volumes, **how)

    def shown(probability):
        seen.clear()
        model = make_model()
        model.__class__ = Watching
        run(f"mirror-{probability}", model=model, mirror_probability=probability)
        return np.stack(seen)

    plain, all_mirrored, some = shown(0.0), shown(1.0), shown(0.5)
    np.testing.assert_array_equal(all_mirrored, plain[:, ::-1])
    mirrored = [not np.array_equal(one, other) for one, other in zip(plain, some, strict=True)]
    assert 0 < sum(mirrored) < len(mirrored)
    np.testing.assert_array_equal(some[mirrored], all_mirrored[mirrored])


def test_two_devices_meet_the_same_error(run, store):
    store.volumes = {key: value.astype(np.float32) / 255 for key, value in store.volumes.items()}
    store.volumes["sub-03"][2, 1, 1] = np.nan
    with pytest.raises(TrainingError, match=r"step [1-4]: reconstruction.*sub-03"):
        run(devices=2)


class DamagedStore:
    """A scan that the process of one device, and no other, finds damaged on its second read."""

    def __init__(self, store, device):
        self.store, self.device, self.shape, self.reads = store, device, store.shape, 0

    def read_stored(self, scan_id):
        if os.environ["LOCAL_RANK"] == self.device:
            self.reads += 1
            if self.reads == 2:
                raise StoreError(f"{scan_id}: damaged", "preprocess it again")
        return self.store.read_stored(scan_id)


@pytest.mark.parametrize("device", ["0", "1"])
def test_an_error_of_one_device_ends_all_and_is_named(run, store, device):
    with pytest.raises(TrainingError, match=r"sub-0\d: damaged"):
        run(devices=2, memory_gb=0, source=DamagedStore(store, device))


def test_what_cannot_start_is_said(run, store, make_model):
    with pytest.raises(TrainingError, match="does not divide"):
        run(batch_size=3, devices=2)
    model = make_model()
    store.volumes = {key: value[:, :4] for key, value in store.volumes.items()}
    with pytest.raises(TrainingError, match="model of"):
        run(model=model)
    store.volumes = {}
    with pytest.raises(TrainingError, match="no training scans"):
        run(model=model)
