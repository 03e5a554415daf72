"""From a person to a raw image: pose, T1-weighted signal, bias field and Rician noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genmorph.cohorts.simulate.anatomy import Template, field_grid, region_grid, tissue_grid
from genmorph.cohorts.simulate.grids import Grid, sample_at
from genmorph.cohorts.simulate.head import head_signal, intracranial_fraction
from genmorph.cohorts.simulate.person import Anatomy, Contrast
from genmorph.cohorts.simulate.tissue import Tissues

FIELD_OF_VIEW_MM = (200.0, 244.0, 216.0)
HEAD_CENTRE_MM = (0.0, -14.0, -2.0)  # point of the template that lies at the scanner's centre
FIELD_STRENGTHS_TESLA = (1.5, 3.0)


@dataclass(frozen=True)
class Acquisition:
    """One visit to the scanner.

    Attributes
    ----------
    rotation_degrees : tuple of float
        About x, y, z, applied in that order.
    translation_mm : tuple of float
    field_strength_tesla : float
    white_signal : float
        Stored value of white matter where the bias field is one.
    noise : float
        Standard deviation in each channel, relative to white matter.
    bias_amplitude : float
        Largest relative change by the bias field.
    """

    rotation_degrees: tuple[float, float, float]
    translation_mm: tuple[float, float, float]
    field_strength_tesla: float
    white_signal: float
    noise: float
    bias_amplitude: float


def draw_acquisition(rng: np.random.Generator) -> Acquisition:
    """Draw pose, field strength, gain, noise and bias amplitude of one visit."""
    tesla = FIELD_STRENGTHS_TESLA[int(rng.integers(2))]
    rotation = np.clip(rng.normal(0.0, (3.5, 2.0, 2.5)), -7.0, 7.0)
    translation = np.clip(rng.normal(0.0, 3.0, 3), -6.0, 6.0)
    return Acquisition(
        rotation_degrees=tuple(float(value) for value in rotation),
        translation_mm=tuple(float(value) for value in translation),
        field_strength_tesla=tesla,
        white_signal=float(rng.uniform(500.0, 1100.0)),
        noise=float(rng.uniform(0.02, 0.03) * (1.0 if tesla == 3.0 else 1.25)),
        bias_amplitude=float(rng.uniform(0.10, 0.20)),
    )


def scanner_grid(resolution_mm: float) -> Grid:
    """The scanner's voxels: the field of view centred on its origin."""
    shape = tuple(int(np.ceil(extent / resolution_mm)) for extent in FIELD_OF_VIEW_MM)
    origin = tuple(-resolution_mm * (n - 1) / 2.0 for n in shape)
    return Grid(origin, resolution_mm, shape)


def rotation_matrix(degrees: tuple[float, float, float]) -> np.ndarray:
    """Rotation about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def template_from_scanner(anatomy: Anatomy, acquisition: Acquisition) -> np.ndarray:
    """4x4 matrix from the scanner's world (mm) to the template before its warp: pose and size."""
    forward = np.eye(4)
    linear = rotation_matrix(acquisition.rotation_degrees) @ np.diag(anatomy.head_scale)
    forward[:3, :3] = linear
    forward[:3, 3] = np.asarray(acquisition.translation_mm) - linear @ HEAD_CENTRE_MM
    return np.linalg.inv(forward)


def template_indices(
    grid: Grid, matrix: np.ndarray, displacement: np.ndarray, resolution_mm: float
) -> dict[str, np.ndarray]:
    """Where each scanner voxel comes from, as indices of the template's three grids.

    Parameters
    ----------
    matrix : ndarray `[4, 4]`
        From `template_from_scanner`.
    displacement : ndarray `[3, x, y, z]`
        Of the person-to-template warp (mm), on `field_grid()`.
    """
    x, y, z = grid.axes()
    points = np.stack([row[0] * x + row[1] * y + row[2] * z + row[3] for row in matrix[:3]])
    before = field_grid().indices_of(points)
    points += np.stack([sample_at(component, before) for component in displacement])
    return {
        "tissue": tissue_grid(resolution_mm).indices_of(points),
        "region": region_grid().indices_of(points),
        "field": field_grid().indices_of(points),
    }


def ideal_signal(
    template: Template,
    indices: dict[str, np.ndarray],
    tissues: Tissues,
    anatomy: Anatomy,
    contrast: Contrast,
    voxel_mm: float,
) -> np.ndarray:
    """T1-weighted signal without bias and noise, white matter being one."""
    hull_mm, soft_mm, face, cord = (
        sample_at(volume, indices["region"])
        for volume in (template.hull_mm, template.soft_mm, template.face, template.cord)
    )
    signal = head_signal(hull_mm, soft_mm, face, anatomy.layers, voxel_mm)
    cranial = intracranial_fraction(hull_mm, anatomy.layers, voxel_mm)
    cranial = np.maximum(cranial, tissues.gray + tissues.white)
    fluid = cranial - tissues.gray - tissues.white
    healthy = tissues.white - tissues.lesion
    signal = (
        signal * (1.0 - cranial)
        + healthy
        + tissues.gray * np.float32(contrast.gray)
        + tissues.lesion * np.float32(contrast.lesion)
        + fluid * np.float32(contrast.csf)
    )
    # the cord leaves the skull below the brain mask; its canal is a lower fraction of the map
    passage = np.clip(cord / 0.3, 0.0, 1.0) * ~tissues.brain
    marrow = np.clip((cord - 0.3) / 0.7, 0.0, 1.0)
    inside_canal = contrast.csf + marrow * (0.9 - contrast.csf)
    return (signal + passage * (inside_canal - signal)).astype(np.float32)


def bias_field(rng: np.random.Generator, grid: Grid, amplitude: float) -> np.ndarray:
    """A smooth positive factor `[x, y, z]`, about one, that changes by `amplitude` over the head.

    Its logarithm is a random cubic polynomial of position, scaled so that within the ellipsoid
    that fills the field of view it just spans -log(1 + amplitude) to log(1 + amplitude).
    """
    half = [(n - 1) * grid.spacing_mm / 2.0 for n in grid.shape]
    x, y, z = (axis / length for axis, length in zip(grid.axes(), half, strict=True))
    terms = [x, y, z, x * y, x * z, y * z, x**2, y**2, z**2, x**3, y**3, z**3, x * y * z]
    weights = rng.standard_normal(len(terms))
    field = sum(weight * term for weight, term in zip(weights, terms, strict=True))
    head = field[x**2 + y**2 + z**2 <= 1.0]
    middle, half_range = (head.max() + head.min()) / 2.0, (head.max() - head.min()) / 2.0
    relative = np.clip((field - middle) / half_range, -1.0, 1.0)
    return np.exp(relative * np.log1p(amplitude)).astype(np.float32)


def acquire(
    signal: np.ndarray,
    bias: np.ndarray,
    acquisition: Acquisition,
    rng: np.random.Generator,
) -> np.ndarray:
    """The stored image `[x, y, z]`, int16: signal times bias, with Rician noise."""
    real = signal * bias
    real += np.float32(acquisition.noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(acquisition.noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    magnitude = np.hypot(real, imaginary) * np.float32(acquisition.white_signal)
    return np.rint(np.clip(magnitude, 0, 32767)).astype(np.int16)
