"""Samples and reconstructions, of models and of trivial references."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genmorph.errors import GenmorphError
from genmorph.models import build
from genmorph.sampling import (
    REFERENCES,
    draw_samples,
    mean_and_deviation,
    reconstruct_scans,
    reference_reconstructions,
    reference_samples,
)
from genmorph.store import Description, Store, write_store

SHAPE = (18, 5, 4)
DESCRIPTION = Description(np.eye(4).tolist(), "tiny", "", {})


@pytest.fixture(scope="module")
def volumes():
    rng = np.random.default_rng(0)
    return {f"sub-{number:02d}": rng.random(SHAPE) for number in range(9)}


@pytest.fixture(scope="module")
def store(tmp_path_factory, volumes):
    folder = tmp_path_factory.mktemp("store")
    write_store(folder, volumes.items(), shape=SHAPE, dtype="uint8", description=DESCRIPTION)
    return Store(folder)


@pytest.fixture(scope="module")
def ids(store):
    return {"train": store.ids[:4], "validation": store.ids[4:6], "test": store.ids[6:]}


@pytest.fixture(scope="module")
def model(store):
    options = {"channels": (2, 2, 3, 3), "latent_size": 4}
    model = build("m3ae", options, SHAPE, store.read("sub-00"), seed=1)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if ".heads." in name:
                weights.normal_(std=0.1, generator=torch.Generator().manual_seed(2))
    return model


def test_a_sample_does_not_depend_on_how_many_are_drawn(model):
    few, many = dict(draw_samples(model, 3, seed=5)), dict(draw_samples(model, 6, seed=5))
    assert list(many) == [f"sample-{number:05d}" for number in range(6)]
    for name, volume in few.items():
        np.testing.assert_array_equal(volume, many[name])
        assert volume.dtype == np.float32 and volume.shape == SHAPE
    assert np.abs(many["sample-00000"] - many["sample-00001"]).max() > 0.01
    other = dict(draw_samples(model, 1, seed=6))
    assert np.abs(other["sample-00000"] - many["sample-00000"]).max() > 0.01


def test_a_sample_does_not_depend_on_the_batch(model):
    one, three = (dict(draw_samples(model, 4, seed=5, batch_size=size)) for size in (1, 3))
    for name, volume in one.items():
        np.testing.assert_allclose(volume, three[name], rtol=0, atol=1e-5)


def test_reconstructions_keep_order_and_do_not_depend_on_company(model, store):
    some = dict(reconstruct_scans(model, store, ["sub-05", "sub-02"]))
    every = dict(reconstruct_scans(model, store, store.ids))
    assert list(some) == ["sub-05", "sub-02"] and list(every) == store.ids
    for scan_id, volume in some.items():
        np.testing.assert_allclose(volume, every[scan_id], rtol=0, atol=1e-5)
    expected = model.reconstruct(torch.from_numpy(store.read("sub-05"))[None])[0]
    np.testing.assert_allclose(some["sub-05"], expected.detach().numpy(), rtol=0, atol=1e-5)


def test_a_model_of_another_grid_is_refused(store):
    other = build("m3ae", {"channels": (2, 2, 3, 3), "latent_size": 4}, (20, 5, 4))
    with pytest.raises(GenmorphError, match=r"\(18, 5, 4\)"):
        next(reconstruct_scans(other, store, ["sub-00"]))


def samples(kind, store, ids, n=10, seed=3):
    return list(reference_samples(kind, store, ids=ids, template="sub-01", n=n, seed=seed))


def test_every_reference_gives_what_it_says(store, ids):
    for kind, gives in REFERENCES.items():
        if "samples" in gives:
            assert samples(kind, store, ids, n=2)
        else:
            with pytest.raises(GenmorphError, match="defines no samples"):
                samples(kind, store, ids)
        keys = {"training_ids": ids["train"], "template": "sub-01", "seed": 0}
        if "reconstructions" in gives:
            made = list(reference_reconstructions(kind, store, ids["test"], **keys))
            assert [scan_id for scan_id, _ in made] == ids["test"]
        else:
            with pytest.raises(GenmorphError, match="defines no reconstructions"):
                reference_reconstructions(kind, store, ids["test"], **keys)
    with pytest.raises(GenmorphError, match="did you mean 'template'"):
        samples("templat", store, ids)


def test_mean_and_template(store, ids):
    mean = np.mean([store.read(scan_id) for scan_id in ids["train"]], axis=0)
    for name, volume in samples("training_mean", store, ids, n=3):
        assert name.startswith("sample-") and volume.dtype == np.float32
        np.testing.assert_allclose(volume, mean, atol=1e-6)
    for _, volume in samples("template", store, ids, n=2):
        np.testing.assert_array_equal(volume, store.read("sub-01"))


def test_the_copier_takes_each_training_scan_before_any_twice(store, ids):
    def source(volume):
        return next(s for s in store.ids if np.array_equal(store.read(s), volume))

    taken = [source(volume) for _, volume in samples("training_scans", store, ids, n=8)]
    assert sorted(taken[:4]) == sorted(taken[4:]) == sorted(ids["train"])
    fewer = [source(volume) for _, volume in samples("training_scans", store, ids, n=3)]
    assert fewer == taken[:3]
    orders = {
        tuple(source(v) for _, v in samples("training_scans", store, ids, 4, s)) for s in range(5)
    }
    assert len(orders) > 1


def test_held_out_scans_keep_their_names(store, ids):
    made = dict(samples("held_out", store, ids, n=1))
    assert list(made) == ids["validation"]
    np.testing.assert_array_equal(made["sub-04"], store.read("sub-04"))


def test_shuffled_scans_keep_their_histogram_only(store, ids):
    made = [volume for _, volume in samples("voxel_shuffled", store, ids, n=4)]
    for volume, scan_id in zip(made, [*ids["test"], ids["test"][0]], strict=True):
        original = store.read(scan_id)
        np.testing.assert_array_equal(np.sort(volume.ravel()), np.sort(original.ravel()))
        assert abs(np.corrcoef(volume.ravel(), original.ravel())[0, 1]) < 0.3
    assert not np.array_equal(made[0], made[3])


def test_independent_slices_are_real_ones_of_many_scans(store, ids):
    made = samples("independent_slices", store, ids, n=40)
    real = np.stack([store.read(scan_id) for scan_id in ids["train"]])
    sources = np.empty((40, SHAPE[1]), int)
    for row, (_, volume) in enumerate(made):
        assert volume.shape == SHAPE and volume.dtype == np.float32
        for place in range(SHAPE[1]):
            same = [np.array_equal(volume[:, place], scan[:, place]) for scan in real]
            sources[row, place] = same.index(True)
    # each scan as often as another in each slice, and neighbours do not go together
    shares = np.stack([(sources == scan).mean(axis=0) for scan in range(len(real))])
    assert shares.min() > 0.05 and shares.max() < 0.55
    assert 0.1 < (sources[:, 1:] == sources[:, :-1]).mean() < 0.4


def test_mean_and_noise_have_the_training_scans_moments(store, ids):
    real = np.stack([store.read(scan_id) for scan_id in ids["train"]]).astype(float)
    mean, deviation = mean_and_deviation(store, ids["train"])
    np.testing.assert_allclose(mean, real.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(deviation, real.std(axis=0, ddof=1), atol=1e-6)
    made = np.stack([v for _, v in samples("training_mean_noise", store, ids, n=300)])
    assert made.dtype == np.float32 and made.min() >= 0 and made.max() <= 1
    inside = (mean > 3 * deviation) & (mean < 1 - 3 * deviation)  # where nothing is clipped
    assert inside.sum() > 10
    error = (made.mean(axis=0) - mean)[inside] / deviation[inside]
    assert np.abs(error).max() < 5 / np.sqrt(300)
    np.testing.assert_allclose(made.std(axis=0)[inside] / deviation[inside], 1, atol=0.25)
    # neighbours know nothing of each other
    noise = (made - mean)[:, inside] / deviation[inside]
    together = np.corrcoef(noise, rowvar=False)[~np.eye(inside.sum(), dtype=bool)]
    assert np.abs(together).max() < 0.35 and abs(together.mean()) < 0.02


def test_one_training_scan_has_no_deviation(store, ids):
    with pytest.raises(GenmorphError, match="two training scans"):
        samples("training_mean_noise", store, {**ids, "train": ids["train"][:1]})


@pytest.mark.parametrize("kind", ["independent_slices", "training_mean_noise"])
def test_the_kth_trivial_sample_depends_on_seed_and_k(store, ids, kind, monkeypatch):
    many = dict(samples(kind, store, ids, n=9))
    assert list(many) == [f"sample-{number:05d}" for number in range(9)]
    monkeypatch.setattr("genmorph.sampling.MIXED_BLOCK", 2)
    for name, volume in samples(kind, store, ids, n=5):
        np.testing.assert_array_equal(volume, many[name])
    other = dict(samples(kind, store, ids, n=1, seed=4))
    assert not np.array_equal(other["sample-00000"], many["sample-00000"])
    assert not np.array_equal(many["sample-00001"], many["sample-00000"])


@pytest.mark.parametrize("block", [1, 2, 64])
def test_the_nearest_training_scan_by_brute_force(store, ids, monkeypatch, block):
    monkeypatch.setattr("genmorph.sampling.NEIGHBOUR_BLOCK", block)
    made = dict(
        reference_reconstructions(
            "nearest_training_scan",
            store,
            ids["test"],
            training_ids=ids["train"],
            template="sub-01",
            seed=0,
        )
    )
    for scan_id, volume in made.items():
        distances = {
            other: ((store.read(other) - store.read(scan_id)) ** 2).sum() for other in ids["train"]
        }
        nearest = min(distances, key=distances.get)
        np.testing.assert_array_equal(volume, store.read(nearest))
