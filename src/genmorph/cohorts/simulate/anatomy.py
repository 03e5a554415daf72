"""Anatomy that all simulated people share: template maps, and the warps age and disease make.

Everything stands in the template's space (MNI152, mm, RAS+). Tissue maps come from the MNI152
2009a averages packaged with nilearn, on a grid at most as fine as half the scanner's voxels;
distances, regions and velocities stand on fixed grids, so the same seed makes the same people
whatever the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from genmorph.cohorts.simulate.grids import Grid
from genmorph.cohorts.simulate.warp import mirror, random_velocity, velocity_of_growth
from genmorph.seeds import derive_seed

# Boxes in template mm: the brain with a margin, and the head with the upper neck.
BRAIN_BOX = ((-80.0, -116.0, -82.0), (80.0, 82.0, 92.0))
HEAD_BOX = ((-100.0, -140.0, -128.0), (100.0, 112.0, 116.0))
REGION_SPACING_MM = 2.0
FIELD_SPACING_MM = 4.0

LATERAL_VENTRICLE_SEED_MM = (4.0, 8.0, 14.0)
LATERAL_VENTRICLE_DEPTH_MM = 16.0  # deeper than this below the brain's surface
MEDIAL_TEMPORAL_CENTRE_MM = (26.0, -20.0, -16.0)  # hippocampus, mirrored to the other side
MEDIAL_TEMPORAL_RADII_MM = (9.0, 19.0, 8.0)
DEEP_GRAY_CENTRE_MM = (0.0, -8.0, 2.0)
DEEP_GRAY_RADII_MM = (37.0, 36.0, 22.0)
BRAINSTEM_RADII_MM = (24.0, 26.0, 40.0)
BRAINSTEM_CENTRE_MM = (0.0, -32.0, -44.0)

SHAPE_MODES = 6  # population-wide modes of head shape, symmetric
SHAPE_CORRELATION_MM = 40.0


@dataclass(frozen=True)
class Template:
    """Maps and velocities shared by a cohort.

    Attributes
    ----------
    gray, white, brain : ndarray
        Tissue fractions and the brain mask on `tissue_grid(resolution)`, blurred to the scanner's
        voxels; CSF is the rest of the mask.
    hull_mm : ndarray
        Signed distance (mm, negative inside) to the smooth hull of the brain, on `region_grid()`.
    soft_mm : ndarray
        Signed distance to the outline of face and neck.
    face : ndarray
        Signal of face and neck below their fat, relative to white matter (air is 0).
    cord : ndarray
        Fraction of spinal cord with its nerves, below the brain mask.
    outer_cortex, inner_cortex : ndarray
        Weights in [0, 1] of the cortex next to CSF and of the cortex next to white matter.
    ventricles, medial_temporal, deep_gray : ndarray
        Regions in [0, 1]: lateral ventricles with a margin, hippocampus with its neighbours, and
        the middle of the brain with basal ganglia and thalamus.
    lesion_density : ndarray
        Where focal lesions arise: deep white matter near the ventricles; sums to 1.
    ventricle_velocity, cortex_velocity, medial_temporal_velocity : ndarray `[3, x, y, z]`
        Velocities (mm) on `field_grid()` for a unit logarithmic change of volume.
    shape_velocities : ndarray `[modes, 3, x, y, z]`
        Modes of head shape, unit standard deviation of each component (mm).
    window : ndarray
        One in the head, falling to zero at the faces of the field grid, where nothing may move.
    """

    gray: np.ndarray
    white: np.ndarray
    brain: np.ndarray
    hull_mm: np.ndarray
    soft_mm: np.ndarray
    face: np.ndarray
    cord: np.ndarray
    outer_cortex: np.ndarray
    inner_cortex: np.ndarray
    ventricles: np.ndarray
    medial_temporal: np.ndarray
    deep_gray: np.ndarray
    lesion_density: np.ndarray
    ventricle_velocity: np.ndarray
    cortex_velocity: np.ndarray
    medial_temporal_velocity: np.ndarray
    shape_velocities: np.ndarray
    window: np.ndarray

    def save(self, folder: Path) -> None:
        """Write each array as `.npy`, for worker processes to map into memory."""
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Template:
        """Read what `save` wrote, mapped and read-only."""
        return cls(
            **{
                field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r", allow_pickle=False)
                for field in fields(cls)
            }
        )


def tissue_grid(resolution_mm: float) -> Grid:
    """Grid of the tissue maps: half the scanner's voxels, so sampling hardly blurs them again."""
    return Grid.over(*BRAIN_BOX, max(1.0, resolution_mm / 2.0))


