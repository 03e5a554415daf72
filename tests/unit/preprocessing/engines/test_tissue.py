"""SyN and Atropos: geometry, preserved mass, tissues of a made head, the same bytes twice."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.preprocessing.engines import builtin, tissue
from genmorph.preprocessing.engines.tissue import (
    NonlinearRegistration,
    TissueSegmentation,
    Warp,
    jacobian_determinant,
    register_nonlinear,
    segment_tissues,
)
from genmorph.preprocessing.raw import Image

COARSE = NonlinearRegistration(working_mm=4.0)


@pytest.fixture(scope="module")
def moved():
    """The template's tissues at 4 mm as a scan, larger by a known factor and shifted."""
    priors = {name: tissue._from_ants(tissue._coarsened(image, 4.0))
              for name, image in tissue._priors().items()}  # fmt: skip
    inside = sum(image.data for image in priors.values()) > 0.5
    signal = 0.25 * priors["CSF"].data + 0.7 * priors["GM"].data + priors["WM"].data
    rng = np.random.default_rng(0)
    signal = np.where(inside, signal + 0.02 * rng.standard_normal(signal.shape), 0)
    affine = priors["GM"].affine.copy()
    affine[:3, :3] *= 1.08
    affine[:3, 3] += [6.0, -4.0, 3.0]
    return Image(signal.astype(np.float32), affine), inside, priors


def test_the_jacobian_of_an_affine_map_is_its_determinant():
    matrix = np.array([[1.1, 0.05, 0], [0, 0.9, 0.1], [0.02, 0, 1.2]])
    affine = np.diag([2.0, -1.5, 3.0, 1.0])
    points = np.moveaxis(np.indices((8, 9, 7)), 0, -1) @ affine[:3, :3].T
    displacement = points @ (matrix - np.eye(3)).T
    np.testing.assert_allclose(
        jacobian_determinant(displacement, affine), np.linalg.det(matrix), rtol=1e-5
    )


def test_pulling_through_a_shift_reads_the_shifted_place():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    volume = np.random.default_rng(0).random((10, 11, 12)).astype(np.float32)
    displacement = np.zeros((10, 11, 12, 3), np.float32)
    displacement[..., 1] = 4.0  # two voxels
    warp = Warp(displacement, np.ones((10, 11, 12), np.float32), affine)
    np.testing.assert_allclose(warp.pull(volume, affine)[:, :-2], volume[:, 2:], atol=1e-6)


def test_modulation_preserves_mass_and_the_warp_finds_the_scan(moved):
    image, inside, _ = moved
    warp = register_nonlinear(image, COARSE)
    template = tissue._coarse_template(4.0)
    mask = inside.astype(np.float32)
    modulated = warp.pull(mask, image.affine) * warp.jacobian
    native_ml = mask.sum() * image.voxel_ml
    assert modulated.sum() * template.voxel_ml == pytest.approx(native_ml, rel=0.005)
    assert warp.jacobian.min() > 0
    on_template = warp.pull(image.data, image.affine)
    both = (on_template > 0.1) & (template.data > 0.1)
    assert np.corrcoef(on_template[both], template.data[both])[0, 1] > 0.8
    # the scan is larger by 1.08 along each axis
    assert np.median(warp.jacobian[both]) == pytest.approx(1.08**3, rel=0.05)


def test_tissues_of_a_made_head_are_found(moved):
    image, inside, priors = moved
    options = TissueSegmentation(registration=COARSE)
    found = segment_tissues(image, inside, options)
    total = sum(found.values())
    np.testing.assert_allclose(total[inside], 1.0, atol=1e-3)
    assert not total[~inside].any()
    for name in ("GM", "WM"):
        truth, own = priors[name].data * inside, found[name]
        assert 2 * np.minimum(truth, own).sum() / (truth.sum() + own.sum()) > 0.75, name
    again = segment_tissues(image, inside, options)
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_a_scan_that_lies_obliquely_far_from_the_origin_is_segmented(moved):
    """Its place does not fit into single precision, which the files of ANTs have."""
    image, inside, _ = moved
    turn = np.eye(4)
    angle = np.deg2rad(7.3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = [412.277955532, -314.559331189, 514.259323217]
    found = segment_tissues(
        Image(image.data, turn @ image.affine), inside, TissueSegmentation(registration=COARSE)
    )
    np.testing.assert_allclose(sum(found.values())[inside], 1.0, atol=1e-3)


def test_images_go_to_ants_and_back():
    image = builtin.template()
    back = tissue._from_ants(tissue._to_ants(image))
    np.testing.assert_allclose(back.affine, image.affine)
    assert np.array_equal(back.data, image.data)
