"""What only a simulated cohort has: true deformations, regions of effect, labels."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from genmorph.cohorts.reading import TRUTH
from genmorph.cohorts.simulate import simulate_cohort
from genmorph.cohorts.simulate.anatomy import BRAIN_BOX, region_grid
from genmorph.cohorts.simulate.atlas import LabelAtlas
from genmorph.cohorts.simulate.cohort import _template
from genmorph.cohorts.simulate.grids import Grid
from genmorph.cohorts.simulate.person import Visit, plan_visits
from genmorph.cohorts.simulate.scan import simulate_scan
from genmorph.cohorts.simulate.scanner import Scanner
from genmorph.cohorts.simulate.trees.truth import (
    EFFECTS,
    TISSUES,
    displacement_to_template,
    effect_regions,
    quantised,
)
from genmorph.errors import CohortError
from genmorph.files import read_json, read_tsv, sha256_file

MM = 8.0
SCANNER = Scanner().at(MM)


@pytest.fixture(scope="module")
def scan():
    """A man of 81 with Alzheimer's disease."""
    visit = Visit("sub-0001", None, "M", "AD", 81.0, 81.0)
    return simulate_scan(_template(MM), visit, seed=3, scanner=SCANNER)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """Left half 7, right half 2 of the template's brain box, by an image that runs to the left."""
    grid = Grid.over(*BRAIN_BOX, 2.0)
    x, _, _ = grid.axes()
    labels = np.broadcast_to(np.where(x < 0, 7, 2), grid.shape).astype(np.int16)
    image = nib.as_closest_canonical(nib.Nifti1Image(labels, grid.affine))
    flipped = nib.Nifti1Image(labels[::-1], grid.affine @ _mirror(grid.shape[0]))
    path = tmp_path_factory.mktemp("atlas") / "halves.nii.gz"
    nib.save(flipped, path)
    assert np.array_equal(np.asarray(nib.as_closest_canonical(flipped).dataobj), image.dataobj)
    return LabelAtlas(path, "halves", "CC0-1.0")


def _mirror(n):
    matrix = np.diag([-1.0, 1.0, 1.0, 1.0])
    matrix[0, 3] = n - 1
    return matrix


# -- deformation -----------------------------------------------------------------------------------


def test_the_written_displacement_leads_to_the_template(scan):
    vectors, affine = displacement_to_template(scan.warp, scan.grid)
    assert vectors.dtype == np.float32 and vectors.shape[3:] == (1, 3)
    coarse = Grid(tuple(affine[:3, 3]), float(affine[0, 0]), vectors.shape[:3])
    points = np.stack([axis.ravel() for axis in np.broadcast_arrays(*scan.grid.axes())])
    expected = scan.warp.points(scan.grid.axes()).reshape(3, -1)
    found = points + np.stack(
        [coarse.sample(np.ascontiguousarray(vectors[..., 0, k]), points) for k in range(3)]
    )
    error = np.linalg.norm(found - expected, axis=0)[scan.tissues.brain.ravel()]
    assert error.max() < 0.5 and error.mean() < 0.1  # mm, between nodes 4 mm apart
    assert np.linalg.norm(found - points, axis=0).max() > 5.0


def test_the_displacement_carries_the_template_s_ventricles_to_the_person_s(scan):
    vectors, affine = displacement_to_template(scan.warp, scan.grid)
    coarse = Grid(tuple(affine[:3, 3]), 4.0, vectors.shape[:3])
    there = coarse.points() + np.moveaxis(vectors[..., 0, :], -1, 0)
    template = _template(MM)
    region = region_grid().sample(np.asarray(template.ventricles), there, outside=0.0)
    ventricles = scan.tissues.volume(scan.tissues.ventricles)
    where = np.argwhere(ventricles > 0.5 * ventricles.max())
    world = nib.affines.apply_affine(scan.grid.affine, where)
    seen = coarse.sample(region, world.T)
    assert seen.min() > 0.3


# -- regions of effect -----------------------------------------------------------------------------


