"""A recipe carried out on one scan: its steps, one after the other, in the recipe's order."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing import gate
from genmorph.preprocessing.engines import Engines
from genmorph.preprocessing.grid import (
    centre_content,
    content_box,
    crop,
    cut_fraction,
    resample,
    scale_intensities,
    soften_edge,
)
from genmorph.preprocessing.raw import Image, read_scan
from genmorph.preprocessing.steps import (
    BiasCorrection,
    BrainExtraction,
    CropToContent,
    IntensityScaling,
    Recipe,
    Registration,
    Resample,
)

BUILTIN = Engines()


@dataclass(frozen=True)
class Preprocessed:
    """A scan on the recipe's grid.

    Attributes
    ----------
    volume : ndarray, float32, shape of the grid
        Intensities in [0, 1]; exactly 0 outside the brain, unless its edge is soft or the head is
        kept whole.
    affine : ndarray, shape (4, 4)
        The grid's world (the template's) to the scan's world, millimetres, RAS+.
    quality : dict
        Measures by column of `gate.QUALITY_COLUMNS`.
    mosaic : PIL.Image.Image
    nonlinear : bool
        A deformation follows on `affine`, so that the matrix alone does not lead to the scan.
    """

    volume: np.ndarray
    affine: np.ndarray
    quality: dict[str, float]
    mosaic: Any
    nonlinear: bool = False


class ImplausibleResult(ScanError):
    """A step failed, or went through with a result that cannot be a brain in place.

    Attributes
    ----------
    quality : dict
        As of `Preprocessed`, as far as it is known.
    mosaic : PIL.Image.Image
        What there is to see.
    """

    def __init__(self, message: str, quality: dict[str, float], mosaic: Any) -> None:
        super().__init__(message)
        self.quality, self.mosaic = quality, mosaic

    def __reduce__(self) -> tuple[type[ImplausibleResult], tuple[Any, ...]]:
        return type(self), (self.message, self.quality, self.mosaic)


@dataclass
class _Work:
    """A scan on its way through a recipe; each step leaves its result here."""

    recipe: Recipe
    engines: Engines
    raw: Image
    skull_stripped: bool
    image: Image  # as the last step left it
    mask: np.ndarray | None = None  # the brain, on the image's grid
    kept: np.ndarray | None = None  # share of each voxel that stays; None: the brain alone
    seen: tuple[Image, np.ndarray] | None = None  # image and mask to show, before any crop
    to_scan: np.ndarray = field(default_factory=lambda: np.eye(4))
    to_points: Callable[[np.ndarray], np.ndarray] | None = None  # of a nonlinear registration
    volume: np.ndarray | None = None  # on the recipe's grid, from here on
    inside: np.ndarray | None = None
    quality: dict[str, float] = field(default_factory=dict)

    def mosaic(self) -> Any:
        """A picture of what has been done so far."""
        from genmorph.preprocessing.mosaic import draw_mosaic

        if self.volume is None:
            return draw_mosaic(self.raw, *self.seen)
        volume = Image(self.volume, np.asarray(self.recipe.grid_affine()))
        return draw_mosaic(self.raw, *self.seen, volume, template_on_grid(self.recipe) > 0)


def preprocess_scan(
    path: Path, recipe: Recipe, *, skull_stripped: bool, engines: Engines = BUILTIN
) -> Preprocessed:
    """Carry out a recipe on a NIfTI file; see `preprocess_image`."""
    return preprocess_image(read_scan(path), recipe, skull_stripped=skull_stripped, engines=engines)


def preprocess_image(
    raw: Image, recipe: Recipe, *, skull_stripped: bool, engines: Engines = BUILTIN
) -> Preprocessed:
    """Carry out a recipe on an image.

    Parameters
    ----------
    raw : Image
    recipe : Recipe
    skull_stripped : bool
        No brain is extracted: what is above 0, holes filled, is the brain.
    engines : Engines
        What carries out bias correction, brain extraction and registration.

    Raises
    ------
    ScanError
        When a step fails; as an `ImplausibleResult` once there is a brain mask to look at.
    """
    work = _Work(recipe, engines, raw, skull_stripped, image=raw)
    if skull_stripped:
        work.mask = _stripped_mask(raw)
        work.seen = (raw, work.mask)
    for step in recipe.steps:
        try:
            CARRY_OUT[type(step)](work, step)
        except ScanError as error:
            if work.seen is None:
                raise
            raise ImplausibleResult(error.message, work.quality, work.mosaic()) from None
    nonlinear = work.to_points is not None
    return Preprocessed(work.volume, work.to_scan, work.quality, work.mosaic(), nonlinear)


def _correct_bias(work: _Work, options: BiasCorrection) -> None:
    engine = work.engines.of(options.step)
    work.image = engine.correct_bias(work.image, work.mask, options)
    if work.mask is not None:
        work.seen = (work.image, work.mask)


def _extract_brain(work: _Work, options: BrainExtraction) -> None:
    if work.mask is None:
        work.mask = work.engines.of(options.step).extract_brain(work.image, options)
        work.seen = (work.image, work.mask)
    work.quality |= gate.measure_brain(work.raw, work.image, work.mask)
    problem = gate.brain_problem(work.quality, options, skull_stripped=work.skull_stripped)
    if problem:
        raise ScanError(problem)
    if not options.skull_strip:
        work.kept = np.ones(work.mask.shape, np.float32)
    elif options.edge_blur_mm > 0:
        edge = (options.edge_blur_mm, options.edge)
        work.kept = soften_edge(work.mask, work.image.voxel_mm, *edge)


def _crop_to_content(work: _Work, options: CropToContent) -> None:
    box = content_box(work.mask if work.kept is None else work.kept)
    work.image, work.mask = crop(work.image, box), work.mask[box]
    work.kept = None if work.kept is None else work.kept[box]


def _register(work: _Work, options: Registration) -> None:
    brain = work.image.with_data(np.where(work.mask, work.image.data, 0.0))
    work.to_scan = work.engines.of(options.step).register_affine(brain, options)
    if options.degrees_of_freedom == "nonlinear":
        from genmorph.preprocessing.engines import tissue

        wanted = tissue.NonlinearRegistration(working_mm=options.resolution_mm, seed=options.seed)
        work.to_points = tissue.register_nonlinear(brain, wanted).to_scan


def _resample(work: _Work, options: Resample) -> None:
    grid_affine = np.asarray(work.recipe.grid_affine())
    if options.centre == "content":
        work.to_scan = centre_content(work.image, work.mask, work.to_scan, options.centre_mm)
    on_grid = (work.to_scan, options.grid, grid_affine)
    work.quality |= {
        "affine_scale": float(1.0 / np.linalg.det(work.to_scan[:3, :3])),
        "cut_fraction": cut_fraction(work.image, work.mask, *on_grid),
    }
    work.volume, work.inside = resample(
        work.image, work.mask, work.to_scan, options, grid_affine, work.kept, work.to_points
    )
    if not work.inside.any():
        raise ScanError("after registration nothing of the brain is on the grid")
    reference = template_on_grid(work.recipe) > 0
    work.quality["template_overlap"] = gate.dice(work.inside, reference)


def _scale_intensities(work: _Work, options: IntensityScaling) -> None:
    brain_only = work.kept is None
    work.volume = scale_intensities(work.volume, work.inside, options, brain_only=brain_only)
    reference = template_on_grid(work.recipe)
    found = gate.correlation(work.volume, reference, work.inside)
    work.quality["template_correlation"] = found
    if registration := work.recipe.step("registration"):
        largest = gate.largest_dice(work.inside, reference > 0)
        problem = gate.registration_problem(work.quality, registration, largest)
        if problem:
            raise ScanError(problem)
    # last: a wrong registration is the better reason for a brain beyond the grid
    if problem := gate.grid_problem(work.quality, work.recipe.step("resample")):
        raise ScanError(problem)


CARRY_OUT: dict[type, Callable[[_Work, Any], None]] = {
    BiasCorrection: _correct_bias,
    BrainExtraction: _extract_brain,
    CropToContent: _crop_to_content,
    Registration: _register,
    Resample: _resample,
    IntensityScaling: _scale_intensities,
}


@functools.cache
def template_on_grid(recipe: Recipe) -> np.ndarray:
    """The template's brain on a recipe's grid."""
    from genmorph.preprocessing.engines import builtin

    image, identity = builtin.template(), np.eye(4)
    options, grid_affine = recipe.step("resample"), np.asarray(recipe.grid_affine())
    volume, _ = resample(image, image.data > 0, identity, options, grid_affine)
    return volume


def _stripped_mask(image: Image) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes(image.data > 0)
