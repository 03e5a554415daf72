"""t-maps as images that other software reads right, and as figures."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
import pytest

from genmorph.errors import GenmorphError
from genmorph.metrics.vbm import measure_vbm
from genmorph.metrics.vbm_inference import over_threshold
from genmorph.metrics.vbm_statistics import TMap
from genmorph.publish.figures import style
from genmorph.publish.vbm_maps import (
    _through,
    degrees_of_freedom_image,
    describe,
    glass_brain,
    mask_image,
    mni_background,
    save_image,
    slices,
    t_image,
)

VOXEL_MM = 8.0
AFFINE = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1.0])
AFFINE[:3, 3] = (-96, -132, -72)
GRID = (25, 29, 24)
LEFT, RIGHT = (8, 14, 10), (18, 20, 14)  # x of -32 and 48 mm


@pytest.fixture
def t_map():
    t = np.full(GRID, np.nan)
    t[3:22, 4:25, 3:20] = 0.5
    t[LEFT], t[RIGHT] = -8.0, 6.0
    return TMap(t, 14.0, t / 9, np.isfinite(t), {}, {})


def welch(t_map):
    degrees = np.where(t_map.mask, 12.5, np.nan)
    degrees[LEFT] = 9.25
    return TMap(t_map.t, degrees, t_map.difference, t_map.mask, {}, {})


def pixels(figure):
    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format="rgba", dpi=60)
    width, height = (figure.get_size_inches() * 60).astype(int)
    return np.frombuffer(stream.getvalue(), np.uint8).reshape(height, width, 4)[..., :3].astype(int)


# -- images ----------------------------------------------------------------------------------------


def test_image_of_t(t_map, tmp_path):
    path = tmp_path / "t.nii.gz"
    save_image(t_image(t_map, AFFINE), path)
    read = nib.load(path)
    np.testing.assert_array_equal(read.affine, AFFINE)
    np.testing.assert_array_equal(read.get_fdata(), t_map.t.astype(np.float32))
    assert read.header.get_intent() == ("t test", (14.0,), "t")
    assert read.header.get_data_dtype() == np.float32
    assert read.header.get_xyzt_units()[0] == "mm"
    assert int(read.header["sform_code"]) == int(read.header["qform_code"]) == 4  # MNI
    assert sorted(tmp_path.iterdir()) == [path]


def test_image_of_t_with_degrees_of_freedom_of_each_voxel(t_map):
    image = t_image(welch(t_map), AFFINE)
    assert image.header.get_intent() == ("t test", (9.25,), "t")
    assert b"least of voxelwise df 9.25" in bytes(image.header["descrip"])
    degrees = degrees_of_freedom_image(welch(t_map), AFFINE).get_fdata()
    assert degrees[LEFT] == 9.25 and degrees[RIGHT] == 12.5
    assert np.isnan(degrees[0, 0, 0])
    constant = degrees_of_freedom_image(t_map, AFFINE).get_fdata()
    assert constant[LEFT] == 14 and np.isnan(constant[0, 0, 0])


def test_images_have_equal_bytes(t_map, tmp_path):
    for name in ("one", "two"):
        save_image(t_image(t_map, AFFINE), tmp_path / f"{name}.nii.gz")
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()


def test_image_of_a_mask(t_map):
    image = mask_image(t_map.mask, AFFINE)
    np.testing.assert_array_equal(np.asarray(image.dataobj), t_map.mask)
    assert image.get_data_dtype() == np.uint8


def test_image_needs_a_grid():
    flat = np.ones(7)
    with pytest.raises(GenmorphError, match="needs a grid"):
        t_image(TMap(flat, 3.0, flat, flat > 0, {}, {}), AFFINE)


# -- figures ---------------------------------------------------------------------------------------


def tile(figure, words):
    return next(
        axes for axes in figure.axes if any(text.get_text() == words for text in axes.texts)
    )


def test_slices_go_through_both_peaks_and_show_the_left_on_the_left(t_map):
    over = np.zeros(GRID, dtype=bool)
    over[LEFT] = over[RIGHT] = True
    with style():
        figure = slices(t_map, AFFINE, over)
    for voxel, t in ((LEFT, -8), (RIGHT, 6)):
        for axis, plane in ((2, "z"), (1, "y"), (0, "x")):
            place_mm = AFFINE[axis, axis] * voxel[axis] + AFFINE[axis, 3]
            axes = tile(figure, f"{plane} = {place_mm:.0f} mm")
            overlay = axes.images[1].get_array()  # [up, right]
            others = [other for other in range(3) if other != axis]
            assert overlay.shape == (GRID[others[1]], GRID[others[0]])
            assert overlay[voxel[others[1]], voxel[others[0]]] == t
            assert overlay.count() == 1  # voxels under the threshold are not coloured
            assert axes.images[1].get_clim() == (-8, 8)
    words = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {"L", "R", "P", "A", "t"} <= words
    axial = tile(figure, f"z = {VOXEL_MM * LEFT[2] - 72:.0f} mm")
    blue = np.argwhere(axial.images[1].get_array().filled(0).T < 0)[0]
    assert blue[0] < GRID[0] / 2 and axial.get_xlim()[0] < axial.get_xlim()[1]


def test_slices_over_the_template(t_map):
    background = mni_background(GRID, AFFINE)
    assert background.shape == GRID and 0.5 < background.max() <= 1
    # the middle of the brain is inside, the corner is not
    assert background[12, 15, 12] > 0.2 and background[0, 0, 0] == 0
    with style():
        figure = slices(t_map, AFFINE, np.zeros(GRID, dtype=bool), footer="Nothing over it.")
    assert pixels(figure).std() > 10
    with pytest.raises(GenmorphError, match="over a background"):
        slices(t_map, AFFINE, background=background[1:])
    with pytest.raises(GenmorphError, match="voxels to show"):
        slices(t_map, AFFINE, t_map.mask[1:])
    with pytest.raises(GenmorphError, match="RAS"):
        slices(t_map, np.diag([-8.0, 8, 8, 1]))


def coloured(picture):
    """Columns and rows where a picture is blue, and where it is orange."""
    red, _, blue = np.moveaxis(picture, -1, 0)
    return np.argwhere(blue - red > 60), np.argwhere(red - blue > 60)


def test_no_slice_is_shown_twice_where_both_peaks_lie_in_one():
    assert _through([10, 20, 30, 40], [21, 21]) == [10, 21, 30, 40]
    assert _through([10, 20, 30, 40], [12, 33]) == [12, 20, 33, 40]


def test_glass_brain(t_map, monkeypatch):
    import socket

    def refuse(*_args, **_kwargs):
        raise AssertionError("a figure asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    over = np.zeros(GRID, dtype=bool)
    over[7:10, 13:16, 9:12] = over[17:20, 19:22, 13:16] = True
    t_map.t[7:10, 13:16, 9:12], t_map.t[17:20, 19:22, 13:16] = -5.0, 5.0
    with style():
        figure = glass_brain(t_map, AFFINE, over, footer="Made up.", limit=8.0)
        again = glass_brain(t_map, AFFINE, over, footer="Made up.", limit=8.0)
    picture = pixels(figure)
    np.testing.assert_array_equal(picture, pixels(again))
    # left half, from the back, right half, from above; the colour bar stands apart
    width = picture.shape[1]
    blue, orange = coloured(picture[:, : int(0.93 * width)])
    assert len(blue) and len(orange)
    behind_blue, behind_orange = coloured(picture[:, int(0.26 * width) : int(0.45 * width)])
    assert behind_blue[:, 1].max() < behind_orange[:, 1].min()
    # a loss on the left is not seen in the right half, nor a gain on the right in the left half
    assert not len(coloured(picture[:, : int(0.25 * width)])[1])
    assert not len(coloured(picture[:, int(0.47 * width) : int(0.7 * width)])[0])


def test_words_of_a_measurement():
    rng = np.random.default_rng(0)
    sides = [
        {f"{side}-{number}": 1 + rng.random(GRID) for number in range(4)}
        for side in ("sample", "sub")
    ]
    t_map, measurement = measure_vbm(*sides, AFFINE, variance="pooled", level=0.01)
    number = int(over_threshold(t_map, measurement.values).sum())
    assert describe(measurement) == (
        "t of generated - reference, two samples, independent; variance pooled; "
        "4 generated, 4 reference; threshold uncorrected 0.01, two-sided "
        f"(|t| > 3.71, p ≤ 0.01); {number} of {25 * 29 * 24} voxels over it."
    )


def test_words_say_when_no_threshold_could_be_found():
    rng = np.random.default_rng(0)
    sides = [{f"{side}-{n}": 1 + rng.random(GRID) for n in range(4)} for side in ("sample", "sub")]
    _, measurement = measure_vbm(*sides, AFFINE, correction="family-wise", permutations=3)
    words = describe(measurement)
    assert "no threshold family-wise 0.05, two-sided could be found." in words
    assert "over it" not in words


def test_pictures_say_which_voxels_they_colour(t_map):
    def footer(figure):
        return " ".join(text.get_text() for text in figure.texts)

    over = np.zeros(GRID, dtype=bool)
    assert "there are none" in footer(glass_brain(t_map, AFFINE, over))
    over[LEFT] = True
    for draw in (slices, glass_brain):
        assert "Coloured: every voxel tested" in footer(draw(t_map, AFFINE, footer="Made up."))
        assert "Coloured: voxels over the threshold." in footer(draw(t_map, AFFINE, over))
