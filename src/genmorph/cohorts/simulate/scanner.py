"""From a person to a raw image: voxels, pose, T1-weighted signal, bias field and Rician noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from genmorph.cohorts.simulate.anatomy import Template, field_grid, region_grid, tissue_grid
from genmorph.cohorts.simulate.grids import sample_at
from genmorph.cohorts.simulate.head import head_signal, intracranial_fraction
from genmorph.cohorts.simulate.person import Anatomy, Contrast

FIELD_OF_VIEW_MM = (200.0, 244.0, 216.0)
HEAD_CENTRE_MM = (0.0, -14.0, -2.0)  # point of the template that lies at the scanner's centre
SLAB_VOXELS = 1_000_000  # made at a time: what bounds the memory of fine scans
# A face is removed in front of and below this plane, given by a point and a normal (template mm),
# where the brain's hull is farther than the margin.
FACE_POINT_MM, FACE_NORMAL = (0.0, 56.0, -22.0), (0.0, 0.8, -0.6)
FACE_MARGIN_MM = 12.0


@dataclass(frozen=True)
class Scanner:
    """How a source's images lie in space.

    Attributes
    ----------
    voxel_mm : tuple of float
        Size of a voxel from left to right, back to front, bottom to top.
    orientation : str
        Where the axes of the stored array point to, such as `PSR` for sagittal slices.
    field_of_view_mm : tuple of float
        From left to right, back to front, bottom to top.
    centre_mm : tuple of float
        Middle of the field of view in the scanner's world.
    defaced : bool
        Whether the face has been removed.
    field_strengths_tesla : tuple of float
    """

    voxel_mm: tuple[float, float, float] = (2.0, 2.0, 2.0)
    orientation: str = "RAS"
    field_of_view_mm: tuple[float, float, float] = FIELD_OF_VIEW_MM
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    defaced: bool = False
    field_strengths_tesla: tuple[float, ...] = (1.5, 3.0)

    def at(self, resolution_mm: float | None) -> Scanner:
        """The scanner with cubic voxels of that size; None leaves its own."""
        if resolution_mm is None:
            return self
        return replace(self, voxel_mm=(float(resolution_mm),) * 3)

    @property
    def resolution_mm(self) -> float:
        """Edge of the cube with a voxel's volume: what blurring goes by."""
        if len(set(self.voxel_mm)) == 1:
            return self.voxel_mm[0]
        return round(math.prod(self.voxel_mm) ** (1.0 / 3.0), 6)

    def grid(self) -> ScannerGrid:
        """The voxels that fill the field of view."""
        shape = tuple(
            math.ceil(extent / size - 1e-9)
            for extent, size in zip(self.field_of_view_mm, self.voxel_mm, strict=True)
        )
        origin = tuple(
            centre - size * (n - 1) / 2.0
            for centre, size, n in zip(self.centre_mm, self.voxel_mm, shape, strict=True)
        )
        return ScannerGrid(origin, self.voxel_mm, shape, self.centre_mm, self.orientation)


