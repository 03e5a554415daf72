"""People with known tissue maps, and a known loss in their medial temporal lobes.

The maps are the simulator's truth in the template's space (see `truth_maps`): no scan, no
segmentation and no registration stands between the anatomy and the statistics on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from genmorph.cohorts.simulate.person import Population, Visit, plan_visits
from genmorph.cohorts.simulate.truth_maps import TemplateSpace, template_space, true_maps
from genmorph.errors import MeasurementError

# Healthy people within five years of age: what differs between groups is the dose, and chance.
CONTROL_PEOPLE = Population(
    youngest_years=65.0,
    oldest_years=70.0,
    patients=(),
    two_sessions_fraction=0.0,
    interval_years=(0.0, 0.0),
)
TISSUES = ("gray", "white", "csf")


class PeopleMaps(NamedTuple):
    """Maps of one group.

    Attributes
    ----------
    maps : ndarray `[n, x, y, z]`, float32
        A tissue's fraction times the Jacobian of each person's warp.
    affine : ndarray `[4, 4]`
        Of the maps' grid, voxel to template mm.
    mask : ndarray `[x, y, z]` of bool
        The template's brain.
    """

    maps: np.ndarray
    affine: np.ndarray
    mask: np.ndarray


def people(n: int, seed: int, population: Population = CONTROL_PEOPLE) -> list[Visit]:
    """One visit each of the first `n` people of a seed.

    Raises
    ------
    MeasurementError
        When `n` is below one.
    """
    if n < 1:
        raise MeasurementError(f"controls: a group of {n} people", "ask for one person at least")
    visits: dict[str, Visit] = {}
    planned = n
    while len(visits) < n:
        visits = {}
        for visit in plan_visits(planned, seed, population):
            visits.setdefault(visit.participant_id, visit)
        planned += n - len(visits)
    return list(visits.values())


def people_with(
    dose: float,
    n: int,
    seed: int,
    voxel_mm: float,
    *,
    tissue: str = "gray",
    population: Population = CONTROL_PEOPLE,
    head_size: bool = True,
) -> PeopleMaps:
    """True modulated maps of `n` people who have lost a part of their medial temporal gray matter.

    Two doses of one seed are the same people but for the dose; people of two seeds are others of
    the same distribution, which is what two groups to compare need.

    Parameters
    ----------
    dose : float
        Part of its volume lost, from 0 to 0.3.
    voxel_mm : float
        Size of the maps' voxels, 1 to 8 mm.
    tissue : {'gray', 'white', 'csf'}
    population : Population
        Ages and diagnoses; healthy people of 65 to 70 years unless told otherwise.
    head_size : bool
        False leaves the size of the head out of the modulation.

    Raises
    ------
    MeasurementError
        When `n` is below one, or the tissue is not one of the three.
    CohortError
        When dose or voxel size is out of range.
    """
    if tissue not in TISSUES:
        raise MeasurementError(f"controls: no tissue '{tissue}'", f"choose of {', '.join(TISSUES)}")
    space = template_space(float(voxel_mm))
    maps = np.stack(
        [
            true_maps(space, visit, seed, medial_temporal_loss=dose, head_size=head_size).modulated(
                tissue
            )
            for visit in people(n, seed, population)
        ]
    )
    return PeopleMaps(maps, space.grid.affine, space.brain)


def medial_temporal_mask(voxel_mm: float, dilation_mm: float = 0.0) -> np.ndarray:
    """Where the dose acts, `[x, y, z]` of bool on the grid of `people_with`.

    Voxels of the template whose largest fraction is gray matter and that lie for more than a half
    in the medial temporal region, and what lies within `dilation_mm` of them.
    """
    from scipy.ndimage import distance_transform_edt

    space = template_space(float(voxel_mm))
    mask = _medial_temporal(space)
    if dilation_mm <= 0:
        return mask
    return distance_transform_edt(~mask, sampling=space.grid.spacing_mm) <= dilation_mm


def smoothed_medial_temporal_mask(voxel_mm: float, fwhm_mm: float = 8.0) -> np.ndarray:
    """The mask as smoothed maps show it: under the Gaussian filter, cut at half its maximum.

    Each side is cut at its own maximum's half, so that neither hides the other.
    """
    from scipy.ndimage import gaussian_filter

    space = template_space(float(voxel_mm))
    mask = _medial_temporal(space)
    sigma = fwhm_mm / (2.0 * np.sqrt(2.0 * np.log(2.0))) / space.grid.spacing_mm
    x, _, _ = space.grid.axes()
    cut = np.zeros(mask.shape, bool)
    for side in (x < 0, x > 0):
        smooth = gaussian_filter((mask & side).astype(np.float32), sigma)
        cut |= smooth >= smooth.max() / 2.0
    return cut


def _medial_temporal(space: TemplateSpace) -> np.ndarray:
    gray, white = space.samples["gray"], space.samples["white"]
    is_gray = (gray >= white) & (gray >= 1.0 - gray - white)
    mask = np.zeros(space.brain.shape, bool)
    mask[space.brain] = is_gray & (space.samples["medial_temporal"] > 0.5)
    return mask
