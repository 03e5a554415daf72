"""Distances that see through mirror images, shifts and scales of intensity."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.nearest import FeatureSpace, ImageSpace, Placement, inner_products

SHAPE = (9, 11, 10)


@pytest.fixture
def volumes():
    rng = np.random.default_rng(0)
    return {f"v{number}": rng.random(SHAPE, np.float32) for number in range(5)}


def least(space, rows, columns, chunk=16):
    return inner_products(space, rows, columns, chunk=chunk).squared().min(0)


class Projection:
    """An extractor: fixed random projections of the mean and the edges of a slice."""

    label, dimension, settings = "FD (projection)", 6, {"extractor": "projection"}

    def __init__(self):
        self.seen = 0

    def __call__(self, slices):
        self.seen += len(slices)
        flat = slices.reshape(len(slices), -1).astype(float)
        mix = np.random.default_rng(1).normal(size=(flat.shape[1], self.dimension))
        return (flat @ mix / flat.shape[1]).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_distance_is_the_mean_square_difference_whatever_the_chunk(volumes, chunk):
    space = ImageSpace(blur_voxels=0, shift_voxels=0, mirror=False)
    found = least(space, volumes, volumes, chunk)
    flat = np.stack([v.astype(float).ravel() for v in volumes.values()])
    flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    expected = np.square(flat[:, None] - flat[None]).mean(2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    assert not np.diag(found).any()


@pytest.mark.parametrize("blur", [0.0, 1.0])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shift", [(0, 0, 0), (1, 0, 0), (0, -1, 0), (0, 0, 1)])
def test_a_moved_copy_is_found_and_carried_back(volumes, mirrored, shift, blur):
    # an empty margin, so that nothing of the blurred person leaves the window
    original = np.pad(volumes["v0"], 5)
    copy = np.roll(original, shift, (0, 1, 2))
    copy = copy[::-1] if mirrored else copy
    space = ImageSpace(blur_voxels=blur)
    products = inner_products(space, {"copy": copy}, {"original": original}, chunk=4)
    squared = products.squared()[:, 0, 0]
    assert squared.min() < 1e-9
    placement = space.placements[squared.argmin()]
    np.testing.assert_array_equal(placement.carried(original), copy)
    assert placement.mirrored == mirrored
    assert (squared < 1e-3).sum() == 1


def test_what_is_switched_off_is_not_seen_through(volumes):
    copy = {"copy": np.roll(volumes["v0"][::-1], 1, 1)}
    assert least(ImageSpace(blur_voxels=0, shift_voxels=0), copy, volumes)[0, 0] > 0.5
    assert least(ImageSpace(blur_voxels=0, mirror=False), copy, volumes)[0, 0] > 0.5
    assert len(ImageSpace(shift_voxels=1).placements) == 14
    assert len(ImageSpace(shift_voxels=2, mirror=False).placements) == 25


def test_scale_and_offset_of_intensities_do_not_matter(volumes):
    space = ImageSpace()
    scaled = {"scaled": 255 * volumes["v0"] + 7}
    assert least(space, scaled, volumes)[0, 0] == pytest.approx(0, abs=1e-9)


def test_products_with_both_sides_placed_alike(volumes):
    space = ImageSpace(blur_voxels=0)
    together = inner_products(space, volumes, volumes, chunk=2, together=True).cross
    for number, found in enumerate(together):
        flat = np.stack([space.placed(space.prepare(*v), number) for v in volumes.items()])
        flat = flat.astype(float)
        np.testing.assert_allclose(found, flat @ flat.T / flat.shape[1], rtol=1e-9, atol=1e-12)


def test_carried_repeats_the_edge():
    line = np.arange(4.0).reshape(4, 1, 1)
    assert Placement(shift_voxels=(2, 0, 0)).carried(line).ravel().tolist() == [0, 0, 0, 1]
    assert Placement(True, (-1, 0, 0)).carried(line).ravel().tolist() == [3, 3, 2, 1]


def test_features_of_a_mirrored_copy_are_found(volumes):
    space = FeatureSpace(Projection(), positions=(30, 50))
    products = inner_products(space, {"copy": volumes["v1"][::-1]}, volumes, chunk=2)
    assert products.squared()[1, 0, 1] == 0
    assert products.squared()[0, 0, 1] > 1e-6
    straight = FeatureSpace(Projection(), positions=(30, 50), mirror=False)
    assert least(straight, {"copy": volumes["v1"][::-1]}, volumes)[0, 1] > 1e-6


@pytest.mark.parametrize(("averaged", "length"), [(False, 3 * 2 * 6), (True, 3 * 6)])
def test_features_are_concatenated_or_averaged(volumes, averaged, length):
    space = FeatureSpace(Projection(), positions=(30, 50), averaged=averaged)
    assert space.prepare("v0", volumes["v0"]).shape == (2, length)


def test_equal_volumes_meet_the_network_once(volumes):
    extractor = Projection()
    space = FeatureSpace(extractor, positions=(30, 50))
    inner_products(space, volumes, volumes, chunk=1)
    assert extractor.seen == 5 * 2 * 6  # people, straight and mirrored, slices


@pytest.mark.parametrize("space", [ImageSpace(), FeatureSpace(Projection())])
@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (np.full(SHAPE, 0.5, np.float32), "constant"),
        (np.full(SHAPE, np.nan, np.float32), "not finite"),
        (np.ones((9, 11), np.float32), r"\[x, y, z\] expected"),
    ],
)
def test_a_volume_that_says_nothing_is_refused_by_name(space, volume, words):
    with pytest.raises(MeasurementError, match=f"sub-7.*{words}"):
        space.prepare("sub-7", volume)


@pytest.mark.parametrize("space", [ImageSpace, lambda: FeatureSpace(Projection())])
def test_grids_must_be_equal(space, volumes):
    other = {"other": np.random.default_rng(0).random((10, 11, 9), np.float32)}
    with pytest.raises(MeasurementError, match=r"other: volume .* beside"):
        inner_products(space(), other, volumes, chunk=4)


def test_features_of_other_intensities_are_refused(volumes):
    with pytest.raises(MeasurementError, match="about 0 to 1 expected"):
        FeatureSpace(Projection()).prepare("v0", 255 * volumes["v0"])


def test_settings_without_meaning_are_refused(volumes):
    with pytest.raises(MeasurementError, match="-1 voxels"):
        ImageSpace(shift_voxels=-1)
    with pytest.raises(MeasurementError, match="too small for shifts"):
        ImageSpace(shift_voxels=5).prepare("v0", volumes["v0"])