@dataclass(frozen=True)
class ScannerGrid:
    """Voxels of a scan, in the order right, front, top whatever order is stored.

    Attributes
    ----------
    origin_mm : tuple of float
        World position (RAS+) of the centre of voxel (0, 0, 0).
    voxel_mm : tuple of float
    shape : tuple of int
    centre_mm : tuple of float
    orientation : str
        Where the axes of the stored array point to.
    """

    origin_mm: tuple[float, float, float]
    voxel_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    centre_mm: tuple[float, float, float]
    orientation: str

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return math.prod(self.voxel_mm) / 1000.0

    def axes(self, part: slice = slice(None)) -> list[np.ndarray]:
        """Three coordinate arrays (mm) that broadcast to the grid, or to a `part` of its planes."""
        lines = [
            origin + size * np.arange(n)
            for origin, size, n in zip(self.origin_mm, self.voxel_mm, self.shape, strict=True)
        ]
        lines[0] = lines[0][part]
        return list(np.meshgrid(*lines, indexing="ij", sparse=True))

    def slabs(self) -> Iterator[slice]:
        """Runs of sagittal planes, each of about `SLAB_VOXELS`."""
        planes = max(1, SLAB_VOXELS // (self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], planes):
            yield slice(start, min(start + planes, self.shape[0]))

    @property
    def affine(self) -> np.ndarray:
        """4x4 voxel-to-world matrix (mm) of the stored array."""
        from nibabel.orientations import inv_ornt_aff

        affine = np.diag([*self.voxel_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        # a flipped axis leaves -0.0 behind
        return affine @ inv_ornt_aff(self._turn(), self.shape) + 0.0

    def stored(self, volume: np.ndarray) -> np.ndarray:
        """A volume with its axes as they are stored."""
        from nibabel.orientations import apply_orientation

        return apply_orientation(volume, self._turn())

    def _turn(self) -> np.ndarray:
        from nibabel.orientations import axcodes2ornt, ornt_transform

        return ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(self.orientation))


@dataclass(frozen=True)
class HeadWarp:
    """From the scanner's world to the template: pose and size, then the warp.

    Attributes
    ----------
    matrix : ndarray `[4, 4]`
        From `template_from_scanner`.
    displacement : ndarray `[3, x, y, z]`
        Of the person-to-template warp (mm), on `field_grid()`.
    """

    matrix: np.ndarray
    displacement: np.ndarray

    def points(self, axes: list[np.ndarray]) -> np.ndarray:
        """Positions in the template (mm) of scanner positions, `[3, x, y, z]`."""
        x, y, z = axes
        points = np.stack(
            [row[0] * x + row[1] * y + row[2] * z + row[3] for row in self.matrix[:3]]
        )
        before = field_grid().indices_of(points)
        points += np.stack([sample_at(component, before) for component in self.displacement])
        return points


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


def draw_field_strength(rng: np.random.Generator, scanner: Scanner) -> float:
    """Which of the source's field strengths (tesla) a session has."""
    strengths = scanner.field_strengths_tesla
    return strengths[int(rng.integers(2)) % len(strengths)]


def draw_acquisition(rng: np.random.Generator, tesla: float) -> Acquisition:
    """Draw pose, gain, noise and bias amplitude of one scan at a field strength."""
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


def template_indices(points_mm: np.ndarray, resolution_mm: float) -> dict[str, np.ndarray]:
    """Positions in the template, `[3, x, y, z]`, as indices of its three grids."""
    return {
        "tissue": tissue_grid(resolution_mm).indices_of(points_mm),
        "region": region_grid().indices_of(points_mm),
        "field": field_grid().indices_of(points_mm),
    }


def ideal_signal(
    template: Template,
    region: np.ndarray,
    tissues: dict[str, np.ndarray],
    anatomy: Anatomy,
    contrast: Contrast,
    voxel_mm: float,
) -> np.ndarray:
    """T1-weighted signal without bias and noise, white matter being one.

    Parameters
    ----------
    region : ndarray `[3, x, y, z]`
        Indices of the voxels in `region_grid()`.
    tissues : dict of ndarray `[x, y, z]`
        Fractions 'gray', 'white' and 'lesion', and the mask 'brain'.
    """
    hull_mm, soft_mm, face, cord = (
        sample_at(volume, region)
        for volume in (template.hull_mm, template.soft_mm, template.face, template.cord)
    )
    signal = head_signal(hull_mm, soft_mm, face, anatomy.layers, voxel_mm)
    cranial = intracranial_fraction(hull_mm, anatomy.layers, voxel_mm)
    gray, white, lesion = tissues["gray"], tissues["white"], tissues["lesion"]
    cranial = np.maximum(cranial, gray + white)
    fluid = cranial - gray - white
    healthy = white - lesion
    signal = (
        signal * (1.0 - cranial)
        + healthy
        + gray * np.float32(contrast.gray)
        + lesion * np.float32(contrast.lesion)
        + fluid * np.float32(contrast.csf)
    )
    # the cord leaves the skull below the brain mask; its canal is a lower fraction of the map
    passage = np.clip(cord / 0.3, 0.0, 1.0) * ~tissues["brain"]
    marrow = np.clip((cord - 0.3) / 0.7, 0.0, 1.0)
    inside_canal = contrast.csf + marrow * (0.9 - contrast.csf)
    return (signal + passage * (inside_canal - signal)).astype(np.float32)


def face_mask(template: Template, points_mm: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Where a defaced image has no signal: before the plane of the face, away from the brain."""
    before = sum(
        (axis - point) * normal
        for axis, point, normal in zip(points_mm, FACE_POINT_MM, FACE_NORMAL, strict=True)
    )
    return (before > 0.0) & (sample_at(template.hull_mm, region) > FACE_MARGIN_MM)


def bias_field(
    rng: np.random.Generator, grid: ScannerGrid, amplitude: float
) -> Iterator[np.ndarray]:
    """Slabs of a smooth positive factor, about one, that changes by `amplitude` over the head.

    Its logarithm is a random cubic polynomial of position, scaled so that within the ellipsoid
    that fills the field of view it just spans -log(1 + amplitude) to log(1 + amplitude).
    """
    half = [(n - 1) * size / 2.0 for n, size in zip(grid.shape, grid.voxel_mm, strict=True)]
    weights = rng.standard_normal(13)

    def polynomial(part: slice) -> tuple[np.ndarray, np.ndarray]:
        x, y, z = (
            (axis - centre) / length
            for axis, centre, length in zip(grid.axes(part), grid.centre_mm, half, strict=True)
        )
        terms = [x, y, z, x * y, x * z, y * z, x**2, y**2, z**2, x**3, y**3, z**3, x * y * z]
        field = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        return field, field[x**2 + y**2 + z**2 <= 1.0]

    extremes = [(head.min(), head.max()) for _, head in map(polynomial, grid.slabs()) if head.size]
    low, high = min(least for least, _ in extremes), max(most for _, most in extremes)
    middle, half_range = (high + low) / 2.0, (high - low) / 2.0
    for part in grid.slabs():
        relative = np.clip((polynomial(part)[0] - middle) / half_range, -1.0, 1.0)
        yield np.exp(relative * np.log1p(amplitude)).astype(np.float32)


def acquire(
    signal: np.ndarray, parts: list[slice], acquisition: Acquisition, rng: np.random.Generator
) -> np.ndarray:
    """The stored image `[x, y, z]`, int16: `signal` with Rician noise, made in `parts`.

    All noise of the real channel is drawn before that of the imaginary one, so the image does not
    depend on the parts.

    Parameters
    ----------
    signal : ndarray `[x, y, z]`, float32
        Times the bias field; it is overwritten by the real channel.
    """
    sigma = np.float32(acquisition.noise)
    for part in parts:
        signal[part] += sigma * rng.standard_normal(signal[part].shape, dtype=np.float32)
    image = np.empty(signal.shape, np.int16)
    for part in parts:
        imaginary = sigma * rng.standard_normal(signal[part].shape, dtype=np.float32)
        magnitude = np.hypot(signal[part], imaginary) * np.float32(acquisition.white_signal)
        image[part] = np.rint(np.clip(magnitude, 0, 32767)).astype(np.int16)
    return image
