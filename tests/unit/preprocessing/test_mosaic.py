"""Mosaics show what lies where: sides, ups and downs, outlines."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.preprocessing.mosaic import CYAN, PANEL, RED, draw_mosaic
from genmorph.preprocessing.raw import Image


@pytest.fixture
def head():
    """A block brighter to the right, front and top, in voxels of unequal size."""
    data = np.zeros((24, 20, 30), np.float32)
    data[6:18, 5:15, 8:22] = 100.0
    data[12:18, 5:15, 8:22] += 100.0
    data[6:18, 10:15, 8:22] += 50.0
    data[6:18, 5:15, 15:22] += 25.0
    return Image(data, np.diag([2.0, 3.0, 1.5, 1.0]))


def panel(picture, row, column):
    pixels = np.asarray(picture).astype(float)
    area = pixels[row * PANEL : (row + 1) * PANEL, column * PANEL : (column + 1) * PANEL]
    return area[24:-24, 24:-24]  # labels stand at the rim


def test_right_is_right_front_is_right_and_up_is_up(head):
    mask = head.data > 0
    picture = draw_mosaic(head, head, mask, head, mask)
    assert picture.size == (3 * PANEL, 3 * PANEL)
    for row in (0, 2):
        sagittal, coronal, axial = (panel(picture, row, column).mean(axis=2) for column in range(3))
        half = sagittal.shape[1] // 2
        assert sagittal[:, half:].sum() > sagittal[:, :half].sum()  # anterior
        assert coronal[:, half:].sum() > coronal[:, :half].sum()  # right
        assert axial[:, half:].sum() > axial[:, :half].sum()
        half = sagittal.shape[0] // 2
        assert coronal[:half].sum() > coronal[half:].sum()  # superior
        assert axial[:half].sum() > axial[half:].sum()  # anterior


def test_outlines_follow_the_masks(head):
    mask = head.data > 0
    pixels = np.asarray(draw_mosaic(head, head, mask, head, mask))
    red, cyan = ((pixels == colour).all(axis=2) for colour in (RED, CYAN))
    assert not red[:PANEL].any() and not cyan[: 2 * PANEL].any()
    assert red[PANEL : 2 * PANEL].any() and cyan[2 * PANEL :].any()
    # coronal: 12 voxels of 2 mm by 14 of 1.5 mm, so the box is 24 to 21
    rows, columns = np.nonzero(red[PANEL : 2 * PANEL, PANEL : 2 * PANEL])
    ratio = np.ptp(columns) / np.ptp(rows)
    assert abs(ratio - 24 / 21) < 0.06


def test_without_a_registration_there_are_two_rows_and_no_mask_is_no_error(head):
    assert draw_mosaic(head, head, head.data > 0).size == (3 * PANEL, 2 * PANEL)
    draw_mosaic(head, head, np.zeros(head.data.shape, bool))
