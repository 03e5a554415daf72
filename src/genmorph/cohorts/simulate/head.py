"""Tissue around the brain: fluid, skull with marrow, scalp, face and neck, with T1-like contrast.

Signals are relative to white matter. A brain extractor finds the brain by this contrast: compact
bone and air dark, marrow and fat bright, muscle between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BONE, MARROW, FAT, MUSCLE, SKIN, EYE = 0.07, 0.55, 1.15, 0.48, 0.55, 0.22
FAT_DEPTH_MM = 5.0  # below the skin of face and neck
CORD_TOP_MM = -72.0  # where the template's brain mask ends
CORD_CENTRE_MM = (0.0, -47.0)
CORD_RADIUS_MM = 7.0
CANAL_RADIUS_MM = 11.0


@dataclass(frozen=True)
class HeadLayers:
    """Thickness (mm) of one person's layers, from the brain's hull outwards."""

    fluid_mm: float
    skull_mm: float
    scalp_mm: float


def inside(distance_mm: np.ndarray, voxel_mm: float) -> np.ndarray:
    """Fraction of a voxel within a surface, from the signed distance of its centre."""
    return np.clip(0.5 - distance_mm / voxel_mm, 0.0, 1.0).astype(np.float32)


def intracranial_fraction(hull_mm: np.ndarray, layers: HeadLayers, voxel_mm: float) -> np.ndarray:
    """Fraction of each voxel within the inner table of the skull."""
    return inside(hull_mm - layers.fluid_mm, voxel_mm)


def head_signal(
    hull_mm: np.ndarray,
    soft_mm: np.ndarray,
    face: np.ndarray,
    layers: HeadLayers,
    voxel_mm: float,
) -> np.ndarray:
    """Signal outside the inner table of the skull, relative to white matter.

    Parameters
    ----------
    hull_mm, soft_mm, face : ndarray
        Maps of `anatomy.Template` at the scanner's voxels.
    layers : HeadLayers
    voxel_mm : float
        Width over which two layers share a voxel.

    Returns
    -------
    ndarray
        Zero in air. Voxels inside the skull carry the signal of bone: fill them with brain and
        fluid by `intracranial_fraction`.
    """
    skull_end = layers.fluid_mm + layers.skull_mm
    outline_mm = np.minimum(hull_mm - (skull_end + layers.scalp_mm), soft_mm)
    # below the surface: skin, fat, then muscle; scalp muscle is a thin sheet over the bone
    on_face = soft_mm < hull_mm - skull_end - layers.scalp_mm
    fat_mm = np.where(on_face, FAT_DEPTH_MM, 0.6 * layers.scalp_mm)
    signal = _blend(face, FAT, 1.0 - inside(outline_mm + fat_mm, voxel_mm))
    signal = _blend(signal, SKIN, 1.0 - inside(outline_mm + 1.2, voxel_mm))
    signal = signal * inside(outline_mm, voxel_mm)
    signal = _blend(signal, BONE, inside(hull_mm - skull_end, voxel_mm))
    middle = layers.fluid_mm + 0.5 * layers.skull_mm
    marrow = inside(np.abs(hull_mm - middle) - 0.22 * layers.skull_mm, voxel_mm)
    return _blend(signal, MARROW, marrow)


def _blend(signal: np.ndarray, other: float, fraction: np.ndarray) -> np.ndarray:
    return signal + fraction * (np.float32(other) - signal)


# -- maps of the template -------------------------------------------------------------------------


def soft_tissue_distance(axes: list[np.ndarray]) -> np.ndarray:
    """Signed distance (mm, about) to the outline of face and neck, without the skull's cover."""
    x, y, z = axes
    face = _distance(axes, (0.0, 36.0, -62.0), (62.0, 64.0, 68.0))
    nose = _distance(axes, (0.0, 96.0, -52.0), (14.0, 15.0, 20.0))
    neck = (np.sqrt((x / 60.0) ** 2 + ((y + 28.0) / 66.0) ** 2) - 1.0) * 60.0
    neck = np.maximum(neck, z + 52.0)
    return np.minimum(np.minimum(face, nose), neck).astype(np.float32)


def face_signal(axes: list[np.ndarray]) -> np.ndarray:
    """Signal below the fat of face and neck: muscle, bones, orbits with eyes, air ways."""
    x, y, z = axes
    mirrored = [np.abs(x), y, z]
    shape = np.broadcast_shapes(*(axis.shape for axis in axes))
    signal = np.full(shape, MUSCLE, np.float32)
    regions = [
        (_distance(mirrored, (24.0, 22.0, -72.0), (20.0, 26.0, 10.0)), FAT),
        (_distance(axes, (0.0, 66.0, -82.0), (30.0, 24.0, 9.0)), BONE),
        (_distance(mirrored, (32.0, 62.0, -36.0), (19.0, 26.0, 17.0)), FAT),
        (_distance(mirrored, (32.0, 74.0, -36.0), (12.5, 12.5, 12.5)), EYE),
        (_distance(axes, (0.0, 66.0, -50.0), (11.0, 30.0, 18.0)), 0.0),
        (_distance(mirrored, (27.0, 58.0, -66.0), (12.0, 14.0, 11.0)), 0.0),
        (np.maximum(_distance(axes, (0.0, 24.0, -90.0), (10.0, 8.0, 60.0)), z + 50.0), 0.0),
        (_distance(mirrored, (60.0, -25.0, -45.0), (9.0, 12.0, 14.0)), 0.02),
        (np.maximum(_cylinder(axes, 20.0), z + 78.0), BONE),
        (np.maximum(_cylinder(axes, 17.0), z + 78.0), MARROW),
    ]
    for distance_mm, value in regions:
        signal = _blend(signal, value, inside(distance_mm, 2.0))
    return signal


def cord_fraction(axes: list[np.ndarray]) -> np.ndarray:
    """Spinal cord (1) in its canal (fluid, 0.3) below the brain mask; 0 elsewhere."""
    below = inside(axes[2] - CORD_TOP_MM, 2.0)
    canal = inside(_cylinder(axes, CANAL_RADIUS_MM), 2.0)
    cord = inside(_cylinder(axes, CORD_RADIUS_MM), 2.0)
    return ((0.3 * canal + 0.7 * cord) * below).astype(np.float32)


def _cylinder(axes: list[np.ndarray], radius_mm: float) -> np.ndarray:
    x, y, _ = axes
    return np.hypot(x - CORD_CENTRE_MM[0], y - CORD_CENTRE_MM[1]) - radius_mm


def _distance(
    axes: list[np.ndarray], centre_mm: tuple[float, ...], radii_mm: tuple[float, ...]
) -> np.ndarray:
    """Signed distance to an ellipsoid, first order near its surface."""
    scaled = [(axis - c) / r for axis, c, r in zip(axes, centre_mm, radii_mm, strict=True)]
    radius = np.sqrt(sum(s**2 for s in scaled))
    gradient = np.sqrt(sum((s / r) ** 2 for s, r in zip(scaled, radii_mm, strict=True)))
    return (radius * (radius - 1.0) / np.maximum(gradient, 1e-6)).astype(np.float32)
