"""One room per paper: its specification, the numbers it reports, its tables and figures.

A room holds `spec.yaml` (models, hyperparameters per scale, measures), `reported.csv` (every number
of the paper's tables) and `tables.py`, `figures.py` (their shape). This file loads a specification,
lays the scale's and the user's values over it, and types the result through the model registry.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, PositiveFloat, model_validator

from genmorph.cohorts.populations import population_of
from genmorph.config import Config, Scale, merge
from genmorph.errors import ConfigError, did_you_mean
from genmorph.metrics.options import measure_options
from genmorph.models import ARCHITECTURES, options_class
from genmorph.preprocessing.steps import Recipe
from genmorph.training.options import TrainingOptions
from genmorph.validation import Options, validate

FOLDER = Path(__file__).parent


class ScaleSpec(Options):
    """What a scale changes in a study."""

    grid: tuple[int, int, int] = Field(description="voxels of a preprocessed volume")
    recipe: dict[str, dict[str, Any] | None] = Field({}, description="{step: {option: value}}")
    further_recipes: dict[str, dict[str, dict[str, Any] | None]] = Field(
        {}, description="{recipe: {step: {option: value}}}"
    )
    samples: int | None = Field(None, description="volumes to sample; null: as many as test scans")
    models: dict[str, dict[str, Any]] = Field({}, description="{model: {key: value}}")


class FigureSpec(Options):
    """A figure and what it is drawn from."""

    needs: tuple[str, ...] = Field(
        description="store, manifest, participants, checkpoint, samples, reconstructions or metrics"
    )
    model: str | None = Field(None, description="model whose run it shows")
    models: tuple[str, ...] | None = Field(
        None, description="models whose metrics it shows; null: every model of the study"
    )
    caption: str


class TableSpec(Options):
    """A table and the measures its cells come from."""

    measures: tuple[str, ...]
    rows: Literal["study", "tuning"] = Field(
        "study", description="models and references, or the models that tuning tries"
    )
    caption: str


class Factors(Options):
    """Options that tuning multiplies together."""

    options: tuple[str, ...] = Field(min_length=1, description="numbers or lists of numbers")
    by: tuple[PositiveFloat, ...] = Field(min_length=1, description="1 is the model as it is")


class Tuning(Options):
    """A search of hyperparameters on the validation scans: every combination of factors."""

    model: str = Field(description="a key of `models`")
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
    models: dict[str, dict[str, Any]] = Field(
        {}, description="{name: {architecture: ..., any option of it or of training}}"
    )
    references: tuple[str, ...] = Field((), description="trivial references run beside the models")
    measures: dict[str, dict[str, Any]] = Field({})
    tuning: Tuning | None = None
    tables: dict[str, TableSpec] = Field({})
    figures: dict[str, FigureSpec] = Field({})
    scales: dict[Scale, ScaleSpec]

    @model_validator(mode="after")
    def _scales_name_recipes(self) -> Spec:
        for scale, values in self.scales.items():
            for name in values.further_recipes:
                if name not in self.further_recipes:
                    known = did_you_mean(name, self.further_recipes)
                    raise ValueError(f"scales.{scale}.further_recipes: no recipe '{name}'; {known}")
        return self

    @model_validator(mode="after")
    def _tuned_options_exist(self) -> Spec:
        if self.tuning is None:
            return self
        if self.tuning.model not in self.models:
            raise ValueError(f"tuning.model: {did_you_mean(self.tuning.model, self.models)}")
        known = options_class(self.models[self.tuning.model]["architecture"]).model_fields
        for name, axis in self.tuning.factors.items():
            for option in axis.options:
                if option not in known:
                    raise ValueError(f"tuning.factors.{name}: {did_you_mean(option, known)}")
        return self

    @model_validator(mode="after")
    def _figures_show_runs_of_the_study(self) -> Spec:
        for name, figure in self.figures.items():
            for run in filter(None, (figure.model, *(figure.models or ()))):
                if run not in {*self.models, *self.references}:
                    known = did_you_mean(run, {*self.models, *self.references})
                    raise ValueError(f"figures.{name}: no model '{run}'; {known}")
        return self


@dataclass(frozen=True)
class Study:
    """A specification resolved for one configuration.

    Attributes
    ----------
    name : str
    spec : Spec
    cohort : str
        Cohort in the study's role.
    recipes : dict
        `{name: recipe}` on the scale's grids, as JSON values; the study's own first.
    grid : tuple of int
    samples : int or None
    models : dict
        `{model: parameters}` with `architecture`, `options` and `training` in full.
    variants : dict
        The same for the models that tuning tries, the untouched one among them.
    populations : dict
        `{name: rule}` in full, as JSON values (`genmorph.cohorts.populations`).
    measures : dict
        `{name: options}` in full, as JSON values (`genmorph.metrics.options`).
    template_scan : str or None
    """

    name: str
    spec: Spec
    cohort: str
    recipes: dict[str, dict[str, Any]]
    grid: tuple[int, int, int]
    samples: int | None
    models: dict[str, dict[str, Any]]
    variants: dict[str, dict[str, Any]]
    populations: dict[str, dict[str, Any]]
    measures: dict[str, dict[str, Any]]
    template_scan: str | None

    @property
    def trained(self) -> dict[str, dict[str, Any]]:
        """Models and variants."""
        return {**self.models, **self.variants}


def study_names() -> list[str]:
    """Names of the rooms."""
    return sorted(path.parent.name for path in FOLDER.glob("*/spec.yaml"))


def rooms_with(module: str) -> list[str]:
    """Names of the rooms that hold a module which not every room has, such as `checks`."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{module}.py"))


