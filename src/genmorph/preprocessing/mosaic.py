"""A picture per scan: what went in, where the brain was found, where it lies on the template."""

from __future__ import annotations

from typing import Any

import numpy as np

from genmorph.preprocessing.raw import Image

PANEL = 220  # pixels
RED, CYAN, WHITE = (255, 70, 60), (60, 220, 255), (235, 235, 235)
PLANES = ("sagittal", "coronal", "axial")
EDGES = (("P", "A"), ("L", "R"), ("L", "R"))  # left and right end of each panel


def draw_mosaic(
    raw: Image,
    corrected: Image,
    mask: np.ndarray,
    volume: Image | None = None,
    template: np.ndarray | None = None,
) -> Any:
    """Draw three rows of three planes; two when nothing was registered.

    Parameters
    ----------
    raw, corrected : Image
        The scan before and after bias correction.
    mask : ndarray of bool
        Brain on the scan's grid; its outline is red.
    volume : Image, optional
        Preprocessed scan on the recipe's grid.
    template : ndarray of bool, optional
        The template's brain on that grid; its outline is blue.

    Returns
    -------
    PIL.Image.Image
        Right is right: neurological convention.
    """
    from PIL import Image as Picture

    found = np.argwhere(mask) if mask.any() else np.asarray(mask.shape)[None] / 2
    centre = np.rint(found.mean(axis=0)).astype(int)
    rows = [
        ("raw scan", raw, None, centre, RED),
        ("bias corrected, brain mask", corrected, mask, centre, RED),
    ]
    if volume is not None:
        middle = np.asarray(volume.data.shape) // 2
        rows.append(("on the grid (template in outline)", volume, template, middle, CYAN))
    picture = Picture.new("RGB", (3 * PANEL, len(rows) * PANEL))
    for line, (title, image, outline, position, colour) in enumerate(rows):
        window = _window(image.data)
        for axis in range(3):
            panel = _panel(image, outline, axis, int(position[axis]), window, colour)
            _label(panel, title if axis == 0 else "", axis)
            picture.paste(panel, (axis * PANEL, line * PANEL))
    return picture


def _window(data: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(data, (1.0, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _panel(
    image: Image,
    outline: np.ndarray | None,
    axis: int,
    index: int,
    window: tuple[float, float],
    colour: tuple[int, int, int],
) -> Any:
    """One plane through the image, right side up, voxels in true proportion."""
    from PIL import Image as Picture

    sizes = np.delete(image.voxel_mm, axis)
    plane = np.take(image.data, index, axis=axis)
    grey = np.clip((plane - window[0]) / (window[1] - window[0]), 0, 1)
    extent = np.asarray(plane.shape) * sizes
    width, height = np.maximum(1, np.rint(extent * (PANEL - 8) / extent.max())).astype(int)

    def upright(plane: np.ndarray, resampling: int) -> Any:
        pixels = np.ascontiguousarray((plane.T[::-1] * 255).astype(np.uint8))
        return Picture.fromarray(pixels).resize((int(width), int(height)), resampling)

    shown = upright(grey, Picture.Resampling.BILINEAR).convert("RGB")
    if outline is not None:
        section = np.take(outline, index, axis=axis).astype(float)
        inside = np.asarray(upright(section, Picture.Resampling.BILINEAR)) > 127
        pixels = np.asarray(shown).copy()
        pixels[_edge(inside)] = colour
        shown = Picture.fromarray(pixels)
    panel = Picture.new("RGB", (PANEL, PANEL))
    panel.paste(shown, ((PANEL - int(width)) // 2, (PANEL - int(height)) // 2))
    return panel


def _edge(inside: np.ndarray) -> np.ndarray:
    """Pixels of a region that touch its outside."""
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core


def _label(panel: Any, title: str, axis: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(panel)
    draw.text((4, 2), title, fill=WHITE)
    left, right = EDGES[axis]
    draw.text((3, PANEL // 2), left, fill=WHITE)
    draw.text((PANEL - 9, PANEL // 2), right, fill=WHITE)
    if not title:
        draw.text((4, 2), PLANES[axis], fill=WHITE)
