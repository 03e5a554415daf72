"""People with known maps and a known loss."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.cohorts.simulate.person import Population
from genmorph.cohorts.simulate.truth_maps import template_space, true_maps
from genmorph.controls.cohorts import (
    medial_temporal_mask,
    people,
    people_with,
    smoothed_medial_temporal_mask,
)
from genmorph.errors import CohortError, MeasurementError

MM = 4.0


@pytest.fixture(scope="module")
def healthy():
    return people_with(0.0, 3, 5, MM)


def test_maps_share_the_template_s_grid_and_brain(healthy):
    maps, affine, mask = healthy
    assert maps.shape == (3, *mask.shape) and maps.dtype == np.float32
    np.testing.assert_array_equal(np.diag(affine), [MM, MM, MM, 1.0])
    assert np.all(maps[:, ~mask] == 0.0) and 1500 < mask.sum() * MM**3 / 1000 < 2200
    assert np.isfinite(maps).all() and maps.min() >= 0.0


def test_a_map_s_mass_is_the_person_s_gray_matter(healthy):
    voxel_ml = MM**3 / 1000
    for volume, visit in zip(healthy.maps, people(3, 5), strict=True):
        volumes = true_maps(template_space(MM), visit, 5).volumes_ml()
        assert volume.sum() * voxel_ml == pytest.approx(volumes["gray_matter_ml"], rel=0.01)
    assert healthy.maps.sum(axis=(1, 2, 3)).std() > 0.0


@pytest.mark.parametrize("dose", [0.05, 0.1, 0.2])
def test_a_dose_takes_its_part_of_the_medial_temporal_lobe_and_little_else(healthy, dose):
    fewer = people_with(dose, 3, 5, MM)
    space, visits = template_space(MM), people(3, 5)
    for visit in visits:
        volumes = [
            true_maps(space, visit, 5, medial_temporal_loss=loss).volumes_ml()
            for loss in (0.0, dose)
        ]
        lost = 1.0 - volumes[1]["medial_temporal_ml"] / volumes[0]["medial_temporal_ml"]
        assert lost == pytest.approx(dose, rel=0.1)
    inside = medial_temporal_mask(MM)
    lost = 1.0 - fewer.maps[:, inside].sum() / healthy.maps[:, inside].sum()
    assert lost == pytest.approx(dose, rel=0.2)
    # its neighbours take the room: farther than 8 mm, less than half a percent of gray matter
    far = healthy.mask & ~medial_temporal_mask(MM, dilation_mm=8.0)
    change = (fewer.maps - healthy.maps)[:, far].sum() / healthy.maps[:, far].sum()
    assert 0.0 <= change < 0.005


def test_doses_of_one_seed_are_the_same_people_and_seeds_are_others(healthy):
    again = people_with(0.0, 3, 5, MM)
    assert again.maps.tobytes() == healthy.maps.tobytes()
    more = people_with(0.0, 4, 5, MM)
    np.testing.assert_array_equal(more.maps[:3], healthy.maps)
    assert np.abs(people_with(0.0, 1, 6, MM).maps - healthy.maps[:1]).max() > 0.05


def test_people_are_healthy_of_a_narrow_age_and_of_both_sexes():
    visits = people(20, 1)
    assert len({visit.participant_id for visit in visits}) == 20
    assert {visit.diagnosis for visit in visits} == {"CN"}
    assert {visit.sex for visit in visits} == {"F", "M"}
    ages = [visit.age_years for visit in visits]
    assert min(ages) >= 65.0 and max(ages) <= 70.0


def test_one_map_a_person_also_where_people_come_twice():
    visits = people(6, 1, Population(two_sessions_fraction=1.0))
    assert [visit.number for visit in visits] == [1, 2, 3, 4, 5, 6]
    assert {visit.session_number for visit in visits} == {1}


def test_other_tissues_and_head_size(healthy):
    white = people_with(0.0, 1, 5, MM, tissue="white")
    assert np.abs(white.maps[0] - healthy.maps[0]).max() > 0.5
    unscaled = people_with(0.0, 1, 5, MM, head_size=False).maps[0]
    inside = healthy.maps[0] > 0.1
    ratio = healthy.maps[0][inside] / unscaled[inside]
    assert ratio.std() < 1e-3 and 0.6 < ratio.mean() < 0.95


def test_masks_grow_and_lie_on_both_sides():
    mask = medial_temporal_mask(MM)
    x = template_space(MM).grid.axes()[0][:, 0, 0]
    sides = mask.any(axis=(1, 2))
    assert sides[x < -12].any() and sides[x > 12].any() and not sides[np.abs(x) < 8].any()
    wider = medial_temporal_mask(MM, dilation_mm=4.0)
    assert wider[mask].all() and mask.sum() < wider.sum() < 4 * mask.sum()
    # by 4 mm: the six neighbours of each voxel, no diagonal ones
    alone = mask.copy()
    for axis in range(3):
        for step in (-1, 1):
            alone |= np.roll(mask, step, axis)
    np.testing.assert_array_equal(wider, alone)
    smooth = smoothed_medial_temporal_mask(MM)
    shared = (smooth & mask).sum()
    assert shared > 0.6 * mask.sum() and shared > 0.6 * smooth.sum() and (smooth != mask).any()


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ((0.0, 0, 1, MM), MeasurementError, "0 people"),
        ((-0.1, 1, 1, MM), CohortError, "-0.1"),
        ((0.4, 1, 1, MM), CohortError, "0.4"),
        ((float("nan"), 1, 1, MM), CohortError, "nan"),
        ((0.0, 1, 1, 20.0), CohortError, "20 mm"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, error, named):
    with pytest.raises(error, match=named):
        people_with(*arguments)


def test_an_unknown_tissue_is_refused():
    with pytest.raises(MeasurementError, match="no tissue 'bone'"):
        people_with(0.0, 1, 1, MM, tissue="bone")
