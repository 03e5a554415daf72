"""What each step does follows from its number alone."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.training.options import TrainingOptions
from genmorph.training.schedules import Schedule


def schedule(scans=7, devices=1, seed=0, **options):
    return Schedule(
        TrainingOptions(**{"batch_size": 3, "epochs": 4, **options}), scans, seed, devices
    )


def test_an_epoch_sees_every_scan_once():
    run = schedule()
    assert run.steps_per_epoch == 3 and run.steps == 12
    epochs = [np.concatenate([run.batch(3 * e + k) for k in range(3)]) for e in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(7))
    assert list(epochs[0]) != list(epochs[1])
    assert list(schedule(seed=1).batch(0)) != list(run.batch(0))


def test_several_devices_share_every_batch_evenly():
    run = schedule(scans=7, batch_size=4, devices=2)
    assert [len(run.batch(step)) for step in range(4)] == [4, 4, 4, 4]
    assert set(np.concatenate([run.batch(0), run.batch(1)])) == set(range(7))
    single = schedule(scans=1, batch_size=4, devices=4)
    assert list(single.batch(0)) == [0, 0, 0, 0]


@pytest.mark.parametrize(("limit", "seen"), [(7, 7), (20, 20), (13, 13), (12, 10), (500, 28)])
def test_the_limit_on_volumes_is_kept(limit, seen):
    run = schedule(max_volume_steps=limit)
    assert sum(len(run.batch(step)) for step in range(run.steps)) == seen


def test_a_limit_below_one_batch_still_takes_a_step():
    assert schedule(max_volume_steps=1).steps == 1


def test_progress_counts_epochs_in_fractions():
    run = schedule(max_volume_steps=13)
    assert run.steps == 5
    assert run.progress(4) == (4, pytest.approx(4 / 3), pytest.approx(5 / 3))
    assert [step for step in range(1, 6) if run.ends_epoch(step)] == [3, 5]


def test_learning_rates():
    constant = schedule(learning_rate=0.1)
    assert constant.learning_rate(0) == constant.learning_rate(11) == 0.1
    exponential = schedule(
        learning_rate=0.1, learning_rate_schedule="exponential", learning_rate_decay=0.5
    )
    assert exponential.learning_rate(2) == pytest.approx(0.025)
    cosine = schedule(learning_rate=0.1, learning_rate_schedule="cosine")
    assert cosine.learning_rate(0) == pytest.approx(0.1)
    assert cosine.learning_rate(6) == pytest.approx(0.05)
    assert 0 < cosine.learning_rate(11) < 0.002
