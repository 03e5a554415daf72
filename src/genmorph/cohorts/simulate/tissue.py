"""Tissue maps of one person: what the warp moves, and what no warp of the template explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genmorph.cohorts.simulate.anatomy import Template, field_grid, region_grid
from genmorph.cohorts.simulate.grids import sample_at
from genmorph.cohorts.simulate.warp import smooth_noise

PATCH_SIGMA_MM = 8.0
PATCH_THRESHOLD = 1.2  # standard deviations of the patch field
PATCH_STRENGTH = 0.8  # fraction of the band that changes class at a patch's middle
FIRST_LESION_YEARS = 40.0
LESIONS_AT_80_YEARS = 14.0


@dataclass(frozen=True)
class Tissues:
    """Fractions of the voxels of the brain mask, in its order; gray + white + csf = 1.

    Attributes
    ----------
    brain : ndarray `[x, y, z]` of bool
    gray, white, csf : ndarray `[voxels]`, float32
    lesion : ndarray
        Fraction taken by lesions; they are part of `white`.
    ventricles : ndarray
        Fraction of ventricular CSF, part of `csf`.
    medial_temporal : ndarray
        Fraction of medial temporal gray matter, part of `gray`.
    deep_gray : ndarray
        Fraction of gray matter of the basal ganglia and the thalamus, part of `gray`.
    cortex : ndarray
        Fraction of cortical gray matter that age and disease may change, part of `gray`.
    gray_to_csf_ml, gray_to_white_ml : float
        Volume whose class was changed along the cortex.
    """

    brain: np.ndarray
    gray: np.ndarray
    white: np.ndarray
    csf: np.ndarray
    lesion: np.ndarray
    ventricles: np.ndarray
    medial_temporal: np.ndarray
    deep_gray: np.ndarray
    cortex: np.ndarray
    gray_to_csf_ml: float
    gray_to_white_ml: float

    def volume(self, values: np.ndarray) -> np.ndarray:
        """Values of the brain's voxels as an image `[x, y, z]`, zero outside."""
        return scatter(values, self.brain)


