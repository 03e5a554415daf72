"""Shared drawing: what is shown where, left and right, equal bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest

from genmorph.errors import GenmorphError
from genmorph.publish.figures import save_figure, small_print, style, tiles
from genmorph.publish.slice_grid import slice_grid
from genmorph.publish.tile import deformation_grid, mark_sides, show_slice
from genmorph.publish.views import View, voxel_sizes


@pytest.fixture
def volume():
    """Different on every side: bright at the right, front and top."""
    right, front, top = np.indices((4, 6, 5))
    return (0.5 * right / 3 + 0.3 * front / 5 + 0.2 * top / 4).astype(np.float32)


def pixels(figure, dpi=100):
    stream = io.BytesIO()
    figure.savefig(stream, format="rgba", dpi=dpi)
    width, height = (figure.get_size_inches() * dpi).astype(int)
    return np.frombuffer(stream.getvalue(), np.uint8).reshape(height, width, 4)[..., :3]


@pytest.mark.parametrize(
    ("plane", "expected", "size"),
    [
        ("axial", (slice(None), slice(None), 2), (4, 12)),
        ("coronal", (slice(None), 3, slice(None)), (4, 15)),
        ("sagittal", (2, slice(None), slice(None)), (12, 15)),
    ],
)
def test_views(volume, plane, expected, size):
    view = View(plane)
    np.testing.assert_array_equal(view.of(volume), volume[expected])
    np.testing.assert_array_equal(view.of(np.stack([volume] * 3))[1], volume[expected])
    assert view.size_mm(volume.shape, (1, 2, 3)) == size


def test_view_at_a_fraction(volume):
    assert View("axial", 0).index(volume.shape) == 0
    assert View("axial", 1).index(volume.shape) == 4


def test_left_of_the_picture_is_left_of_the_person(volume):
    with style():
        figure, axes = tiles([4], [6])
        show_slice(axes[0][0], View("axial").of(volume), (4, 6))
        shown = pixels(figure).mean(2)
    height, width = shown.shape
    middle = shown[height // 2]
    assert middle[width // 4] < middle[3 * width // 4]  # x runs to the right
    column = shown[:, width // 2]
    assert column[height // 4] > column[3 * height // 4]  # y runs up: the front is above


def test_sides_are_marked():
    with style():
        _, axes = tiles([4, 4], [6])
        mark_sides(axes[0][0], "coronal")
        mark_sides(axes[0][1], "sagittal")
    assert [text.get_text() for text in axes[0][0].texts] == ["L", "R"]
    assert [text.get_text() for text in axes[0][1].texts] == ["P", "A"]
    assert axes[0][0].texts[0].get_position()[0] < 0.5


def test_window_is_fixed():
    """A volume half as bright is shown half as bright."""
    brightness = []
    for value in (0.8, 0.4):
        with style():
            _, axes = tiles([4], [6])
            show_slice(axes[0][0], np.full((4, 6), value), (4, 6))
            shown = pixels(axes[0][0].figure)
        brightness.append(int(shown[shown.shape[0] // 2, shown.shape[1] // 2, 0]))
    assert brightness == pytest.approx([0.8 * 255, 0.4 * 255], abs=1)


def test_tiles_share_one_scale():
    with style():
        figure, axes = tiles(
            [160, 192],
            [192, 80],
            column_titles=["a", "b\nc"],
            row_titles=["d", "e"],
            footer="words " * 60,
            gaps_after=[0],
        )
    width, height = figure.get_size_inches()
    scales = set()
    for row, tall in zip(axes, (192, 80), strict=True):
        for tile, wide in zip(row, (160, 192), strict=True):
            box = tile.get_position()
            scales |= {round(box.width * width / wide, 9), round(box.height * height / tall, 9)}
            assert tile.get_xlim() == (-wide / 2, wide / 2)
    assert len(scales) == 1
    boxes = [tile.get_position() for row in axes for tile in row]
    assert min(box.x0 for box in boxes) > 0 and max(box.x1 for box in boxes) < 1
    lowest = min(box.y0 for box in boxes)
    words = [text for text in figure.texts if "words" in text.get_text()]
    assert len(words) > 1 and all(0 < text.get_position()[1] < lowest for text in words)


def test_few_tiles_make_a_narrow_page():
    with style():
        few, _ = tiles([160], [160])
        many, _ = tiles([160] * 12, [160])
    assert few.get_size_inches()[0] * 25.4 == pytest.approx(85)
    assert many.get_size_inches()[0] * 25.4 == pytest.approx(180)


def test_words_stay_on_the_page():
    text = small_print(
        data_label="simulated: mostly warps of one template. " * 4,
        shape=(80, 96, 80),
        voxel_mm=(2, 2, 2),
        scale="demo",
    )
    with style():
        figure, _ = tiles([160] * 6, [160], footer=text)
        renderer = figure.canvas.get_renderer()
        ends = [words.get_window_extent(renderer).x1 for words in figure.texts]
    assert max(ends) <= figure.bbox.x1
    assert "80 × 96 × 80 voxels of 2" in text


def test_deformation_grid_moves_as_the_displacement():
    displacement = np.zeros((2, 5, 7))
    displacement[0] = 1.0  # one voxel of 2 mm to the right
    with style():
        _, axes = tiles([10], [21])
        deformation_grid(axes[0][0], displacement, (2, 3), every=2)
    (lines,) = axes[0][0].collections
    paths = [path.vertices for path in lines.get_paths()]
    assert len(paths) == 3 + 4
    np.testing.assert_allclose([path[0, 0] for path in paths[:3]], [-2, 2, 6])
    np.testing.assert_allclose(paths[0][:, 1], (np.arange(7) - 3) * 3)
    np.testing.assert_allclose([path[0, 1] for path in paths[3:]], [-9, -3, 3, 9])


def test_equal_figures_have_equal_bytes(volume, tmp_path):
    for name in ("a", "b.1"):
        with style():
            figure = slice_grid(
                [volume, volume / 2], ["first", "second"], voxel_mm=(8, 8, 8), footer="Data."
            )
        save_figure(figure, tmp_path / name)
    for suffix in ("png", "svg"):
        first = (tmp_path / f"a.{suffix}").read_bytes()
        assert first == (tmp_path / f"b.1.{suffix}").read_bytes()
        assert b"Software" not in first and b"dc:date" not in first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.png", "a.svg", "b.1.png", "b.1.svg"
    ]  # fmt: skip
    assert b"<text" not in (tmp_path / "a.svg").read_bytes()


def test_a_user_s_own_style_changes_nothing(volume, tmp_path):
    import matplotlib

    def draw(name):
        with style():
            figure = slice_grid([volume], ["first"], voxel_mm=(8, 8, 8))
        save_figure(figure, tmp_path / name)
        return (tmp_path / f"{name}.svg").read_bytes()

    plain = draw("plain")
    with matplotlib.rc_context({"font.size": 20, "savefig.bbox": "tight", "text.color": "red"}):
        assert draw("own") == plain


def test_scans_along_rows(volume):
    with style():
        figure = slice_grid(
            [volume] * 2, ["first", "second"], voxel_mm=(8, 8, 8), scans_along="rows"
        )
    assert len(figure.axes) == 6
    assert {"first", "axial"} <= {text.get_text() for text in figure.texts}


def test_volumes_of_several_grids_are_refused(volume):
    with pytest.raises(GenmorphError, match="one grid"):
        slice_grid([volume, volume[1:]], ["", ""], voxel_mm=(8, 8, 8))
    with pytest.raises(GenmorphError, match="one grid"):
        slice_grid([], [], voxel_mm=(8, 8, 8))


def test_voxel_sizes_need_a_known_left():
    assert voxel_sizes(np.diag([2.0, 3.0, 4.0, 1.0])) == (2, 3, 4)
    with pytest.raises(GenmorphError, match="RAS"):
        voxel_sizes(np.diag([-2.0, 3.0, 4.0, 1.0]))
