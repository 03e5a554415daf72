"""Figure of nearest pairs: which, in what order, how they lie over each other."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import GenmorphError
from genmorph.metrics.memorisation import NearestPair
from genmorph.metrics.nearest import Placement
from genmorph.publish.comparisons import draw_pairs
from genmorph.publish.figures import save_figure, style
from genmorph.publish.memorisation import draw_nearest_pairs, title

SHAPE = (8, 10, 9)


def pair(name="sample-0", placement=None, held_out_distance=0.5, p=0.04):
    return NearestPair(
        generated=name,
        training="sub-1",
        held_out="sub-2",
        training_distance=0.1,
        held_out_distance=held_out_distance,
        placement=placement or Placement(),
        p=p,
    )


@pytest.fixture
def scan():
    return np.random.default_rng(0).random(SHAPE, np.float32)


def tiles_of(figure):
    return [axes for axes in figure.axes if axes.images]


def words(figure):
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        (Placement(), "ratio 0.20, p 0.04\n"),
        (Placement(mirrored=True), "ratio 0.20, p 0.04\nmirrored"),
        (Placement(True, (-1, 0, 1)), "ratio 0.20, p 0.04\nmirrored, shifted -1 +0 +1"),
    ],
)
def test_titles_tell_how_the_training_scan_was_moved(placement, expected):
    assert title(pair(placement=placement)) == expected


def test_titles_without_a_p_or_a_ratio():
    assert title(pair(p=None)) == "ratio 0.20\n"
    assert title(pair(held_out_distance=0.0)) == "held-out copy, p 0.04\n"


@pytest.mark.parametrize("placement", [Placement(), Placement(True), Placement(True, (1, 0, 0))])
def test_a_moved_copy_has_no_difference(scan, placement):
    copy = placement.carried(scan)
    with style():
        figure = draw_nearest_pairs(
            [pair(placement=placement)], {"sample-0": copy}, {"sub-1": scan}, voxel_mm=(1, 1, 1)
        )
    shown = [axes.images[0].get_array() for axes in tiles_of(figure)]
    assert len(shown) == 9
    for view in range(3):
        np.testing.assert_array_equal(shown[view], shown[3 + view])
        assert not np.asarray(shown[6 + view]).any()


def test_the_first_pairs_are_shown_in_their_order_without_ids(scan):
    made = {f"sample-{number}": scan * number / 4 for number in range(5)}
    pairs = [pair(f"sample-{number}", p=number / 10) for number in (3, 1, 4, 2)]
    with style():
        figure = draw_nearest_pairs(pairs, made, {"sub-1": scan}, voxel_mm=(1, 1, 1), shown=2)
    first_row = [axes.images[0].get_array() for axes in tiles_of(figure)][:6]
    middle = scan[:, :, SHAPE[2] // 2].T
    np.testing.assert_allclose(first_row[0], middle * 3 / 4, rtol=1e-6)
    np.testing.assert_allclose(first_row[3], middle / 4, rtol=1e-6)
    written = " ".join(words(figure))
    assert "2 of 4 generated volumes" in written and "generated minus training" in written
    assert "sub-1" not in written and "sample-" not in written


def test_the_difference_is_the_one_named(scan):
    other = np.clip(scan + 0.1, 0, None).astype(np.float32)
    with style():
        figure = draw_pairs([("", scan, other)], names=("a", "b"), subtracted=0, voxel_mm=(1, 1, 1))
    difference = tiles_of(figure)[6].images[0].get_array()
    np.testing.assert_allclose(difference, 0.1, atol=1e-6)
    assert any("b minus a" in text for text in words(figure))


def test_equal_input_equal_bytes(scan, tmp_path):
    for name in ("one", "two"):
        with style():
            figure = draw_nearest_pairs(
                [pair()], {"sample-0": scan}, {"sub-1": scan}, voxel_mm=(2, 2, 2)
            )
        save_figure(figure, tmp_path / name)
    for suffix in ("png", "svg"):
        one, two = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two


def test_no_pairs_and_other_grids_are_refused(scan):
    with pytest.raises(GenmorphError, match="no nearest pairs"):
        draw_nearest_pairs([], {}, {}, voxel_mm=(1, 1, 1))
    with pytest.raises(GenmorphError, match="one grid"):
        draw_nearest_pairs([pair()], {"sample-0": scan}, {"sub-1": scan[:-1]}, voxel_mm=(1, 1, 1))