@functools.cache
def load_spec(name: str) -> Spec:
    """Read and type a study's `spec.yaml`.

    Raises
    ------
    ConfigError
        When there is no such study, or its specification is wrong.
    """
    if name not in study_names():
        raise ConfigError(f"studies: unknown study '{name}'; {did_you_mean(name, study_names())}")
    path = FOLDER / name / "spec.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return validate(Spec, values, f"studies/{name}/spec.yaml")


def resolve_study(name: str, config: Config) -> Study:
    """Lay the configuration's scale and overrides over a study's specification.

    Raises
    ------
    ConfigError
        When an override names an unknown model or key, or its value has the wrong type.
    """
    spec = load_spec(name)
    if config.scale not in spec.scales:
        known = did_you_mean(config.scale, spec.scales)
        raise ConfigError(f"scale: study {name} has no '{config.scale}'; {known}")
    scale = spec.scales[config.scale]
    overrides = config.overrides.get(name, {})
    for model in overrides:
        if model not in spec.models:
            hint = did_you_mean(model, spec.models)
            raise ConfigError(f"overrides.{name}: unknown model '{model}'; {hint}")
    models = {
        model: model_parameters(
            merge(merge(values, scale.models.get(model, {})), overrides.get(model, {})),
            f"overrides.{name}.{model}" if model in overrides else f"{name}.{model}",
        )
        for model, values in spec.models.items()
    }
    roles = config.studies[name]
    return Study(
        name=name,
        spec=spec,
        cohort=roles.cohort,
        recipes=_recipes(spec, scale, config),
        grid=scale.grid,
        samples=scale.samples,
        models=models,
        variants=_variants(spec.tuning, models),
        populations=_populations(spec, roles.populations, name),
        measures=_measures(spec, name),
        template_scan=roles.template_scan,
    )


def _populations(spec: Spec, own: Mapping[str, Any], study: str) -> dict[str, dict[str, Any]]:
    """Rules of the specification and the user's over them, under the study's visit rule."""
    rules = {
        name: population_of(value, f"studies.{study}.populations.{name}")
        for name, value in {**spec.populations, **own}.items()
    }
    return {
        name: rule.model_copy(update={"visits": spec.visits}).model_dump(mode="json")
        for name, rule in rules.items()
    }


def _measures(spec: Spec, study: str) -> dict[str, dict[str, Any]]:
    return {
        name: measure_options(name, values, f"{study}.measures.{name}").model_dump(mode="json")
        for name, values in spec.measures.items()
    }


def recipe_names(name: str) -> list[str]:
    """Names of a room's recipes, its own first."""
    spec = load_spec(name)
    return [spec.recipe_name, *spec.further_recipes]


def _recipes(spec: Spec, scale: ScaleSpec, config: Config) -> dict[str, dict[str, Any]]:
    """Every recipe of a study: the scale's values over the room's, the user's over both."""
    own = spec.recipe.altered(merge(scale.recipe, {"resample": {"grid": scale.grid}}))
    recipes = {spec.recipe_name: own}
    for name, changes in spec.further_recipes.items():
        recipes[name] = own.altered(merge(changes, scale.further_recipes.get(name, {})))
    wanted = config.preprocessing.recipes
    return {
        name: recipe.altered(wanted.get(name, {})).model_dump(mode="json")
        for name, recipe in recipes.items()
    }


def _variants(
    tuning: Tuning | None, models: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The models of a search, by name: `m3ae-beta_x0.5-gamma_x2`."""
    if tuning is None:
        return {}
    variants = {}
    axes = [[(name, factor) for factor in axis.by] for name, axis in tuning.factors.items()]
    for chosen in itertools.product(*axes):
        changed = [(name, factor) for name, factor in chosen if factor != 1]
        parameters = copy.deepcopy(models[tuning.model])
        for name, factor in changed:
            for option in tuning.factors[name].options:
                value = parameters["options"][option]
                scaled = [factor * one for one in value] if isinstance(value, list) else None
                parameters["options"][option] = factor * value if scaled is None else scaled
        variant = "-".join([tuning.model, *(f"{name}_x{factor:g}" for name, factor in changed)])
        variants[variant] = parameters
    return variants


def model_parameters(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Sort a flat entry of `models:` into architecture, model options and training options.

    Returns
    -------
    dict
        JSON values: `architecture`, `options` (of the model, in full), `training` (in full).
    """
    values = dict(values)
    architecture = values.pop("architecture", None)
    if architecture not in ARCHITECTURES:
        hint = did_you_mean(str(architecture), ARCHITECTURES)
        raise ConfigError(f"{where}.architecture: no '{architecture}'; {hint}")
    model_class = options_class(architecture)
    for key in values:
        allowed = {*model_class.model_fields, *TrainingOptions.model_fields}
        if key not in allowed:
            raise ConfigError(f"{where}: unknown key '{key}'; {did_you_mean(key, allowed)}")

    def typed(options: type[Options]) -> dict[str, Any]:
        own = {key: value for key, value in values.items() if key in options.model_fields}
        return validate(options, own, where).model_dump(mode="json")

    return {
        "architecture": architecture,
        "options": typed(model_class),
        "training": typed(TrainingOptions),
    }
