"""True tissue maps in the template's space, against the scans they are the truth of."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.cohorts.simulate.anatomy import field_grid
from genmorph.cohorts.simulate.cohort import _template
from genmorph.cohorts.simulate.person import Visit, anatomy_of, plan_visits
from genmorph.cohorts.simulate.scan import person_velocity, simulate_scan
from genmorph.cohorts.simulate.scanner import Scanner
from genmorph.cohorts.simulate.trees.truth import truth_row
from genmorph.cohorts.simulate.truth_maps import (
    _at,
    _generator,
    _velocity,
    along_axes,
    log_jacobian,
    mode_weights,
    space_of,
    template_space,
    true_maps,
    with_divergence,
)
from genmorph.cohorts.simulate.warp import exponential, smooth_noise, smoothing_matrix, white_noise
from genmorph.errors import CohortError

MM, SEED = 4.0, 7
PATIENT = Visit("sub-0003", None, "M", "AD", 78.0, 78.0)


@pytest.fixture(scope="module")
def space():
    return space_of(_template(MM), MM)


@pytest.fixture(scope="module")
def patient(space):
    return true_maps(space, PATIENT, SEED)


# -- parts -----------------------------------------------------------------------------------------


def test_matrices_do_what_smooth_noise_does():
    shape, sigma = (20, 13, 16), 1.7
    expected = smooth_noise(np.random.default_rng(3), shape, sigma)
    noise = white_noise(np.random.default_rng(3), shape, sigma)
    matrices = tuple(smoothing_matrix(n, sigma).astype(np.float32) for n in shape)
    np.testing.assert_allclose(along_axes(noise, matrices), expected, atol=1e-5)


def test_a_table_s_values_are_trilinear():
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(0)
    volumes = rng.random((6, 5, 7, 4), np.float32)
    places = rng.uniform(0.0, 3.9, (3, 50)).astype(np.float32)
    found = _at(volumes.reshape(-1, 4), volumes.shape[:3], places)
    for column in range(4):
        expected = map_coordinates(volumes[..., column], places, order=1)
        np.testing.assert_allclose(found[column], expected, atol=1e-5)


def test_uniform_growth_has_its_known_jacobian():
    # v = a x: exp(v) is scaling by exp(a) along x
    shape, spacing = (15, 9, 9), 4.0
    velocity = np.zeros((3, *shape), np.float32)
    velocity[0] = 0.2 * (np.arange(15) - 7.0)[:, None, None] * spacing
    middle = np.ravel_multi_index((7, 4, 4), shape)
    found = log_jacobian(with_divergence(velocity, spacing), np.array([middle]), spacing)
    assert found[0] == pytest.approx(0.2, abs=1e-5)


def test_the_velocity_is_the_scan_s(space):
    anatomy = anatomy_of(PATIENT, SEED)
    whole = person_velocity(_template(MM), anatomy, _generator(SEED, PATIENT, "shape"))
    start = np.rint(field_grid().indices_of(np.asarray(space.field.origin_mm))).astype(int)
    cut = tuple(slice(a, a + n) for a, n in zip(start, space.field.shape, strict=True))
    weights = np.asarray(mode_weights(anatomy))
    found = _velocity(space, weights, _generator(SEED, PATIENT, "shape"))
    np.testing.assert_allclose(np.moveaxis(found[..., :3], -1, 0), whole[:, *cut], atol=2e-4)


# -- maps ------------------------------------------------------------------------------------------


def test_the_jacobian_is_that_of_the_scan_s_warp(space, patient):
    """Of the exponential of the same velocity by squaring, whose Jacobian is by differences."""
    anatomy = anatomy_of(PATIENT, SEED)
    velocity = person_velocity(_template(MM), anatomy, _generator(SEED, PATIENT, "shape"))
    displacement = exponential(velocity, 4.0)
    rows = np.stack([np.stack(np.gradient(component, 4.0)) for component in displacement])
    determinant = np.linalg.det(np.moveaxis(rows, (0, 1), (-2, -1)) + np.eye(3))
    expected = field_grid().sample(determinant.astype(np.float32), space.grid.points())
    expected = expected[space.brain] * np.prod(anatomy.head_scale)
    error = np.abs(patient.jacobian / expected - 1.0)
    assert expected.max() / expected.min() > 2.0
    assert error.mean() < 0.01 and np.quantile(error, 0.98) < 0.05
    finer = true_maps(space, PATIENT, SEED, steps=4).jacobian
    assert np.abs(patient.jacobian / finer - 1.0).max() < 0.05


@pytest.mark.parametrize("visit", [PATIENT, *plan_visits(2, SEED)], ids=lambda visit: visit.scan_id)
def test_volumes_are_those_of_the_truth_table(space, visit):
    scan = simulate_scan(_template(MM), visit, seed=SEED, scanner=Scanner().at(MM))
    written = truth_row(scan, "", "")
    found = true_maps(space, visit, SEED).volumes_ml()
    tolerance = {
        "brain_ml": 0.004,
        "gray_matter_ml": 0.005,
        "white_matter_ml": 0.005,
        "csf_ml": 0.02,
        "medial_temporal_ml": 0.025,
        "ventricle_ml": 0.08,
        "gray_to_csf_ml": 0.05,
        "gray_to_white_ml": 0.15,
    }
    assert set(found) == set(tolerance)
    for name, volume in found.items():
        assert volume == pytest.approx(float(written[name]), rel=tolerance[name]), name


@pytest.mark.parametrize("tissue", ["gray", "white", "csf"])
def test_the_mass_of_a_modulated_map_is_the_volume(patient, tissue):
    ml = float(patient.modulated(tissue).sum(dtype=np.float64)) * patient.grid.voxel_ml
    name = {"gray": "gray_matter_ml", "white": "white_matter_ml", "csf": "csf_ml"}[tissue]
    assert ml == pytest.approx(patient.volumes_ml()[name], rel=1e-5)
    assert patient.modulated(tissue).dtype == np.float32


def test_head_size_is_a_factor_of_the_whole_map(space, patient):
    without = true_maps(space, PATIENT, SEED, head_size=False)
    factor = np.prod(anatomy_of(PATIENT, SEED).head_scale)
    np.testing.assert_allclose(patient.jacobian, without.jacobian * factor, rtol=1e-5)
    np.testing.assert_allclose(patient.tissues.gray, without.tissues.gray, atol=1e-5)


def test_maps_know_class_changes_that_no_warp_explains(space, patient):
    assert patient.tissues.gray_to_white_ml > 1.0
    template = space.samples["gray"] / np.maximum(
        space.samples["gray"] + space.samples["white"], 1.0
    )
    assert np.abs(patient.tissues.gray - template).max() > 0.2


def test_same_seed_same_bytes_other_person_other_map(space, patient):
    again = true_maps(space, PATIENT, SEED)
    assert again.modulated("gray").tobytes() == patient.modulated("gray").tobytes()
    other = true_maps(space, PATIENT, SEED + 1)
    assert np.abs(other.jacobian - patient.jacobian).max() > 0.05


def test_a_loss_is_the_scan_s_too(space):
    visit = plan_visits(1, 2)[0]
    scanner = Scanner().at(MM)
    rows = [
        truth_row(
            simulate_scan(_template(MM), visit, seed=2, scanner=scanner, medial_temporal_loss=loss),
            "",
            "",
        )
        for loss in (0.0, 0.2)
    ]
    in_scan = 1.0 - float(rows[1]["medial_temporal_ml"]) / float(rows[0]["medial_temporal_ml"])
    maps = [true_maps(space, visit, 2, medial_temporal_loss=loss) for loss in (0.0, 0.2)]
    whole, less = (each.volumes_ml()["medial_temporal_ml"] for each in maps)
    assert in_scan == pytest.approx(0.2, rel=0.12)
    assert 1.0 - less / whole == pytest.approx(in_scan, abs=0.02)


def test_voxels_and_losses_out_of_range_are_refused(space):
    with pytest.raises(CohortError, match=r"voxels of 0\.5 mm"):
        template_space(0.5)
    with pytest.raises(CohortError, match=r"loss of 0\.5"):
        true_maps(space, PATIENT, SEED, medial_temporal_loss=0.5)
