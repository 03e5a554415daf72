"""Recipes: ordered, typed, on a grid whose affine is right."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import ConfigError
from genmorph.preprocessing.steps import Recipe
from genmorph.studies import load_spec
from genmorph.validation import validate


@pytest.fixture
def recipe():
    return load_spec("m3ae").recipe


def test_the_papers_grid_is_two_millimetres_around_the_brain(recipe):
    affine = np.asarray(recipe.grid_affine())
    assert recipe.grid == (80, 96, 80)
    np.testing.assert_allclose(np.diag(affine), [2, 2, 2, 1])
    centre = affine @ [39.5, 47.5, 39.5, 1]
    np.testing.assert_allclose(centre[:3], recipe.step("resample").centre_mm)


def test_the_whole_template_brain_lies_on_the_grid(recipe):
    from genmorph.preprocessing.engines import builtin

    template = builtin.template()
    voxels = np.argwhere(template.data > 0)
    world = template.affine @ np.c_[voxels, np.ones(len(voxels))].T
    index = np.linalg.inv(recipe.grid_affine()) @ world
    assert index[:3].min() >= 0
    assert (index[:3].max(axis=1) <= np.asarray(recipe.grid) - 1).all()


def test_another_grid_covers_the_same_field_of_view(recipe):
    coarse = recipe.altered({"resample": {"grid": (40, 48, 40)}})
    first, last = np.asarray(recipe.grid_affine()), np.asarray(coarse.grid_affine())
    np.testing.assert_allclose(first @ [-0.5, -0.5, -0.5, 1], last @ [-0.5, -0.5, -0.5, 1])
    np.testing.assert_allclose(first @ [79.5, 95.5, 79.5, 1], last @ [39.5, 47.5, 39.5, 1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resampel": {}}, ["resampel", "did you mean 'resample'"]),
        ({"brain_extraction": {"method": "deepbt"}}, ["method", "did you mean 'deepbet'"]),
        ({"bias_correction": {"iteration": 3}}, ["did you mean 'iterations'"]),
    ],
)
def test_a_wrong_change_names_the_step_and_the_cure(recipe, changes, words):
    with pytest.raises(ConfigError) as error:
        recipe.altered(changes)
    for word in words:
        assert word in str(error.value)


def test_steps_stand_in_an_order_that_makes_sense_and_once(recipe):
    steps = recipe.model_dump()["steps"]
    for wrong, words in (
        (steps[::-1], "must come before"),
        ([*steps, steps[-1]], "more than once: intensity_scaling"),
        (steps[:2], "missing: resample, intensity_scaling"),
        ([steps[1], steps[2], steps[3], steps[0], steps[4]], "bias_correction must come before"),
    ):
        with pytest.raises(ConfigError, match=words):
            validate(Recipe, {"steps": wrong}, "recipe")
    swapped = [steps[1], steps[0], *steps[2:]]  # the bias within the brain alone
    assert [step.step for step in validate(Recipe, {"steps": swapped}, "recipe").steps][1] == (
        "bias_correction"
    )


def test_a_step_is_left_out_by_null_unless_the_recipe_needs_it(recipe):
    bare = recipe.altered({"bias_correction": None, "registration": None})
    assert [step.step for step in bare.steps] == [
        "brain_extraction",
        "resample",
        "intensity_scaling",
    ]
    with pytest.raises(ConfigError, match="missing: brain_extraction"):
        recipe.altered({"brain_extraction": None})


@pytest.mark.parametrize(
    ("room", "voxel_mm", "degrees", "grid"),
    [
        ("m3ae", 2.0, "affine", (80, 96, 80)),
        ("slice_vae", 0.7, "rigid", (256, 256, 256)),
        ("vqvae", 1.0, "affine", (192, 256, 192)),
        ("autoregressive", 1.0, "rigid", (160, 224, 160)),
    ],
)
def test_each_paper_has_its_grid_and_its_registration(room, voxel_mm, degrees, grid):
    recipe = load_spec(room).recipe
    assert recipe.grid == grid
    np.testing.assert_allclose(np.diag(recipe.grid_affine())[:3], voxel_mm)
    assert recipe.step("registration").degrees_of_freedom == degrees


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"registration": {"shrink_factors": (4,)}}, "one value each per level"),
        ({"intensity_scaling": {"percentiles": (99, 1)}}, "two rising numbers"),
        ({"brain_extraction": {"least_ml": 3000}}, "below most_ml"),
        ({"brain_extraction": {"network_voxels": 200}}, "multiple of 32"),
        ({"resample": {"grid": (40, 0, 40)}}, "greater than 0"),
        ({"bias_correction": {"iterations": ()}}, "at least 1"),
        ({"brain_extraction": {"skull_strip": False, "edge_blur_mm": 1.0}}, "no edge"),
        ({"intensity_scaling": {"method": "robust_min_max", "within": "volume"}}, "background"),
    ],
)
def test_values_that_contradict_each_other_are_refused(recipe, changes, words):
    with pytest.raises(ConfigError, match=words):
        recipe.altered(changes)