def region_grid() -> Grid:
    """Grid of distances and regions."""
    return Grid.over(*HEAD_BOX, REGION_SPACING_MM)


def field_grid() -> Grid:
    """Grid of velocities and displacements."""
    return Grid.over(*HEAD_BOX, FIELD_SPACING_MM)


def build_template(resolution_mm: float) -> Template:
    """Make the template's maps for scanner voxels of `resolution_mm`."""
    from genmorph.cohorts.simulate.head import cord_fraction, face_signal, soft_tissue_distance

    native = _native_maps()
    hull_mm = _hull_distance(native["brain"])
    regions = _regions(native)
    points = region_grid().axes()
    return Template(
        **_tissue_maps(native, resolution_mm),
        hull_mm=hull_mm,
        soft_mm=soft_tissue_distance(points),
        face=face_signal(points),
        cord=cord_fraction(points),
        **regions,
        **_velocities(regions, native),
    )


def ellipsoid(
    axes: list[np.ndarray], centre_mm: tuple[float, ...], radii_mm: tuple[float, ...]
) -> np.ndarray:
    """Distance from a centre in units of an ellipsoid's radii: 1 on its surface."""
    return np.sqrt(
        sum(
            ((axis - centre) / radius) ** 2
            for axis, centre, radius in zip(axes, centre_mm, radii_mm, strict=True)
        )
    )


# -- tissue maps ----------------------------------------------------------------------------------


def _native_maps() -> dict[str, np.ndarray]:
    """Gray matter, white matter and brain mask at 1 mm on the grid of BRAIN_BOX."""
    from nilearn import datasets

    grid = Grid.over(*BRAIN_BOX, 1.0)
    images = {
        "gray": datasets.load_mni152_gm_template(resolution=1),
        "white": datasets.load_mni152_wm_template(resolution=1),
        "brain": datasets.load_mni152_brain_mask(resolution=1),
    }
    maps = {name: _crop(image, grid) for name, image in images.items()}
    maps["brain"] = (maps["brain"] > 0.5).astype(np.float32)
    for name in ("gray", "white"):
        maps[name] = np.clip(maps[name], 0.0, 1.0) * maps["brain"]
    return maps


def _crop(image: object, grid: Grid) -> np.ndarray:
    """Cut a 1 mm image, whose voxels stand at whole millimetres, to a 1 mm grid."""
    volume = np.asarray(image.dataobj, dtype=np.float32)
    if not np.allclose(image.affine[:3, :3], np.eye(3)):
        raise ValueError(f"a template map on the axes of 1 mm is expected, found {image.affine}")
    shift = np.rint(np.asarray(grid.origin_mm) - image.affine[:3, 3]).astype(int)
    cropped = np.zeros(grid.shape, np.float32)
    start = np.maximum(shift, 0)
    stop = np.minimum(shift + grid.shape, volume.shape)
    source = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    target = tuple(slice(a, b) for a, b in zip(start - shift, stop - shift, strict=True))
    cropped[target] = volume[source]
    return cropped


