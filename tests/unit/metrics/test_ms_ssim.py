"""MS-SSIM as a measure: pairs, reconstructions, memory, notes and errors."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.ms_ssim import measure_ms_ssim, measure_ms_ssim_reconstruction
from genmorph.metrics.multiscale_ssim import definition, ms_ssim, scale_moments

SHAPE = (16, 18, 20)
WANG = {"mode": "wang", "data_range": 1.0}
KWON = {"mode": "kwon", "data_range": 1.0}


def volumes(n, prefix="sample-", seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    common = rng.random(shape, dtype=np.float32)
    return {
        f"{prefix}{number}": (common + rng.random(shape, dtype=np.float32)) / 2
        for number in range(n)
    }


def one_by_one(first, second, **options):
    how = definition(first.shape, **options)
    return ms_ssim(scale_moments(first, how), scale_moments(second, how), how)


class Reads(Mapping):
    """Volumes that count how often each is read."""

    def __init__(self, content):
        self.content, self.reads = content, dict.fromkeys(content, 0)

    def __getitem__(self, key):
        self.reads[key] += 1
        return self.content[key]

    def __iter__(self):
        return iter(self.content)

    def __len__(self):
        return len(self.content)


@pytest.mark.parametrize("options", [WANG, KWON])
def test_mean_and_spread_over_all_pairs(options):
    side = volumes(4)
    found = measure_ms_ssim(side, **options)
    expected = [one_by_one(a, b, **options) for a, b in itertools.combinations(side.values(), 2)]
    assert found.values["ms_ssim"] == pytest.approx(np.mean(expected), rel=1e-12)
    assert found.values["ms_ssim_max"] == max(expected)
    assert found.values["ms_ssim_min"] == min(expected)
    assert found.spread["ms_ssim"] == pytest.approx(np.std(expected, ddof=1))
    assert found.n == {"scans": 4, "pairs": 6, "generated_scans": 4}
    assert found.notes == ()
    assert Measurement.from_json(found.to_json()) == found


@pytest.mark.parametrize("held", [2, 3, 4, 6, 100])
@pytest.mark.parametrize("max_pairs", [None, 12])
def test_memory_does_not_change_the_values_and_more_reads_less(held, max_pairs):
    side = volumes(9)
    all_held = measure_ms_ssim(side, **WANG, max_pairs=max_pairs, volumes_in_memory=100)
    counted = Reads(side)
    found = measure_ms_ssim(counted, **WANG, max_pairs=max_pairs, volumes_in_memory=held)
    assert found == all_held
    # a volume is read once a block at most; the first once more, for its grid
    blocks = -(-9 // (held // 2))
    assert max(counted.reads.values()) <= blocks + 1
    assert sum(counted.reads.values()) <= 9 * (blocks + 1) // 2 + 5


@pytest.mark.parametrize("held", [2, 5, 6])
def test_no_more_volumes_are_held_than_allowed(held, monkeypatch):
    """Moments alive at any time, counted by weak references."""
    import weakref

    from genmorph.metrics import ms_ssim as module

    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0
    whole = module.scale_moments

    def watched(volume, how):
        nonlocal most
        moments = whole(volume, how)
        alive.add(moments[0])
        most = max(most, len(alive))
        return moments

    monkeypatch.setattr(module, "scale_moments", watched)
    measure_ms_ssim(volumes(11), **WANG, volumes_in_memory=held)
    assert 2 <= most <= held


def test_chosen_pairs_are_counted_and_depend_on_the_seed_alone():
    side = volumes(8)
    found = measure_ms_ssim(side, **WANG, max_pairs=5, seed=1)
    assert found.n["pairs"] == 5
    assert found.settings["max_pairs"] == 5 and found.settings["seed"] == 1
    assert found == measure_ms_ssim(side, **WANG, max_pairs=5, seed=1)
    assert found.values != measure_ms_ssim(side, **WANG, max_pairs=5, seed=2).values


def test_settings_say_what_was_computed_and_hold_no_counts():
    settings = measure_ms_ssim(volumes(3), **KWON, intensity_range=(-1, 1)).settings
    assert settings["mode"] == "kwon" and settings["coarsest_power"] == 4
    assert settings["constants"] == [1e-4, 9e-4]
    assert settings["intensity_range"] == [-1.0, 1.0]
    assert settings["spread_over"] == "pairs"
    assert settings == measure_ms_ssim(volumes(4), **KWON, intensity_range=(-1, 1)).settings
    assert settings != measure_ms_ssim(volumes(3), **WANG, intensity_range=(-1, 1)).settings


def test_constants_that_do_not_fit_the_intensities_are_noted():
    found = measure_ms_ssim(volumes(2), **KWON, intensity_range=(-1, 1))
    assert found.notes == ("MS-SSIM: constants of a data range of 1 on intensities that span 2.",)


def test_a_single_volume_has_no_pair_and_says_so():
    found = measure_ms_ssim(volumes(1), **WANG)
    assert found.values == {} and found.n["pairs"] == 0
    assert found.notes == ("MS-SSIM: n/a for a single volume, as there is no pair to compare.",)


def test_two_volumes_have_a_value_and_no_spread():
    found = measure_ms_ssim(volumes(2), **WANG)
    assert set(found.values) == {"ms_ssim", "ms_ssim_max", "ms_ssim_min"} and found.spread == {}


def test_a_pair_without_a_value_leaves_no_mean_in_kwon():
    side = volumes(3, shape=(16, 16, 16))
    side["sample-2"] = 1 - side["sample-0"]
    found = measure_ms_ssim(side, **KWON)
    assert found.values == {} and found.spread == {}
    assert any("not defined for 2 of 3 pairs" in note for note in found.notes)
    assert measure_ms_ssim(side, **WANG).values["ms_ssim_min"] == 0


def test_constant_volumes_and_scans_of_one_person_are_noted():
    side = volumes(3) | {"blank": np.zeros(SHAPE, dtype=np.float32)}
    (note,) = measure_ms_ssim(side, **WANG).notes
    assert note.startswith("MS-SSIM: the same intensity in every voxel of blank;")
    visits = dict(zip(("sub-1_ses-1", "sub-1_ses-2", "sub-2"), volumes(3).values(), strict=True))
    found = measure_ms_ssim(visits, **WANG)
    assert found.notes == (
        "MS-SSIM: 1 of 3 pairs are two scans of one person, which are more alike than people are.",
    )
    assert found.n["generated_people"] == 2


def bad(key, change):
    side = volumes(3)
    side[key] = change(side[key])
    return side


@pytest.mark.parametrize(
    ("side", "options", "match"),
    [
        ({}, {}, "no volumes"),
        (bad("sample-1", lambda v: v[:-1]), {}, r"sample-1 is \(15, 18, 20\)"),
        (bad("sample-2", lambda v: np.where(v > 0.9, np.nan, v)), {}, "sample-2 holds values"),
        (bad("sample-1", lambda v: 255 * v), {}, r"intensities of sample-1 run from 1\.\d+ to 2"),
        (bad("sample-1", lambda v: 2 * v - 1), {}, r"intensities of sample-1 run from -0\."),
        (bad("sample-0", lambda v: v[0]), {}, "three axes expected"),
        (volumes(3), {"max_pairs": 0}, "0 pairs"),
        (volumes(3), {"volumes_in_memory": 1}, "1 volumes in memory"),
    ],
)
def test_what_cannot_be_measured_is_an_error(side, options, match):
    with pytest.raises(MeasurementError, match=match):
        measure_ms_ssim(side, **WANG, **options)


def test_a_few_voxels_may_overshoot():
    side = volumes(2)
    side["sample-0"][0, 0, :10] = 3
    assert measure_ms_ssim(side, **WANG).values["ms_ssim"] < 1


# -- reconstructions -------------------------------------------------------------------------------


def reconstructions(n, seed=0):
    originals, noise = volumes(n, "sub-", seed), volumes(n, "sub-", seed + 1)
    return [
        (name, original, 0.8 * original + 0.2 * noise[name]) for name, original in originals.items()
    ]


@pytest.mark.parametrize("options", [WANG, KWON | {"coarsest_power": 1}])
def test_mean_and_spread_over_scans(options):
    pairs = reconstructions(3)
    found = measure_ms_ssim_reconstruction(iter(pairs), **options)
    expected = {name: one_by_one(a, b, **options) for name, a, b in pairs}
    assert found.per_scan == {name: {"ms_ssim": value} for name, value in expected.items()}
    assert found.values == {"ms_ssim": pytest.approx(np.mean(list(expected.values())))}
    assert found.spread["ms_ssim"] == pytest.approx(np.std(list(expected.values()), ddof=1))
    assert found.n == {"scans": 3, "reference_scans": 3, "reference_people": 3}
    assert found.settings["spread_over"] == "scans"


def test_a_scan_without_a_value_is_named():
    pairs = reconstructions(3)
    pairs[1] = (pairs[1][0], pairs[1][1], 1 - pairs[1][1])
    found = measure_ms_ssim_reconstruction(pairs, **KWON)
    assert found.values == {} and set(found.per_scan) == {"sub-0", "sub-2"}
    assert any("not defined for sub-1," in note for note in found.notes)


def test_reconstructions_that_cannot_be_compared_are_errors_that_name_the_scan():
    with pytest.raises(MeasurementError, match="no pairs"):
        measure_ms_ssim_reconstruction([], **WANG)
    pairs = reconstructions(2)
    short = [pairs[0], (pairs[1][0], pairs[1][1], pairs[1][2][1:])]
    with pytest.raises(MeasurementError, match="reconstruction of sub-1 is"):
        measure_ms_ssim_reconstruction(short, **WANG)
    bytes_beside_floats = [(name, 255 * a, b) for name, a, b in pairs]
    with pytest.raises(MeasurementError, match="intensities of sub-0 run from"):
        measure_ms_ssim_reconstruction(bytes_beside_floats, **WANG)
