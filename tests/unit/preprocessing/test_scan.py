"""One scan through the recipes of all rooms: what is kept, where it lies, what stops it."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from genmorph.config import load_config
from genmorph.errors import ScanError
from genmorph.preprocessing.engines import builtin
from genmorph.preprocessing.grid import content_box
from genmorph.preprocessing.scan import CARRY_OUT, ImplausibleResult, preprocess_scan
from genmorph.preprocessing.steps import Recipe
from genmorph.studies import load_spec, recipe_names, resolve_study, study_names

COARSE = {"resolution_mm": 4.0, "shrink_factors": [2, 1], "smoothing_mm": [4.0, 2.0]}


def recipe_of(room, name=None, **changes):
    """A recipe at scale smoke, registered coarsely."""
    name = name or room
    wanted = {name: {"registration": COARSE} | changes}
    config = load_config(scale="smoke", studies={room: {}}, preprocessing={"recipes": wanted})
    return Recipe.model_validate(resolve_study(room, config).recipes[name])


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    """The template as a skull-stripped scan of 4 mm, 12 % narrower, turned by ten degrees."""
    template = builtin.template()
    angle = np.deg2rad(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, :3] *= 0.88
    turn[:3, 3] = (20, -12, 15)
    affine = turn @ template.affine @ np.diag([4, 4, 4, 1.0])
    path = tmp_path_factory.mktemp("brain") / "brain_T1w.nii.gz"
    data = (1000 * template.data[::4, ::4, ::4]).astype(np.float32)
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


@pytest.mark.parametrize("room", ["m3ae", "slice_vae", "vqvae", "autoregressive"])
def test_every_recipe_puts_a_whole_upright_brain_on_its_grid(brain, room):
    recipe = recipe_of(room)
    done = preprocess_scan(brain, recipe, skull_stripped=True)
    assert done.volume.shape == recipe.grid
    assert done.volume.min() == 0 and done.volume.max() == 1
    assert done.quality["cut_fraction"] < 0.01
    rigid = recipe.step("registration").degrees_of_freedom == "rigid"
    assert done.quality["affine_scale"] == pytest.approx(1.0 if rigid else 0.88**-3, rel=0.06)
    assert done.quality["template_correlation"] > 0.4


def test_a_nonlinear_registration_undoes_a_bend_that_a_linear_one_cannot(tmp_path):
    template = builtin.template()
    x, y, z = np.indices(template.data.shape, dtype=np.float32)
    bent = map_coordinates(template.data, [x + 7 * np.sin(y / 25), y, z], order=1)[::4, ::4, ::4]
    path = tmp_path / "bent_T1w.nii.gz"
    affine = template.affine @ np.diag([4, 4, 4, 1.0])
    nib.Nifti1Image((1000 * bent).astype(np.float32), affine).to_filename(path)
    wanted = COARSE | {"degrees_of_freedom": "nonlinear"}
    linear = preprocess_scan(path, recipe_of("m3ae"), skull_stripped=True)
    warped = preprocess_scan(path, recipe_of("m3ae", registration=wanted), skull_stripped=True)
    for measure in ("template_overlap", "template_correlation"):
        assert warped.quality[measure] > linear.quality[measure] + 0.02


def test_content_is_centred_and_not_the_template(brain):
    done = preprocess_scan(brain, recipe_of("slice_vae"), skull_stripped=True)
    box = content_box(done.volume)
    for part, size in zip(box, done.volume.shape, strict=True):
        assert abs((part.start + part.stop) / 2 - size / 2) <= 1


def test_without_registration_the_scans_own_axes_stay(brain):
    recipe = recipe_of("slice_vae", registration=None)
    done = preprocess_scan(brain, recipe, skull_stripped=True)
    np.testing.assert_array_equal(done.affine[:3, :3], np.eye(3))
    assert done.quality["affine_scale"] == 1.0


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A simulated head at 4 mm."""
    from genmorph.cohorts.simulate import simulate_cohort

    root = tmp_path_factory.mktemp("head") / "raw"
    simulate_cohort(root, n=4, seed=3, resolution_mm=4.0)
    return sorted(root.glob("sub-*/**/anat/*_T1w.nii.gz"))[0]


def test_a_whole_head_keeps_its_scalp_and_a_soft_edge_only_a_rim(head):
    volumes = {}
    for name, changes in {
        "brain": {},
        "soft": {"edge_blur_mm": 6.0},
        "head": {"skull_strip": False},
    }.items():
        recipe = recipe_of("autoregressive", brain_extraction=changes)
        assert recipe.whole_head == (name == "head")
        volumes[name] = preprocess_scan(head, recipe, skull_stripped=False).volume
    n = {name: int((volume > 0).sum()) for name, volume in volumes.items()}
    assert n["brain"] < n["soft"] < n["head"]
    assert n["head"] > 1.3 * n["brain"]
    outside = volumes["brain"] == 0
    assert volumes["soft"][outside].max() < volumes["soft"].max()


def test_a_brain_cut_off_by_the_field_of_view_is_refused(brain, tmp_path):
    image = nib.load(brain)
    cut = tmp_path / "cut_T1w.nii.gz"
    image.slicer[:, :, 18:].to_filename(cut)
    with pytest.raises(ImplausibleResult, match=r"cut off: .* cm2") as error:
        preprocess_scan(cut, recipe_of("m3ae"), skull_stripped=True)
    assert error.value.quality["edge_cm2"] > 20 and error.value.mosaic is not None


def test_a_field_of_view_too_small_for_the_brain_is_refused(brain):
    recipe = recipe_of("m3ae", resample={"field_of_view_mm": [160, 120, 160]})
    with pytest.raises(ScanError, match="of the brain lie beyond the grid"):
        preprocess_scan(brain, recipe, skull_stripped=True)


def test_every_step_that_a_recipe_may_name_is_carried_out():
    rooms = [
        recipe_of(room, name)
        for room in study_names()
        for name in recipe_names(room)
        if name not in load_spec(room).coarser_recipes
    ]
    used = {type(step) for recipe in rooms for step in recipe.steps}
    assert used == set(CARRY_OUT)


def test_recipes_of_all_rooms_have_names_of_their_own():
    names = [name for room in study_names() for name in recipe_names(room)]
    assert len(names) == len(set(names))