def scatter(values: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """An image with `values` at the voxels of a mask, zero outside."""
    volume = np.zeros(brain.shape, values.dtype)
    volume[brain] = values
    return volume


@dataclass(frozen=True)
class Lesions:
    """Focal lesions of one visit: `centres_mm` `[n, 3]` in the template, `sigmas_mm`, `depths`."""

    centres_mm: np.ndarray
    sigmas_mm: np.ndarray
    depths: np.ndarray


def draw_lesions(
    template: Template, rng: np.random.Generator, *, age_years: float, severity: float
) -> Lesions:
    """Lesions present at an age: the number grows with the square of the years after forty.

    One generator gives a person the same lesions at every visit: later ones only add to them and
    grow.
    """
    burden = float(np.exp(0.5 * rng.standard_normal())) * (1.0 + 0.25 * severity)
    horizon = 60.0  # years after the first possible lesion
    expected = LESIONS_AT_80_YEARS * burden * (horizon / 40.0) ** 2
    total = int(rng.poisson(min(expected, 200.0)))
    onset = FIRST_LESION_YEARS + horizon * np.sqrt(rng.random(total))
    cumulative = np.cumsum(np.asarray(template.lesion_density).ravel())
    places = np.searchsorted(cumulative, rng.random(total) * cumulative[-1])
    grid = region_grid()
    voxels = np.stack(np.unravel_index(places, grid.shape), axis=-1)
    centres = voxels * grid.spacing_mm + np.asarray(grid.origin_mm)
    centres = centres + rng.uniform(-1.0, 1.0, (total, 3))
    size = np.clip(1.7 * np.exp(0.35 * rng.standard_normal(total)), 1.0, 3.5)
    depths = rng.uniform(0.6, 1.0, total)
    present = onset < age_years
    growth = np.minimum(0.6 + (age_years - onset[present]) / 20.0, 1.4)
    return Lesions(centres[present], size[present] * growth, depths[present])


def lesion_map(lesions: Lesions) -> np.ndarray:
    """Fraction of each voxel of the region grid taken by lesions; overlapping ones do not add."""
    grid = region_grid()
    spared = np.ones(grid.shape, np.float32)
    for centre, sigma, depth in zip(
        lesions.centres_mm, lesions.sigmas_mm, lesions.depths, strict=True
    ):
        middle = (centre - grid.origin_mm) / grid.spacing_mm
        reach = 3.5 * sigma / grid.spacing_mm
        low = np.maximum(np.floor(middle - reach), 0).astype(int)
        high = np.minimum(np.ceil(middle + reach) + 1, grid.shape).astype(int)
        square = 0.0
        for axis in range(3):
            line = (np.arange(low[axis], high[axis]) - middle[axis]) * grid.spacing_mm / sigma
            square = square + line.reshape([-1 if other == axis else 1 for other in range(3)]) ** 2
        # flatter than a Gaussian: a focus with a soft edge
        blob = depth * np.exp(-0.5 * (square / 2.0) ** 2)
        spared[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] *= 1.0 - blob
    return 1.0 - spared


def patch_field(rng: np.random.Generator) -> np.ndarray:
    """A smooth random field on the field grid, unit variance; its tails choose cortical patches."""
    grid = field_grid()
    return smooth_noise(rng, grid.shape, PATCH_SIGMA_MM / grid.spacing_mm)


def sample_tissues(
    template: Template,
    indices: dict[str, np.ndarray],
    *,
    patches: np.ndarray,
    lesions: np.ndarray,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The brain mask of some of a person's voxels, and the template's maps within it.

    Parameters
    ----------
    indices : dict of ndarray `[3, x, y, z]`
        Fractional indices of the scanner's voxels in the grids 'tissue', 'region' and 'field'.
    patches : ndarray
        From `patch_field`.
    lesions : ndarray
        From `lesion_map`.

    Returns
    -------
    brain : ndarray `[x, y, z]` of bool
    samples : dict of ndarray `[voxels]`
        What `make_tissues` takes.
    """
    brain = sample_at(template.brain, indices["tissue"], outside=0.0) > 0.5
    inside = {grid: index[:, brain] for grid, index in indices.items()}
    maps = {
        "gray": (template.gray, "tissue"),
        "white": (template.white, "tissue"),
        "patches": (patches, "field"),
        "outer_cortex": (template.outer_cortex, "region"),
        "inner_cortex": (template.inner_cortex, "region"),
        "lesions": (lesions, "region"),
        "ventricles": (template.ventricles, "region"),
        "medial_temporal": (template.medial_temporal, "region"),
        "deep_gray": (template.deep_gray, "region"),
    }
    samples = {
        name: sample_at(volume, inside[grid], outside=0.0) for name, (volume, grid) in maps.items()
    }
    return brain, samples


def make_tissues(
    brain: np.ndarray,
    samples: dict[str, np.ndarray],
    *,
    voxel_ml: float,
    cortex_scale: float,
    jacobian: np.ndarray | None = None,
) -> Tissues:
    """Change tissue classes along the cortex.

    Parameters
    ----------
    brain, samples : ndarray, dict
        From `sample_tissues`, of the whole brain. The upper tail of the patches thins the cortex
        from outside, their lower tail from inside.
    voxel_ml : float
        Volume of the scanner's voxel.
    cortex_scale : float
        Below one, cortex next to CSF becomes CSF in that proportion; above one, the other way.
    jacobian : ndarray `[voxels]`, optional
        Volume of the person's tissue in each voxel, relative to the voxel's own, where the voxels
        are the template's; None for the voxels of the person's own scan.
    """

    def total(values: np.ndarray) -> float:
        if jacobian is None:
            return float(values.sum(dtype=np.float64))
        return float((values * jacobian).sum(dtype=np.float64))

    gray, white = samples["gray"], samples["white"]
    excess = np.maximum(gray + white, 1.0)
    gray, white = gray / excess, white / excess
    csf = 1.0 - gray - white

    field, outer, inner = (samples[name] for name in ("patches", "outer_cortex", "inner_cortex"))
    thinned = PATCH_STRENGTH * np.clip((field - PATCH_THRESHOLD) / 0.6, 0.0, 1.0)
    whitened = PATCH_STRENGTH * np.clip((-field - PATCH_THRESHOLD) / 0.6, 0.0, 1.0)
    # all of the change of thickness comes from the part of the cortex that borders CSF
    border = gray * outer
    ratio = total(gray) / max(total(border), 1e-6)
    lost = border * np.clip(thinned + max(1.0 - cortex_scale, 0.0) * ratio, 0.0, 1.0)
    gained = csf * outer * max(cortex_scale - 1.0, 0.0)
    turned = gray * inner * whitened
    gray = gray - lost - turned + gained
    white = white + turned
    csf = np.clip(1.0 - gray - white, 0.0, 1.0)
    return Tissues(
        brain=brain,
        gray=gray,
        white=white,
        csf=csf,
        lesion=white * samples["lesions"],
        ventricles=csf * samples["ventricles"],
        medial_temporal=gray * samples["medial_temporal"],
        deep_gray=gray * samples["deep_gray"],
        cortex=gray * np.maximum(outer, inner),
        gray_to_csf_ml=total(lost - gained) * voxel_ml,
        gray_to_white_ml=total(turned) * voxel_ml,
    )