def _tissue_maps(native: dict[str, np.ndarray], resolution_mm: float) -> dict[str, np.ndarray]:
    """Tissue maps as a scanner of `resolution_mm` blurs them, on `tissue_grid`."""
    from scipy.ndimage import gaussian_filter

    source, target = Grid.over(*BRAIN_BOX, 1.0), tissue_grid(resolution_mm)
    # full width at half maximum of one voxel, of which the native voxel has already done a part
    sigma = 0.425 * np.sqrt(max(resolution_mm**2 - 1.0, 0.0))
    points = target.points()
    return {
        name: source.sample(gaussian_filter(volume, sigma, mode="constant"), points)
        for name, volume in native.items()
    }


# -- distances and regions -------------------------------------------------------------------------


def _on_regions(native: np.ndarray) -> np.ndarray:
    """A 1 mm map averaged to the region grid."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(native, 0.74, mode="constant")
    return Grid.over(*BRAIN_BOX, 1.0).sample(blurred, region_grid().points(), outside=0.0)


def _hull_distance(brain: np.ndarray) -> np.ndarray:
    """Signed distance (mm) to the brain's outline with its furrows closed, smooth."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    def distance(mask: np.ndarray) -> np.ndarray:
        return distance_transform_edt(mask, sampling=REGION_SPACING_MM)

    mask = _on_regions(brain) > 0.5
    radius = 12.0
    closed = distance(distance(~mask) <= radius) > radius  # dilate, then erode
    closed |= mask
    signed = distance(~closed) - distance(closed)
    return gaussian_filter(signed.astype(np.float32), 2.0 / REGION_SPACING_MM)


