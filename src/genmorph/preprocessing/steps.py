"""What each preprocessing step promises, and the recipe that orders them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from genmorph.errors import ConfigError, did_you_mean
from genmorph.validation import Options, validate

Vector = tuple[float, float, float]


class BiasCorrection(Options):
    """A smooth multiplicative field removed (N4, Tustison 2010)."""

    step: Literal["bias_correction"] = "bias_correction"
    working_mm: float = Field(
        4.0, gt=0, description="voxel size at which the field is estimated, as nearly as can be"
    )
    iterations: tuple[PositiveInt, ...] = Field(
        (50, 50, 50, 50), min_length=1, description="most, per B-spline level"
    )
    convergence: float = Field(
        1e-3, gt=0, description="stop below this relative change; 1e-7 gains little and costs twice"
    )


class BrainExtraction(Options):
    """A binary brain mask; everything outside becomes exactly 0, unless options say otherwise."""

    step: Literal["brain_extraction"] = "brain_extraction"
    method: Literal["deepbet"] = Field("deepbet", description="network whose weights pip brings")
    network_voxels: int = Field(
        256,
        ge=160,
        multiple_of=32,
        description="edge of the network's input; 256 is deepbet's own, 192 takes half the time "
        "and 160 half of that, with masks 5 % too large",
    )
    skull_strip: bool = Field(
        True,
        description="false keeps the whole head: the mask then serves registration, intensities "
        "and the sanity gate alone",
    )
    edge_blur_mm: float = Field(
        0.0,
        ge=0,
        description="sigma of the Gaussian that softens the mask's edge; 0 cuts sharply",
    )
    edge: Literal["outside", "inside"] = Field(
        "outside",
        description="where the softened edge lies: outside keeps the brain as it is and lets what "
        "is around it fade, inside lets the brain's own rim fade and leaves nothing around it",
    )
    least_ml: float = Field(600.0, gt=0, description="a smaller brain is a failed scan")
    most_ml: float = Field(2400.0, gt=0, description="a larger brain is a failed scan")
    most_edge_cm2: float = Field(
        20.0,
        gt=0,
        description="brain on one face of the scan's field of view; more of it is a brain cut off, "
        "a failed scan (a brain stem alone has about 6)",
    )

    @model_validator(mode="after")
    def _ordered(self) -> BrainExtraction:
        if self.least_ml >= self.most_ml:
            raise ValueError("least_ml must be below most_ml")
        if not self.skull_strip and self.edge_blur_mm > 0:
            raise ValueError("edge_blur_mm: a whole head has no edge of the mask to soften")
        return self


class CropToContent(Options):
    """Planes without any brain are cut off, as far as the brain's box; whole heads stay whole."""

    step: Literal["crop_to_content"] = "crop_to_content"


class Registration(Options):
    """A transform that brings the brain onto the template (Mattes mutual information)."""

    step: Literal["registration"] = "registration"
    degrees_of_freedom: Literal["rigid", "affine", "nonlinear"] = Field(
        "affine",
        description="rigid: 6, the brain keeps its size; affine: 12; nonlinear: SyN after the "
        "affine, by the builtin engine",
    )
    search_degrees: Vector = Field(
        (60.0, 20.0, 20.0),
        description="rotations about x (nodding), y, z up to these are tried on 8 mm voxels before "
        "the descent starts from the best",
    )
    resolution_mm: float = Field(2.0, gt=0, description="voxel size of the finest level")
    shrink_factors: tuple[PositiveInt, ...] = Field((4, 2, 1), min_length=1)
    smoothing_mm: tuple[NonNegativeFloat, ...] = Field((4.0, 2.0, 0.0), min_length=1)
    sampling_fraction: float = Field(0.1, gt=0, le=1, description="of voxels, drawn with a seed")
    iterations: int = Field(100, ge=1, description="most, per level")
    seed: int = Field(1, ge=1)
    least_scale: float = Field(0.4, gt=0, description="smallest plausible volume scaling")
    most_scale: float = Field(2.5, gt=0, description="largest plausible volume scaling")
    least_overlap: float = Field(
        0.85,
        description="Dice of brain and template on the grid, as a share of the largest that their "
        "volumes allow; below it the scan has failed",
    )
    least_correlation: float = Field(
        0.3, description="with the template inside the brain; below it the scan has failed"
    )

    @property
    def linear(self) -> Literal["rigid", "affine"]:
        """The linear part, which every registration begins with."""
        return "rigid" if self.degrees_of_freedom == "rigid" else "affine"

    @model_validator(mode="after")
    def _levels(self) -> Registration:
        if len(self.shrink_factors) != len(self.smoothing_mm):
            raise ValueError("shrink_factors and smoothing_mm: one value each per level")
        if self.least_scale >= self.most_scale:
            raise ValueError("least_scale must be below most_scale")
        return self


