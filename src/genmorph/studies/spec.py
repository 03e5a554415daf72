"""A study as its `spec.yaml` states it: the types of every entry, and what must fit together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from genmorph.config import Scale
from genmorph.errors import did_you_mean
from genmorph.models import options_class
from genmorph.preprocessing.steps import Recipe
from genmorph.sampling import REFERENCES
from genmorph.training.options import TrainingOptions
from genmorph.validation import Options

Grid = tuple[PositiveInt, PositiveInt, PositiveInt]


class ScaleSpec(Options):
    """What a scale changes in a study."""

    grid: Grid = Field(description="voxels of a preprocessed volume")
    recipe: dict[str, dict[str, Any] | None] = Field({}, description="{step: {option: value}}")
    further_recipes: dict[str, dict[str, dict[str, Any] | None]] = Field(
        {}, description="{recipe: {step: {option: value}}}"
    )
    coarser_recipes: dict[str, Grid] = Field({}, description="{recipe: grid}")
    samples: int | None = Field(None, description="volumes to sample; null: as many as test scans")
    models: dict[str, dict[str, Any]] = Field({}, description="{model: {key: value}}")
    measures: dict[str, dict[str, Any]] = Field({}, description="{measure: {option: value}}")
    segmenter: dict[str, Any] = Field({}, description="{option: value} of the slice segmenter")


class ReferenceSpec(Options):
    """A trivial reference that runs beside the models."""

    kind: str = Field(description="a key of `genmorph.sampling.REFERENCES`")
    recipe: str | None = Field(None, description="whose store it works on; null: the study's own")

    @model_validator(mode="after")
    def _kind_exists(self) -> ReferenceSpec:
        if self.kind not in REFERENCES:
            raise ValueError(f"no reference '{self.kind}'; {did_you_mean(self.kind, REFERENCES)}")
        return self


class FigureSpec(Options):
    """A figure and what it is drawn from."""

    needs: tuple[str, ...] = Field(
        description="store, manifest, participants, checkpoint, samples, reconstructions, metrics, "
        "segmenters:RECIPE, or measure:MEASURE of every run that has it"
    )
    model: str | None = Field(None, description="model whose run it shows")
    models: tuple[str, ...] | None = Field(
        None,
        description="runs whose samples or metrics it shows, when it does not show one model; "
        "null: metrics of every model of the study",
    )
    caption: str


class TableSpec(Options):
    """A table and the measures its cells come from."""

    measures: tuple[str, ...]
    rows: Literal["study", "tuning"] = Field(
        "study", description="models and references, or the models that tuning tries"
    )
    models: tuple[str, ...] | None = Field(
        None, description="models whose search it shows; null: all that are searched"
    )
    scales: tuple[Scale, ...] | None = Field(
        None, description="scales at which it is made unasked; null: all"
    )
    caption: str


class Factors(Options):
    """Options that tuning multiplies together."""

    options: tuple[str, ...] = Field(min_length=1, description="numbers or lists of numbers")
    by: tuple[PositiveFloat, ...] = Field(min_length=1, description="1 is the model as it is")


class Tuning(Options):
    """A search of hyperparameters on the validation scans: every combination of factors."""

    models: tuple[str, ...] = Field(min_length=1, description="keys of `models`, each searched")
    factors: dict[str, Factors]


class Spec(Options):
    """A study as its `spec.yaml` states it."""

    title: str
    recipe_name: str
    recipe: Recipe
    visits: Literal["all", "first"] = Field(
        "all", description="first: of each person the first scan only; holds for all populations"
    )
    populations: dict[str, str | dict[str, Any] | None] = Field(
        description="{name: expression over the manifest's columns, or a share of a field}; null "
        "takes every scan"
    )
    further_recipes: dict[str, dict[str, dict[str, Any] | None]] = Field(
        {}, description="{name: {step: {option: value}}}: the same recipe with other values"
    )
    coarser_recipes: dict[str, Grid] = Field(
        {}, description="{name: grid}: the recipe's own volumes, resampled onto coarser grids"
    )
    models: dict[str, dict[str, Any]] = Field(
        {},
        description="{name: {architecture: ..., recipe: whose store it is trained on (default: the "
        "study's own), any option of it or of training}}",
    )
    references: dict[str, ReferenceSpec] = Field(
        {}, description="trivial references run beside the models; a list of kinds will do"
    )
    measures: dict[str, dict[str, Any]] = Field(
        {},
        description="{name: {recipe: only of runs on this one, runs: only of these, any option}}",
    )
    segmenter: dict[str, Any] = Field(
        {}, description="{option: value} of the network of the realistic atlas score"
    )
    tuning: Tuning | None = None
    tables: dict[str, TableSpec] = Field({})
    figures: dict[str, FigureSpec] = Field({})
    scales: dict[Scale, ScaleSpec]

    @model_validator(mode="before")
    @classmethod
    def _kinds_are_names(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("references"), list):
            return values | {"references": {kind: {"kind": kind} for kind in values["references"]}}
        return values

    @property
    def recipe_names(self) -> tuple[str, ...]:
        """Names of the recipes, the study's own first."""
        return (self.recipe_name, *self.further_recipes, *self.coarser_recipes)

    @model_validator(mode="after")
    def _recipes_exist(self) -> Spec:
        for name, entry in self.models.items():
            _expect(entry.get("recipe"), "recipe", self.recipe_names, f"models.{name}.recipe")
        for name, reference in self.references.items():
            _expect(reference.recipe, "recipe", self.recipe_names, f"references.{name}.recipe")
        for name, entry in self.measures.items():
            _expect(entry.get("recipe"), "recipe", self.recipe_names, f"measures.{name}.recipe")
        for scale, values in self.scales.items():
            for kind in ("further_recipes", "coarser_recipes"):
                for name in getattr(values, kind):
                    _expect(name, "recipe", getattr(self, kind), f"scales.{scale}.{kind}")
        return self

    @model_validator(mode="after")
    def _runs_exist(self) -> Spec:
        if both := self.models.keys() & self.references.keys():
            raise ValueError(f"model and reference of one name: {', '.join(sorted(both))}")
        runs = {*self.models, *self.references}
        for name, figure in self.figures.items():
            for run in filter(None, (figure.model, *(figure.models or ()))):
                _expect(run, "model", runs, f"figures.{name}")
        for name, entry in self.measures.items():
            for run in entry.get("runs", ()):
                _expect(run, "model", runs, f"measures.{name}.runs")
        for scale, values in self.scales.items():
            for name in values.models:
                _expect(name, "model", self.models, f"scales.{scale}.models")
            for name in values.measures:
                _expect(name, "measure", self.measures, f"scales.{scale}.measures")
        return self

    @model_validator(mode="after")
    def _tuned_options_exist(self) -> Spec:
        if self.tuning is None:
            return self
        for name, table in self.tables.items():
            for model in table.models or ():
                _expect(model, "model", self.tuning.models, f"tables.{name}.models")
        for model in self.tuning.models:
            _expect(model, "model", self.models, "tuning.models")
            own = options_class(self.models[model]["architecture"]).model_fields
            known = {*own, *TrainingOptions.model_fields}
            for name, axis in self.tuning.factors.items():
                for option in axis.options:
                    _expect(option, "option", known, f"tuning.factors.{name}")
        return self


def _expect(name: str | None, kind: str, known: Iterable[str], where: str) -> None:
    """Raise unless `name` is known; None stands for the default."""
    known = tuple(known)
    if name is not None and name not in known:
        raise ValueError(f"{where}: no {kind} '{name}'; {did_you_mean(name, known)}")
