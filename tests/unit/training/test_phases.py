"""Phases that sit steps out, and what a model estimates when its weights are final."""

from __future__ import annotations

import csv

import pytest
import torch

from genmorph.models.base import Model
from genmorph.training.loop import Preempted, train
from genmorph.training.options import TrainingOptions


class TwoPhases(Model):
    """One weight a phase; remembers when each learned and which volumes it was shown at the end."""

    phases = ("often", "seldom")

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.often, self.seldom = (torch.nn.Parameter(torch.zeros(())) for _ in range(2))
        self.register_buffer("total", torch.zeros(()))
        self.steps, self.shown, self.was_training = [], [], None

    def trained_in(self, phase):
        return iter([getattr(self, phase)])

    def acts(self, phase, progress):
        return phase == "often" or progress.step % 3 == 1

    def losses(self, volumes, *, phase, progress, generators):
        if torch.is_grad_enabled():
            self.steps.append((phase, progress.step))
        value = 1.0 + progress.step if phase == "seldom" else 1.0
        return {f"{phase}_loss": (getattr(self, phase) - 1) ** 2 * 0 + value}

    def fit_after_training(self, batches):
        self.was_training = self.training
        for volumes in batches:
            assert not torch.is_grad_enabled()
            self.shown.append(len(volumes))
            self.total += volumes.sum()


@pytest.fixture
def run(tmp_path, store):
    def run(model=None, stop_after=None):
        model = model or TwoPhases(store.shape)
        ids = list(store.volumes)
        train(
            model,
            store,
            training_ids=ids[:7],
            validation_ids=ids[7:],
            options=TrainingOptions(epochs=2, batch_size=2, tensorboard=False),
            seed=1,
            state=tmp_path / "state",
            metrics=tmp_path / "metrics.csv",
            stop_after=stop_after,
        )
        return model

    return run


def test_a_phase_may_sit_a_step_out(run, tmp_path):
    model = run()
    assert [step for phase, step in model.steps if phase == "often"] == list(range(8))
    assert [step for phase, step in model.steps if phase == "seldom"] == [1, 4, 7]
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    # the mean is over the steps in which the phase took part: 1; then 4 (two volumes), 7 (one)
    assert [float(row["seldom_loss"]) for row in rows] == pytest.approx([2, (2 * 5 + 8) / 3])
    assert [float(row["often_loss"]) for row in rows] == pytest.approx([1, 1])


def test_all_training_volumes_are_shown_once_when_the_weights_are_final(run, store):
    model = run()
    assert model.shown == [2, 2, 2, 1] and model.was_training is False
    expected = sum(store.volumes[name].sum() for name in list(store.volumes)[:7]) / 255
    assert float(model.total) == pytest.approx(float(expected), rel=1e-5)


def test_a_run_that_is_gone_on_with_is_fitted_at_its_end_alone(run, store):
    first = TwoPhases(store.shape)
    with pytest.raises(Preempted):
        run(first, stop_after=5)
    assert first.shown == []
    assert run().shown == [2, 2, 2, 1]