def _regions(native: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Regions on the region grid; see `Template`."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    grid = region_grid()
    axes = grid.axes()
    gray, white, brain = (_on_regions(native[name]) for name in ("gray", "white", "brain"))
    csf = np.clip(brain - gray - white, 0.0, 1.0)
    core = _lateral_ventricles(csf, brain, grid)
    away_mm = distance_transform_edt(~core, sampling=REGION_SPACING_MM)
    fluid = gaussian_filter(np.where(brain > 0.5, csf, 1.0) * (away_mm > 6.0), 0.75)
    deep_gray = ellipsoid(axes, DEEP_GRAY_CENTRE_MM, DEEP_GRAY_RADII_MM)
    brainstem = ellipsoid(axes, BRAINSTEM_CENTRE_MM, BRAINSTEM_RADII_MM)
    cortex = np.clip((np.minimum(deep_gray, brainstem) - 0.95) * 8.0, 0.0, 1.0)
    outer = np.clip(3.0 * fluid, 0.0, 1.0)
    inner = np.clip(2.0 * gaussian_filter(white, 0.75), 0.0, 1.0) * (1.0 - outer)
    x, y, z = axes
    side = ellipsoid([np.abs(x), y, z], MEDIAL_TEMPORAL_CENTRE_MM, MEDIAL_TEMPORAL_RADII_MM)
    density = np.where(white > 0.85, np.exp(-away_mm / 7.0) * (away_mm > 2.0), 0.0)
    # neither brainstem nor corpus callosum
    density = density * (z > -10.0) * (np.abs(x) > 12.0)
    return {
        "outer_cortex": (outer * cortex).astype(np.float32),
        "inner_cortex": (inner * cortex).astype(np.float32),
        "ventricles": np.clip(1.0 - (away_mm - 2.5) / 2.0, 0.0, 1.0).astype(np.float32),
        "medial_temporal": np.clip((1.15 - side) / 0.3, 0.0, 1.0).astype(np.float32),
        # its edge is where the cortex that age and disease thin begins
        "deep_gray": np.clip((1.075 - deep_gray) * 8.0, 0.0, 1.0).astype(np.float32),
        "lesion_density": (density / density.sum()).astype(np.float64),
    }


def _lateral_ventricles(csf: np.ndarray, brain: np.ndarray, grid: Grid) -> np.ndarray:
    """Both lateral ventricles: deep CSF connected to a point in one anterior horn, mirrored."""
    from scipy.ndimage import distance_transform_edt, label

    depth = distance_transform_edt(brain > 0.5, sampling=grid.spacing_mm)
    deep = (csf > 0.5) & (depth > LATERAL_VENTRICLE_DEPTH_MM)
    parts, _ = label(deep)
    index = np.rint(grid.indices_of(np.asarray(LATERAL_VENTRICLE_SEED_MM))).astype(int)
    chosen = parts[tuple(index)]
    if chosen == 0:
        raise ValueError("the template has no CSF where its lateral ventricle is expected")
    core = parts == chosen
    return core | core[::-1]


# -- velocities ------------------------------------------------------------------------------------


def _on_field(region: np.ndarray, sigma_mm: float) -> np.ndarray:
    """A region map, smoothed, on the field grid."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(region.astype(np.float32), sigma_mm / REGION_SPACING_MM)
    return region_grid().sample(smooth, field_grid().points(), outside=0.0)


def _velocities(
    regions: dict[str, np.ndarray], native: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Velocities of ventricle growth, cortical thickness, medial temporal size and head shape."""
    gray, white, brain = (_on_regions(native[name]) for name in ("gray", "white", "brain"))
    csf = np.clip(brain - gray - white, 0.0, 1.0)
    ventricles, temporal = regions["ventricles"], regions["medial_temporal"]
    tissue = np.clip(gray + white, 0.0, 1.0)
    outer_csf = csf * (1.0 - ventricles)
    near_temporal = outer_csf * np.clip(_blur(temporal, 10.0) * 4.0, 0.0, 1.0)
    window = _window()

    def velocity(
        grows: np.ndarray, shrinks: np.ndarray, sigma_mm: float, target: np.ndarray | None = None
    ) -> np.ndarray:
        balanced = _unit_growth(grows, sigma_mm, grows if target is None else target)
        other = _on_field(shrinks, sigma_mm)
        growth = balanced - other * np.float32(balanced.sum() / other.sum())
        return velocity_of_growth(growth, FIELD_SPACING_MM) * window

    return {
        # grown with a margin: the wall moves outwards into it and goes on growing
        "ventricle_velocity": velocity(
            ventricles, tissue * (1 - ventricles), 2.5, csf * ventricles
        ),
        "cortex_velocity": velocity(
            gray * np.maximum(regions["outer_cortex"], regions["inner_cortex"]), outer_csf, 2.5
        ),
        "medial_temporal_velocity": velocity(gray * temporal, near_temporal, 2.5),
        "shape_velocities": _shape_velocities() * window,
        "window": window,
    }


def _blur(region: np.ndarray, sigma_mm: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(region, sigma_mm / REGION_SPACING_MM)


def _unit_growth(region: np.ndarray, sigma_mm: float, target: np.ndarray) -> np.ndarray:
    """A smoothed region, scaled so that its mean over `target` is one."""
    smooth = _on_field(region, sigma_mm)
    sharp = _on_field(target, 0.5 * REGION_SPACING_MM)
    return smooth * np.float32(sharp.sum() / (smooth * sharp).sum())


def _shape_velocities() -> np.ndarray:
    """Symmetric smooth random velocities; the same for every cohort."""
    modes = []
    for mode in range(SHAPE_MODES):
        rng = np.random.default_rng(derive_seed(0, "population shape mode", mode))
        velocity = random_velocity(
            rng, field_grid(), correlation_mm=SHAPE_CORRELATION_MM, amplitude_mm=1.0
        )
        modes.append((velocity + mirror(velocity)) / np.float32(np.sqrt(2.0)))
    return np.stack(modes)


def _window() -> np.ndarray:
    """One in the head, falling to zero at the faces of the box, where nothing may move."""
    grid = field_grid()
    lines = []
    for n in grid.shape:
        edge_mm = np.minimum(np.arange(n), np.arange(n)[::-1]) * grid.spacing_mm
        lines.append(np.sin(np.clip(edge_mm / 28.0, 0.0, 1.0) * np.pi / 2.0) ** 2)
    x, y, z = np.meshgrid(*lines, indexing="ij", sparse=True)
    return (x * y * z).astype(np.float32)
