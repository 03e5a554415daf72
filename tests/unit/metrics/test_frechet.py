"""Fréchet distance: against independent references, closed forms, and degenerate sets."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from genmorph.errors import MeasurementError
from genmorph.metrics.frechet import (
    frechet_distance,
    slice_frechet,
    slice_positions,
    slices,
)
from genmorph.metrics.half_samples import groups_of_people, half_samples
from genmorph.metrics.kid import kernel_distance


def by_matrix_root(a, b):
    """The textbook form, with a root of the product of covariances."""
    covariances = [np.cov(side, rowvar=False) for side in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    difference = a.mean(0) - b.mean(0)
    return difference @ difference + np.trace(covariances[0] + covariances[1] - 2 * root)


@pytest.mark.parametrize(("n", "m"), [(60, 90), (21, 200), (200, 23)])
def test_equals_the_textbook_form(n, m):
    rng = np.random.default_rng(n)
    mixing = rng.normal(size=(20, 20))
    a = rng.normal(size=(n, 20))
    b = rng.normal(size=(m, 20)) @ mixing + 0.3
    assert frechet_distance(a, b) == pytest.approx(by_matrix_root(a, b), rel=1e-8)


@pytest.mark.parametrize(("n", "m"), [(7, 5), (5, 50), (50, 5), (50, 40)])
def test_equals_the_symmetric_form_whatever_the_ranks(n, m):
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(n, 24)), 2 * rng.normal(size=(m, 24)) - 1
    first, second = (np.cov(side, rowvar=False) for side in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second) - 2 * trace
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


def exactly_diagonal(mean, deviation):
    """Rows whose sample mean and covariance are exactly these."""
    signs = scipy.linalg.hadamard(8)[:, 1:4].astype(float)
    return mean + signs * np.asarray(deviation) * np.sqrt(7 / 8)


def test_equals_the_closed_form_of_diagonal_normals():
    a = exactly_diagonal([1.0, 2.0, 3.0], [1.0, 0.5, 2.0])
    b = exactly_diagonal([0.0, 2.5, 3.0], [3.0, 0.5, 0.25])
    # |m_a - m_b|² + Σ (s_a - s_b)²
    assert frechet_distance(a, b) == pytest.approx(1.25 + 4 + 0 + 1.75**2, rel=1e-12)


def test_a_set_is_at_no_distance_from_itself():
    a = np.random.default_rng(0).normal(size=(9, 31))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)


def test_repeated_and_single_images_have_no_covariance():
    rng = np.random.default_rng(0)
    row, others = rng.normal(size=(1, 6)), rng.normal(size=(5, 6))
    expected = np.square(row[0] - others.mean(0)).sum() + np.trace(np.cov(others, rowvar=False))
    assert frechet_distance(row, others) == pytest.approx(expected)
    assert frechet_distance(row.repeat(4, 0), others) == pytest.approx(expected)
    assert frechet_distance(row, row + 2) == pytest.approx(24)


def test_single_precision_input_is_computed_in_double():
    rng = np.random.default_rng(0)
    a = (1000 + rng.normal(size=(40, 10))).astype(np.float32)
    b = (1000 + rng.normal(size=(30, 10))).astype(np.float32)
    assert frechet_distance(a, b) == pytest.approx(
        by_matrix_root(a.astype(float), b.astype(float)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((0, 3)), np.zeros((2, 3))),
        (np.zeros((2, 3)), np.zeros((2, 4))),
        (np.zeros(3), np.zeros((2, 3))),
        (np.full((2, 3), np.nan), np.zeros((2, 3))),
    ],
)
def test_undefined_distances_are_errors(a, b):
    with pytest.raises(MeasurementError):
        frechet_distance(a, b)


# -- slices ----------------------------------------------------------------------------------------


def test_positions_scale_with_the_grid():
    assert slice_positions((80, 96, 80)) == dict.fromkeys(
        ("sagittal", "coronal", "axial"), (30, 40, 50, 60)
    )
    assert slice_positions((40, 48, 40))["axial"] == (15, 20, 25, 30)
    # 8 mm: the voxel that holds the centre of the 2 mm voxel
    assert slice_positions((20, 24, 20))["sagittal"] == (7, 10, 12, 15)
    assert slice_positions((160, 192, 160), positions=(0, 79))["axial"] == (1, 159)


@pytest.mark.parametrize("positions", [(80,), (-1,), ()])
def test_positions_outside_are_errors(positions):
    with pytest.raises(MeasurementError, match="slice positions"):
        slice_positions((80, 96, 80), positions=positions)


def test_slices_are_perpendicular_to_their_axis():
    volume = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    np.testing.assert_array_equal(slices(volume, "sagittal", [2, 0]), volume[[2, 0]])
    np.testing.assert_array_equal(slices(volume, "coronal", [1])[0], volume[:, 1])
    np.testing.assert_array_equal(slices(volume, "axial", [4])[0], volume[:, :, 4])


# -- the measure -----------------------------------------------------------------------------------


class Moments:
    """An extractor one can compute by hand: mean and first voxel of a slice."""

    label, dimension = "FD (moments)", 2

    def __init__(self):
        self.looked_at = 0
        self.settings = {"extractor": "moments", "label": self.label}

    def __call__(self, images):
        self.looked_at += len(images)
        return np.stack([images.mean((1, 2)), images[:, 0, 0]], 1).astype(np.float32)


def volumes(n, seed, prefix, shape=(5, 7, 6)):
    rng = np.random.default_rng(seed)
    return [(f"{prefix}{number}", rng.random(shape).astype(np.float32)) for number in range(n)]


SETTING = {"positions": (1, 3), "reference_shape": (5, 7, 6)}


def test_distance_of_each_slice_averaged_per_axis():
    real, made = volumes(6, 1, "sub-"), volumes(9, 2, "sample-")
    found = slice_frechet(iter(made), iter(real), extractor=Moments(), **SETTING)

    def features(side):
        return Moments()(np.stack([volume[:, 3] for _, volume in side]))

    expected = frechet_distance(features(made), features(real))
    assert found.values["coronal_3"] == pytest.approx(expected)
    assert found.values["coronal"] == pytest.approx(
        (found.values["coronal_1"] + found.values["coronal_3"]) / 2
    )
    axes = [found.values[axis] for axis in ("axial", "coronal", "sagittal")]
    assert found.values["all_axes"] == pytest.approx(np.mean(axes))
    assert len(set(found.values.values())) == 20
    assert found.n == {"generated_scans": 9, "reference_scans": 6, "reference_people": 6}
    assert found.settings["slices_voxels"]["coronal"] == [1, 3]
    assert found.spread == {}
    assert found.notes == (
        "No half-sample SD, nor half-n value, of the Fréchet and kernel distance (generated 9 "
        "people or unnamed volumes; "
        "reference 6 people or unnamed volumes; at least 20 are needed).",
    )


def test_the_kernel_distance_of_the_same_features_stands_beside_it():
    real, made = volumes(6, 1, "sub-"), volumes(9, 2, "sample-")
    extractor = Moments()
    found = slice_frechet(made, real, extractor=extractor, **SETTING)

    def features(side, voxel):
        return Moments()(np.stack([volume[voxel] for _, volume in side]))

    expected = [kernel_distance(features(made, at), features(real, at)) for at in (1, 3)]
    assert found.values["kid_sagittal_3"] == pytest.approx(expected[1])
    assert found.values["kid_sagittal"] == pytest.approx(sum(expected) / 2)
    assert extractor.looked_at == (6 + 9) * 3 * 2  # each slice once, for both distances


def test_a_single_volume_has_no_kernel_distance_and_says_so():
    found = slice_frechet(
        volumes(1, 1, "sample-"), volumes(6, 2, "sub-"), extractor=Moments(), **SETTING
    )
    assert not any(key.startswith("kid_") for key in found.values)
    assert any("Kernel distance: not defined for a single volume" in note for note in found.notes)


# -- its uncertainty -------------------------------------------------------------------------------


def visits(n, seed, scans=2):
    """Scans of n people."""
    side = volumes(n * scans, seed, "")
    return [
        (f"sub-{number % n:02}_ses-{number // n}", volume)
        for number, (_, volume) in enumerate(side)
    ]


def test_the_spread_is_over_half_samples_of_people():
    real, made = visits(20, 1), volumes(22, 2, "sample-")
    found = slice_frechet(made, real, extractor=Moments(), half_sample_repeats=4, **SETTING)
    assert set(found.spread) == {name for name in found.values if not name.startswith("half_n_")}
    assert all(spread > 0 for spread in found.spread.values())
    assert found.settings["spread_over"] == "half-samples of people without replacement"
    assert found.notes == ()

    def coronal(side, voxel):
        return Moments()(np.stack([volume[:, voxel] for _, volume in side]))

    pairs = [(coronal(made, voxel), coronal(real, voxel)) for voxel in (1, 3)]
    expected = half_samples(
        lambda rows_a, rows_b: {
            "mean": np.mean([frechet_distance(a[rows_a], b[rows_b]) for a, b in pairs])
        },
        groups_of_people([name for name, _ in made]),
        groups_of_people([name for name, _ in real]),
        repeats=4,
        seed=0,
    )
    assert found.spread["coronal"] == pytest.approx(expected.spread["mean"])
    assert found.values["half_n_coronal"] == pytest.approx(expected.mean["mean"])
    assert found.values["extrapolated_coronal"] == pytest.approx(
        2 * found.values["coronal"] - expected.mean["mean"]
    )
    assert sorted(name for name in found.values if name.startswith("half_n_")) == sorted(
        f"half_n_{kind}{axis}"
        for kind in ("", "kid_")
        for axis in ("axial", "coronal", "sagittal", "all_axes")
    )


def test_the_value_is_that_of_all_rows():
    real, made = visits(20, 1), volumes(22, 2, "sample-")
    few, many = (
        slice_frechet(made, real, extractor=Moments(), half_sample_repeats=repeats, **SETTING)
        for repeats in (2, 6)
    )
    every = [name for name in few.values if not name.startswith(("half_n_", "extrapolated_"))]
    assert [few.values[name] for name in every] == [many.values[name] for name in every]
    assert few.values["half_n_axial"] != many.values["half_n_axial"]
    assert few.spread != many.spread


def test_half_of_n_shows_the_bias_of_the_distance_and_none_of_the_kernel_distance():
    """Equal distributions: what the distance has left falls with n."""
    found = slice_frechet(
        volumes(80, 1, "sample-"), volumes(80, 2, "sub-"), extractor=Moments(), **SETTING
    )
    for axis in ("axial", "coronal", "sagittal"):
        assert found.values[f"half_n_{axis}"] > 1.2 * found.values[axis]
        spread = found.spread[f"kid_{axis}"]
        assert abs(found.values[f"half_n_kid_{axis}"] - found.values[f"kid_{axis}"]) < spread


def test_the_middle_slice_is_that_of_each_axis():
    real, made = volumes(6, 1, "sub-", (5, 8, 6)), volumes(9, 2, "sample-", (5, 8, 6))
    found = slice_frechet(made, real, extractor=Moments(), positions="middle")
    assert found.settings["positions"] == "middle"
    assert found.settings["reference_grid"] is None
    assert found.settings["slices_voxels"] == {"sagittal": [2], "coronal": [4], "axial": [3]}

    def features(side):
        return Moments()(np.stack([volume[:, 4] for _, volume in side]))

    assert found.values["coronal_middle"] == pytest.approx(
        frechet_distance(features(made), features(real))
    )
    assert found.values["coronal"] == found.values["coronal_middle"]
    made[2][1][2] = 0
    found = slice_frechet(made, real, extractor=Moments(), positions="middle")
    assert "Fréchet distance: 1 generated slices are black." in found.notes
    real[2][1][2] = 0
    with pytest.raises(MeasurementError, match=r"sagittal slice at voxel 2 \(the middle\)"):
        slice_frechet(made, real, extractor=Moments(), positions="middle")
    with pytest.raises(MeasurementError, match="slice positions 'centre'"):
        slice_frechet(made, real, extractor=Moments(), positions="centre")


def test_a_repeated_image_has_a_spread_of_the_other_side_only():
    volume = volumes(1, 3, "x")[0][1]
    repeated = [(f"sample-{number}", volume) for number in range(20)]
    setting = SETTING | {"half_sample_repeats": 3}
    found = slice_frechet(repeated, repeated, extractor=Moments(), **setting)
    assert found.spread["axial"] == found.values["axial"] == 0
    found = slice_frechet(repeated, visits(20, 1), extractor=Moments(), **setting)
    assert found.spread["axial"] > 0


def test_few_scans_are_noted():
    real = volumes(2, 1, "sub-")
    found = slice_frechet(real, real, extractor=Moments(), **SETTING)
    assert "biased" in found.notes[0]
    assert found.values["axial"] == pytest.approx(0, abs=1e-10)


def test_equal_slices_are_looked_at_once():
    extractor = Moments()
    volume = volumes(1, 1, "x")[0][1]
    repeated = [(f"sample-{number}", volume) for number in range(10)]
    slice_frechet(repeated, volumes(2, 2, "sub-"), extractor=extractor, **SETTING)
    assert extractor.looked_at == (1 + 2) * 3 * 2


def test_an_empty_slice_of_a_scan_is_an_error_that_names_it():
    real = volumes(3, 1, "sub-")
    real[1][1][:, :, 3] = 0
    with pytest.raises(MeasurementError, match=r"sub-1: axial slice at voxel 3 \(position 3"):
        slice_frechet(volumes(2, 2, "sample-"), real, extractor=Moments(), **SETTING)


def test_what_cannot_be_measured_is_an_error():
    real = volumes(2, 2, "sub-")
    with pytest.raises(MeasurementError, match="no generated volumes"):
        slice_frechet([], real, extractor=Moments(), **SETTING)
    with pytest.raises(MeasurementError, match="volumes"):
        slice_frechet(volumes(2, 1, "s", (5, 7, 8)), real, extractor=Moments(), **SETTING)
    real[1][1][1, 2, 3] = np.nan
    with pytest.raises(MeasurementError, match="reference sub-1: sagittal"):
        slice_frechet(real, real, extractor=Moments(), **SETTING)