def test_effect_regions_follow_the_tissue_classes(scan):
    maps = quantised(scan.tissues)
    classes = np.argmax(np.stack([maps[label] for label in TISSUES]), axis=0) + 1
    regions = effect_regions(scan.tissues, classes)
    of_class = {name: set(np.unique(classes[regions == EFFECTS[name]])) for name in EFFECTS}
    assert of_class == {"ventricles": {3}, "medial_temporal": {1}, "cortex": {1}}
    share = {name: float((regions == EFFECTS[name]).mean()) for name in EFFECTS}
    assert share["cortex"] > 0.15 > share["ventricles"] > share["medial_temporal"] > 0.0


def test_medial_temporal_regions_lie_on_both_sides_below_the_middle():
    scanner = Scanner().at(4.0)
    found = simulate_scan(_template(4.0), plan_visits(1, 2)[0], seed=2, scanner=scanner)
    maps = quantised(found.tissues)
    classes = np.argmax(np.stack([maps[label] for label in TISSUES]), axis=0) + 1
    volume = found.tissues.volume(effect_regions(found.tissues, classes))
    points = found.warp.points(found.grid.axes())
    x, _, z = points[:, volume == EFFECTS["medial_temporal"]]
    assert (x < -10).any() and (x > 10).any() and z.max() < 5.0
    x, _, z = points[:, volume == EFFECTS["ventricles"]]
    assert np.abs(x).max() < 60.0 and abs(np.median(x)) < 8.0


# -- labels ----------------------------------------------------------------------------------------


def test_labels_come_from_the_given_atlas_with_its_licence(tmp_path, atlas):
    simulate_cohort(tmp_path / "out", layout="ukb", n=1, seed=1, resolution_mm=MM, atlas=atlas)
    truth = tmp_path / "out" / TRUTH
    described = read_json(truth / "dataset_description.json")["GenMorph"]["Labels"]
    assert described == {
        "Name": "halves",
        "Licence": "CC0-1.0",
        "File": "halves.nii.gz",
        "SHA256": sha256_file(atlas.path),
    }
    labels = nib.load(next(truth.rglob("*_seg-halves_dseg.nii.gz")))
    values = np.asarray(labels.dataobj)
    assert values.dtype == np.uint8 and set(np.unique(values)) == {0, 2, 7}
    sides = [
        nib.affines.apply_affine(labels.affine, np.argwhere(values == label))[:, 0].mean()
        for label in (7, 2)
    ]
    assert sides[0] < -20 and sides[1] > 20  # left, right, in an image stored leftwards


def test_no_labels_without_an_atlas_and_no_maps_when_only_volumes_are_asked(tmp_path):
    simulate_cohort(tmp_path / "out", n=1, seed=1, resolution_mm=MM, truth="volumes")
    truth = tmp_path / "out" / TRUTH
    assert not list(truth.rglob("*.nii.gz"))
    assert len(read_tsv(truth / "truth.tsv")) == 1
    assert "Labels" not in read_json(truth / "dataset_description.json")["GenMorph"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "two words"}, "two words"),
        ({"licence": " "}, "licence"),
    ],
)
def test_an_atlas_needs_a_name_and_a_licence(tmp_path, atlas, change, named):
    values = {"path": atlas.path, "name": atlas.name, "licence": atlas.licence} | change
    with pytest.raises(CohortError, match=named):
        simulate_cohort(tmp_path / "out", n=1, seed=1, resolution_mm=MM, atlas=LabelAtlas(**values))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("volume", "named"),
    [
        (np.full((4, 4, 4), 0.5, np.float32), "whole numbers"),
        (np.full((4, 4, 4), -1, np.int16), "zero or above"),
        (np.ones((4, 4, 4, 2), np.int16), "no 3D"),
    ],
)
def test_an_image_that_is_no_atlas_is_refused(tmp_path, volume, named):
    path = tmp_path / "bad.nii"
    nib.save(nib.Nifti1Image(volume, np.eye(4)), path)
    with pytest.raises(CohortError, match=named):
        LabelAtlas(path, "bad", "CC0-1.0").check()


def test_a_missing_atlas_is_named(tmp_path):
    with pytest.raises(CohortError, match=r"absent\.nii"):
        LabelAtlas(tmp_path / "absent.nii", "bad", "CC0-1.0").check()
