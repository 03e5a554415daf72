"""The slice segmenter: its loss by hand, a toy labelling learnt, the same bytes again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genmorph.errors import MeasurementError, TrainingError, WeightsError
from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
from genmorph.models.slice_segmenter import (
    SliceSegmenter,
    SliceUNet,
    label_weights,
    overlap,
    segmentation_loss,
    soft_dice,
)
from genmorph.models.slice_segmenter_training import train_segmenter

OPTIONS = SliceSegmenterOptions(
    n_labels=4, channels=(8, 16, 32), epochs=14, learning_rate=1e-2, volumes_at_once=3
)
SHAPE = (21, 18, 23)


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume of noisy balls, and their labels; two are equally bright, on either side."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.indices(SHAPE), axis=-1)
    labels = np.zeros(SHAPE, np.uint8)
    for label, (centre, radius) in enumerate(
        [((10, 9, 11), 8.0), ((6, 9, 11), 2.8), ((14, 9, 12), 3.8)], start=1
    ):
        moved = np.array(centre) + rng.uniform(-1, 1, 3)
        labels[np.linalg.norm(grid - moved, axis=-1) < radius] = label
    intensities = np.array([0.0, 0.5, 0.9, 0.9])[labels]
    return (intensities + rng.normal(0, 0.05, SHAPE)).astype(np.float32), labels


@pytest.fixture(scope="module")
def toy():
    made = {f"sub-{number}": blobs(number) for number in range(6)}
    return (
        {scan_id: volume for scan_id, (volume, _) in made.items()},
        {scan_id: labels for scan_id, (_, labels) in made.items()},
    )


@pytest.fixture(scope="module")
def trained(toy):
    return train_segmenter(*toy, held_out=["sub-0"], options=OPTIONS, seed=3)


def dice(found, truth, label):
    both = np.count_nonzero((found == label) & (truth == label))
    return 2 * both / (np.count_nonzero(found == label) + np.count_nonzero(truth == label))


def test_soft_dice_is_its_definition():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), size=(2, 4, 5))  # [n, x, z, labels]
    labels = rng.integers(0, 3, (2, 4, 5))
    found = soft_dice(
        *overlap(torch.from_numpy(probabilities).movedim(-1, 1), torch.from_numpy(labels)), 1.0
    )
    for label in range(3):
        p, g = probabilities[..., label], labels == label
        expected = (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
        assert found[label].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_loss_is_one_less_the_mean_dice_plus_cross_entropy(weight):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 5, 6))  # [n, labels, x, z]
    labels = rng.integers(0, 4, (2, 5, 6))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    dice = [
        (2 * (p[:, label] * (labels == label)).sum() + 1)
        / (p[:, label].sum() + (labels == label).sum() + 1)
        for label in range(4)
    ]
    of_truth = np.take_along_axis(p, labels[:, None], axis=1)
    expected = 1 - np.mean(dice) - weight * np.log(of_truth).mean()
    options = OPTIONS.model_copy(update={"cross_entropy_weight": weight})
    found = segmentation_loss(torch.from_numpy(logits), torch.from_numpy(labels), options)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_balance_goes_from_every_voxel_alike_to_every_label_alike():
    voxels = np.array([900, 90, 10, 0])
    share = voxels / voxels.sum()
    assert label_weights(voxels, 0.0).tolist() == pytest.approx([1.0] * 4)
    alike = label_weights(voxels, 1.0).numpy()
    assert (share * alike)[:3] == pytest.approx([0.25] * 3, rel=2e-3)
    half = label_weights(voxels, 0.5).numpy()
    assert half[2] / half[0] == pytest.approx(np.sqrt(90), rel=1e-6)
    assert (np.maximum(voxels, 1) * half).sum() == pytest.approx(1001, rel=1e-6)


def test_weights_count_in_cross_entropy_alone():
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([1.0, 5.0, 0.0])
    options = SliceSegmenterOptions(n_labels=3, cross_entropy_weight=2.0)
    dice = 1 - soft_dice(*overlap(logits.softmax(1), labels), 1.0).mean()
    of_voxels = -logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    expected = (weights[labels] * of_voxels).sum() / weights[labels].sum()
    found = segmentation_loss(logits, labels, options, weights)
    assert found.item() == pytest.approx((dice + 2 * expected).item(), rel=1e-5)
    plain = SliceSegmenterOptions(n_labels=3)
    assert segmentation_loss(logits, labels, plain, weights).item() == pytest.approx(dice.item())


@pytest.mark.parametrize(("volumes_at_once", "steps"), [(40, 4), (2, 5), (1, 6)])
def test_the_rate_falls_to_zero_over_the_steps_of_the_training(
    toy, monkeypatch, volumes_at_once, steps
):
    """Batches of 14 from 18 slices each of three volumes, one epoch: 4, 3 + 2, or 3 times 2."""
    rates = []

    class Adam(torch.optim.Adam):
        def step(self, *given):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*given)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    sides = [{key: side[key] for key in list(side)[:4]} for side in toy]
    changed = {"learning_rate_falls": True, "epochs": 1, "batch_size": 14}
    options = OPTIONS.model_copy(update=changed | {"volumes_at_once": volumes_at_once})
    train_segmenter(*sides, held_out=["sub-0"], options=options, seed=1)
    expected = [0.01 * (1 + np.cos(np.pi * step / len(rates))) / 2 for step in range(len(rates))]
    assert len(rates) == steps
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("size", [(16, 16), (21, 23), (5, 4), (1, 9)])
def test_a_grid_of_any_size_goes_through(size):
    network = SliceUNet(OPTIONS).eval()
    assert network(torch.zeros(2, 1, *size)).shape == (2, 4, *size)


def test_a_toy_labelling_is_learnt(trained):
    volume, labels = blobs(100)
    found = trained.segment(volume)
    assert found.dtype == np.uint8 and found.shape == SHAPE
    assert all(dice(found, labels, label) > 0.8 for label in (1, 2, 3))


def test_the_best_epoch_on_held_out_volumes_is_kept(toy, trained):
    volumes, labels = toy
    history = trained.facts["history"]
    best = max(row["held_out_dice"] for row in history)
    assert trained.facts["selection_dice"] == best
    assert history[trained.facts["best_epoch"] - 1]["held_out_dice"] == best
    found = trained.segment(volumes["sub-0"])
    expected = np.mean([dice(found, labels["sub-0"], label) for label in (1, 2, 3)])
    assert best == pytest.approx(expected, abs=0.01)  # the loss adds a pixel on both sides
    assert trained.facts["training_ids"] == [f"sub-{number}" for number in range(1, 6)]


def test_held_out_volumes_teach_nothing(toy, trained):
    """Other labels on the held-out side: other choice of the epoch, no other weights to choose."""
    volumes, labels = toy
    short = OPTIONS.model_copy(update={"epochs": 1})
    wrong = {**labels, "sub-0": np.zeros_like(labels["sub-0"])}
    first, second = (
        train_segmenter(volumes, truth, held_out=["sub-0"], options=short, seed=3)
        for truth in (labels, wrong)
    )
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_the_same_seed_gives_the_same_bytes_and_torch_is_left_alone(toy):
    short = OPTIONS.model_copy(update={"epochs": 2})
    states, made = [], []
    for number, seed in enumerate([3, 3, 4]):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        made.append(train_segmenter(*toy, held_out=["sub-0"], options=short, seed=seed).to_bytes())
        states.append(torch.equal(before, torch.get_rng_state()))
    assert made[0] == made[1] != made[2]
    assert all(states)


def test_bytes_give_the_segmenter_back(trained):
    again = SliceSegmenter.from_bytes(trained.to_bytes())
    volume, _ = blobs(101)
    np.testing.assert_array_equal(again.segment(volume), trained.segment(volume))
    assert again.facts == trained.facts and again.options == trained.options
    assert again.to_bytes() == trained.to_bytes()


@pytest.mark.parametrize("damage", ["cut", "header", "empty"])
def test_damaged_bytes_are_refused(trained, damage):
    content = trained.to_bytes()
    spoiled = {
        "cut": content[:-10],
        "header": content.replace(b"best_epoch", b"rest_epoch"),
        "empty": b"",
    }[damage]
    with pytest.raises(WeightsError, match="damaged"):
        SliceSegmenter.from_bytes(spoiled)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda volume: volume[:-1], "trained on"),
        (lambda volume: np.full_like(volume, np.nan), "not finite"),
        (lambda volume: volume * 255, "intensities"),
        (lambda volume: volume * 2 - 1, "intensities"),
        (lambda volume: np.full_like(volume, 0.5), "intensities"),
        (np.zeros_like, "intensities"),
    ],
)
def test_volumes_unlike_those_trained_on_are_refused(trained, change, named):
    with pytest.raises(MeasurementError, match=named):
        trained.segment(change(blobs(102)[0]))


def _without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


@pytest.mark.parametrize(
    ("change", "held_out", "named"),
    [
        (lambda v, t: (v, _without(t, "sub-1")), ["sub-0"], "no labels of sub-1"),
        (lambda v, t: (v, t), ["sub-9"], "no volume of sub-9"),
        (lambda v, t: (v, t), [], "0 held out"),
        (lambda v, t: (v, t), [f"sub-{n}" for n in range(6)], "0 volumes to train on"),
        (lambda v, t: (v, {**t, "sub-1": t["sub-1"][1:]}), ["sub-0"], "sub-1: volume"),
        (lambda v, t: (v, {**t, "sub-1": t["sub-1"] + 7}), ["sub-0"], "sub-1: labels from 7"),
        (lambda v, t: ({**v, "sub-1": v["sub-1"] * np.nan}, t), ["sub-0"], "sub-1: .*not finite"),
        (lambda v, t: ({**v, "sub-1": v["sub-1"] * 0}, t), ["sub-0"], "sub-1: .*constant"),
    ],
)
def test_what_cannot_be_trained_on_is_named(toy, change, held_out, named):
    volumes, labels = change(*toy)
    with pytest.raises(TrainingError, match=named):
        train_segmenter(volumes, labels, held_out=held_out, options=OPTIONS, seed=0)