class Resample(Options):
    """One interpolation from the raw grid to the recipe's, through the registration.

    The field of view crops what lies beyond it and pads with 0 where the scan ends.
    """

    step: Literal["resample"] = "resample"
    grid: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(description="voxels")
    field_of_view_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        description="millimetres that the grid covers"
    )
    centre: Literal["template", "content"] = Field(
        "template",
        description="what lies in the grid's middle: centre_mm of the template, or the middle of "
        "the box around the scan's own brain (which is then said to be at centre_mm)",
    )
    centre_mm: Vector = Field(
        (0.0, -17.0, 6.0), description="its centre in the template's world (MNI152, RAS)"
    )
    most_cut_fraction: float = Field(
        0.02, ge=0, le=1, description="of the brain beyond the grid; more is a failed scan"
    )


class IntensityScaling(Options):
    """Two intensities of the scan go to 0 and 1; values beyond are clipped.

    `percentiles`: the two percentiles. `min_max`: the smallest and the largest value.
    `robust_min_max`: the smallest and the largest of the values that are no outliers, which are
    those further than `fence` interquartile ranges from the quartiles (Tukey's fences).
    """

    step: Literal["intensity_scaling"] = "intensity_scaling"
    method: Literal["percentiles", "min_max", "robust_min_max"] = Field("percentiles")
    within: Literal["brain", "volume"] = Field(
        "brain", description="voxels that decide: the brain's, or all, background included"
    )
    percentiles: tuple[float, float] = Field((0.5, 99.5), description="of method percentiles")
    fence: float = Field(3.0, gt=0, description="of method robust_min_max, interquartile ranges")
    dtype: Literal["uint8", "float32"] = Field("uint8", description="how the store keeps them")

    @model_validator(mode="after")
    def _consistent(self) -> IntensityScaling:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError("percentiles: two rising numbers from 0 to 100")
        if self.method == "robust_min_max" and self.within == "volume":
            raise ValueError("robust_min_max within volume: the background would be the quartiles")
        return self


Step = Annotated[
    BiasCorrection | BrainExtraction | CropToContent | Registration | Resample | IntensityScaling,
    Field(discriminator="step"),
]
REQUIRED = ("brain_extraction", "resample", "intensity_scaling")
# what must come before a step, where the recipe has it
BEFORE = {
    "crop_to_content": ("bias_correction", "brain_extraction"),
    "registration": ("brain_extraction",),
    "resample": ("bias_correction", "brain_extraction", "crop_to_content", "registration"),
    "intensity_scaling": ("resample",),
}


class Recipe(Options):
    """An ordered list of steps that ends on a fixed grid."""

    template: Literal["mni152"] = Field(
        "mni152", description="nilearn's packaged, skull-stripped MNI152 2009 T1 average"
    )
    steps: tuple[Step, ...]

    @model_validator(mode="after")
    def _ordered(self) -> Recipe:
        names = [step.step for step in self.steps]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"each step once; more than once: {', '.join(twice)}")
        if missing := [name for name in REQUIRED if name not in names]:
            raise ValueError(f"missing: {', '.join(missing)}")
        for position, name in enumerate(names):
            if late := [other for other in BEFORE.get(name, ()) if other in names[position:]]:
                raise ValueError(f"{', '.join(late)} must come before {name}")
        return self

    @property
    def whole_head(self) -> bool:
        """Whether the head keeps what lies outside the brain."""
        return not self.step("brain_extraction").skull_strip

    def step(self, name: str) -> Step | None:
        """Options of a step; None when the recipe does without it."""
        return next((step for step in self.steps if step.step == name), None)

    def altered(self, changes: Mapping[str, Mapping[str, Any] | None]) -> Recipe:
        """The same recipe with other values: `{step: {option: value}}`; null drops the step.

        Raises
        ------
        ConfigError
            When a step or an option does not exist, its value is wrong, or the recipe cannot do
            without a step.
        """
        for name in changes:
            if self.step(name) is None:
                known = did_you_mean(name, (step.step for step in self.steps))
                raise ConfigError(f"recipe: no step '{name}'; {known}")
        steps = tuple(
            validate(type(step), step.model_dump() | dict(changes.get(step.step) or {}), step.step)
            for step in self.steps
            if changes.get(step.step, {}) is not None
        )
        return validate(Recipe, {"template": self.template, "steps": steps}, "recipe")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Voxels of a preprocessed volume."""
        return self.step("resample").grid

    def grid_affine(self) -> list[list[float]]:
        """4x4 voxel-to-world matrix (mm, RAS+) of the grid."""
        resample = self.step("resample")
        voxel_mm = np.asarray(resample.field_of_view_mm) / np.asarray(resample.grid)
        affine = np.diag([*voxel_mm, 1.0])
        affine[:3, 3] = resample.centre_mm - voxel_mm * (np.asarray(resample.grid) - 1) / 2
        return affine.tolist()
