"""Memorisation: copies are flagged, fresh people and mean images are not."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from genmorph.errors import MeasurementError
from genmorph.metrics.memorisation import measure_memorisation
from genmorph.metrics.relabelling import TwoSides, contrast, p_of_labels

SHAPE = (14, 16, 14)
PERMUTATIONS = 199


def head(shape=SHAPE):
    """A smooth ball, with air around it."""
    middle = (np.array(shape) - 1) / 2
    distance = np.linalg.norm(np.indices(shape).T - middle, axis=-1).T
    return 1 / (1 + np.exp(2 * (distance - 0.36 * min(shape))))


def make_people(n, seed, shape=SHAPE, spread=0.25):
    """Heads with smooth differences; some people are more typical than others."""
    rng = np.random.default_rng(seed)
    mask = head(shape)
    made = []
    for _ in range(n):
        field = gaussian_filter(rng.normal(size=shape), 1.5)
        amount = 0.15 * np.exp(spread * rng.normal())
        made.append((mask * (0.5 + amount * field / field.std())).astype(np.float32))
    return made


def named(volumes, prefix):
    return {f"{prefix}{number:03d}": volume for number, volume in enumerate(volumes)}


TRAINING = named(make_people(14, 1), "sub-t")
HELD_OUT = named(make_people(14, 2), "sub-h")
FRESH = make_people(12, 3)
COPIED = list(TRAINING.values())[:8]


def measured(generated, training=TRAINING, held_out=HELD_OUT, **settings):
    if not isinstance(generated, Mapping):
        generated = named(generated, "sample-")
    settings = {"permutations": PERMUTATIONS} | settings
    return measure_memorisation(generated, training, held_out, **settings)


def noisy(volume, seed=0):
    noise = np.random.default_rng(seed).normal(size=volume.shape)
    return (volume + 0.03 * noise).astype(np.float32)


# -- controls --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v,
        noisy,
        lambda v: np.roll(v, 1, 0),
        lambda v: np.roll(v, -1, 2),
        lambda v: v[::-1],
        lambda v: np.roll(v[::-1], 1, 1),
        lambda v: 0.8 * v + 0.1,
    ],
    ids=["exact", "noise", "shift x", "shift z", "flip", "flip and shift", "rescaled"],
)
def test_copies_are_flagged(change):
    found = measured([change(volume) for volume in COPIED])
    values = found.measurement.values
    assert values["share_flagged"] == 1
    assert values["global_p"] <= 0.02
    assert values["median_ratio"] < 0.7
    pairs = sorted(found.nearest, key=lambda pair: pair.generated)
    assert [pair.training for pair in pairs] == list(TRAINING)[:8]


def test_the_same_copy_again_and_again_is_flagged_though_labels_cannot_tell():
    measurement = measured(COPIED[:1] * 5).measurement
    assert measurement.values["share_flagged"] == 1
    assert measurement.values["global_p"] > 0.2
    assert any("only 1" in note and "read share_flagged" in note for note in measurement.notes)


def test_a_copy_among_fresh_people_is_the_first_pair():
    found = measured([*FRESH[:6], COPIED[3]])
    assert found.nearest[0].generated == "sample-006"
    assert found.nearest[0].training == "sub-t003"
    assert found.nearest[0].p == pytest.approx(1 / 29)
    assert found.measurement.values["share_flagged"] <= 2 / 7


@pytest.mark.parametrize(
    "make",
    [
        lambda training, fresh: fresh,
        lambda training, fresh: [np.mean(training, axis=0)] * 2,
        lambda training, fresh: [np.mean(make_people(40, 99), axis=0)],
        lambda training, fresh: [gaussian_filter(volume, 2.0) for volume in fresh],
        lambda training, fresh: [0.8 * np.mean(training, axis=0) + 0.2 * v for v in fresh],
        lambda training, fresh: [noisy(volume) for volume in fresh],
    ],
    ids=["people", "training mean", "other mean", "blurred", "near the mean", "noise"],
)
def test_what_copies_nobody_is_not_flagged(make):
    shares, global_ps = [], []
    for seed in range(4, 9):
        training, held_out, fresh = (make_people(11, 10 * seed + side) for side in range(3))
        generated = make(training, fresh)
        values = measured(
            generated,
            named(training, "sub-t"),
            named(held_out, "sub-h"),
            shift_voxels=0,
            mirror=False,
            permutations=100,
        ).measurement.values
        shares.append(values["share_flagged"])
        global_ps.append(values["global_p"])
    assert np.mean(shares) <= 0.05
    # of five cohorts of which none is copied, two at 0.05 are met in 2 % of tries
    assert sum(p <= 0.05 for p in global_ps) <= 1


def test_the_mean_of_few_training_people_leans_to_them_but_is_not_flagged():
    ratios, shares = [], []
    for seed in range(8):
        # nobody more typical than others, so that what is left is what each gives to the mean
        training, held_out = (make_people(10, 10 * seed + side, spread=0) for side in range(2))
        found = measured(
            [np.mean(training, axis=0)],
            named(training, "sub-t"),
            named(held_out, "sub-h"),
            shift_voxels=0,
            mirror=False,
            permutations=100,
        ).measurement.values
        ratios.append(found["median_ratio"])
        shares.append(found["share_flagged"])
    assert np.mean(ratios) < 0.97
    assert np.mean(shares) <= 0.125


def test_copies_of_held_out_people_are_told_from_copies_of_training_people():
    measurement = measured(list(HELD_OUT.values())[:6]).measurement
    assert measurement.values["share_flagged"] == 0
    assert measurement.values["global_p"] > 0.9
    assert measurement.values["share_nearer_to_training"] == 0
    assert "median_ratio" not in measurement.values
    assert any("held-out scans themselves" in note for note in measurement.notes)
    assert not any("ratio" in row for row in measurement.per_scan.values())


def test_copies_are_flagged_in_feature_space():
    class Projection:
        label, dimension, settings = "FD (projection)", 12, {"extractor": "projection"}

        def __call__(self, slices):
            flat = slices.reshape(len(slices), -1).astype(float)
            mix = np.random.default_rng(1).normal(size=(flat.shape[1], self.dimension))
            return (flat @ mix / flat.shape[1]).astype(np.float32)

    extractor = Projection()
    copies = [volume[::-1] for volume in COPIED]
    measurement = measured(copies, space="feature", extractor=extractor).measurement
    assert measurement.values["share_flagged"] == 1
    assert measurement.settings["extractor"] == "projection"
    fresh = measured(FRESH, space="feature", extractor=extractor).measurement
    assert fresh.values["share_flagged"] <= 0.1


# -- p values --------------------------------------------------------------------------------------


def test_p_of_fresh_people_is_no_smaller_than_it_should_be():
    shape, settings = (8, 9, 8), {"blur_voxels": 0.0, "shift_voxels": 0, "mirror": False}
    ps, global_ps = [], []
    for seed in range(12):
        sides = [named(make_people(9, 100 * seed + side, shape), f"{side}-") for side in (1, 2)]
        fresh = make_people(10, 100 * seed + 3, shape)
        found = measured(fresh, *sides, permutations=100, alpha=0.1, **settings)
        ps += [pair.p for pair in found.nearest]
        global_ps.append(found.measurement.values["global_p"])
    for level in (0.1, 0.25, 0.5, 0.75):
        # volumes of one repeat share their people: no more than 12 are independent
        assert np.mean(np.array(ps) <= level) <= level + 0.15
    assert 0.3 < np.mean(ps) < 0.75
    assert 0.25 < np.mean(global_ps) < 0.75


def test_global_p_is_uniform_when_labels_say_nothing():
    two = TwoSides.choose(
        named(range(8), "a"), named(range(8), "b"), people=None, draws=None, seed=0
    )
    ps = []
    for seed in range(200):
        squared = np.random.default_rng(seed).gamma(20, size=(6, 16))
        ps.append(p_of_labels(squared, two, permutations=99, seed=seed))
    for level in (0.1, 0.3, 0.5, 0.7, 0.9):
        # four standard errors of a share of 200
        assert np.mean(np.array(ps) <= level) == pytest.approx(level, abs=0.14)


def test_global_p_counts_the_observed_labels_as_one_of_them():
    two = TwoSides.choose(
        named(range(8), "a"), named(range(8), "b"), people=None, draws=None, seed=0
    )
    squared = np.ones((8, 16))
    squared[np.arange(8), np.arange(8)] = 0.0  # a copy of each training person
    assert p_of_labels(squared, two, permutations=99, seed=0) == 1 / 100
    assert p_of_labels(np.ones((8, 16)), two, permutations=99, seed=0) == 1


def test_contrast_rises_as_the_ratio_falls():
    assert contrast(np.array(0.0), np.array(4.0)) == 1
    assert contrast(np.array(4.0), np.array(0.0)) == -1
    ratios = np.linspace(0.1, 2, 9)
    assert (np.diff(contrast(ratios**2, np.ones(9))) < 0).all()


# -- people ----------------------------------------------------------------------------------------


def test_every_training_person_is_in_a_draw():
    few = dict(list(HELD_OUT.items())[:8])
    measurement = measured(list(TRAINING.values()), TRAINING, few).measurement
    assert measurement.n["people_per_side"] == 8
    assert measurement.n["draws"] == 2
    assert measurement.n["training_people_drawn"] == 14
    assert measurement.values["share_flagged"] == 1
    assert any("2 draws of 8" in note for note in measurement.notes)
    assert max(row["ratio"] for row in measurement.per_scan.values()) < 1e-3


def test_one_draw_has_as_many_people_a_side():
    few = dict(list(HELD_OUT.items())[:10])
    measurement = measured(list(TRAINING.values()), TRAINING, few, draws=1).measurement
    assert measurement.n["training_people_drawn"] == measurement.n["people_per_side"] == 10
    # copies of the four people left out are no copies of anybody compared
    assert sum(row["ratio"] < 1e-3 for row in measurement.per_scan.values()) == 10


def test_people_may_be_capped_and_draws_start_over():
    names = named(range(5), "a"), named(range(4), "b")
    two = TwoSides.choose(*names, people=2, draws=4, seed=1)
    assert two.draws.tolist() == [[0, 1], [2, 3], [4, 0], [1, 2]]
    assert (two.drawn, two.people) == (5, 7)
    assert TwoSides.choose(*names, people=9, draws=1, seed=1).per_side == 4


def test_all_scans_of_a_person_are_one_person():
    scans = {f"{name}_ses-1": volume for name, volume in TRAINING.items()}
    again = {f"{name}_ses-2": noisy(volume, 9) for name, volume in TRAINING.items()}
    found = measured([again["sub-t002_ses-2"]], scans | again)
    assert found.measurement.n["training_people"] == found.measurement.n["people_per_side"] == 14
    assert found.nearest[0].training == "sub-t002_ses-2"
    assert found.nearest[0].p == pytest.approx(1 / 29)


def test_order_and_chunk_do_not_matter_and_the_seed_repeats_the_bytes():
    few = dict(list(HELD_OUT.items())[:10])
    first = measured(FRESH[:4], TRAINING, few, seed=5).measurement
    again = measured(
        FRESH[:4], dict(reversed(TRAINING.items())), dict(reversed(few.items())), seed=5, chunk=3
    ).measurement
    assert json.dumps(first.settings) == json.dumps(again.settings)
    for scan_id, row in first.per_scan.items():
        assert again.per_scan[scan_id] == pytest.approx(row, rel=1e-9)
    same = measured(FRESH[:4], TRAINING, few, seed=5).measurement
    assert json.dumps(first.to_json()) == json.dumps(same.to_json())
    other = measured(FRESH[:4], TRAINING, few, seed=6).measurement
    assert other.values["global_p"] != first.values["global_p"]


class Lazy(Mapping):
    """Volumes made anew whenever they are read."""

    def __init__(self, n, prefix):
        self.names = [f"{prefix}{number}" for number in range(n)]

    def __getitem__(self, name):
        return np.random.default_rng(list(name.encode())).random((24, 24, 24), np.float32)

    def __iter__(self):
        return iter(self.names)

    def __len__(self):
        return len(self.names)


def test_memory_does_not_grow_with_the_number_of_volumes():
    def peak(n):
        sides = Lazy(n, "g"), Lazy(n, "t"), Lazy(n, "h")
        tracemalloc.start()
        try:
            # an alpha that leaves out the p of volumes, slow when memory is traced
            measured(*sides, chunk=2, shift_voxels=0, mirror=False, permutations=100, alpha=0.01)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # imports
    assert peak(18) < 1.3 * peak(6)


# -- bad input -------------------------------------------------------------------------------------


def test_too_few_people_for_alpha_is_said():
    training, held_out = dict(list(TRAINING.items())[:3]), dict(list(HELD_OUT.items())[:2])
    measurement = measured(COPIED, training, held_out).measurement
    assert set(measurement.values) == {"share_nearer_to_training", "median_ratio"}
    assert any("share_flagged: n/a, as 5 people give a volume no p below 0.167" in note
               for note in measurement.notes)  # fmt: skip
    assert any("global_p: n/a, as 10 ways" in note for note in measurement.notes)
    assert all("p" not in row for row in measurement.per_scan.values())


def test_one_person_a_side_has_no_p():
    measurement = measured(
        FRESH[:2], {"sub-t000": COPIED[0]}, dict(list(HELD_OUT.items())[:1]), alpha=0.4
    ).measurement
    assert "share_flagged" not in measurement.values and "global_p" not in measurement.values
    assert any("one person on a side" in note for note in measurement.notes)


@pytest.mark.parametrize(
    ("generated", "training", "held_out", "words"),
    [
        ([], TRAINING, HELD_OUT, "no generated volumes"),
        (FRESH, {}, HELD_OUT, "no training volumes"),
        (FRESH, TRAINING, {}, "no held-out volumes"),
        (FRESH, TRAINING, HELD_OUT | {"sub-t001_ses-2": FRESH[0]}, "sub-t001 on both sides"),
        (FRESH, TRAINING, HELD_OUT | {"sub-x": COPIED[4]}, "sub-t004 .* sub-x .* are one scan"),
        (FRESH, TRAINING, HELD_OUT | {"sub-x": COPIED[4][::-1]}, "are one scan"),
        ([np.zeros(SHAPE, np.float32)], TRAINING, HELD_OUT, "sample-000: the volume is constant"),
        ([np.full(SHAPE, np.nan)], TRAINING, HELD_OUT, "sample-000: values that are not finite"),
        ([np.ones((3, 4, 5))], TRAINING, HELD_OUT, "sample-000: volume .* beside"),
    ],
)
def test_bad_input_is_named(generated, training, held_out, words):
    with pytest.raises(MeasurementError, match=words):
        measured(generated, training, held_out)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"space": "images"}, "did you mean 'image'"),
        ({"space": "feature"}, "needs an extractor"),
        ({"permutations": 9}, "9 permutations"),
        ({"alpha": 0.0}, "alpha is 0"),
        ({"people": 0}, "people is 0"),
        ({"draws": 0}, "draws is 0"),
        ({"chunk": 0}, "chunk is 0"),
        ({"blur_voxels": -1.0}, "-1.0 voxels"),
    ],
)
def test_settings_without_meaning_are_refused(settings, words):
    with pytest.raises(MeasurementError, match=words):
        measured(FRESH, **settings)
