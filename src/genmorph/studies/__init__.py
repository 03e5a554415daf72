"""One room per paper: its specification, the numbers it reports, its tables and figures.

A room holds `spec.yaml` (models, hyperparameters per scale, measures), `reported.csv` (every number
of the paper's tables) and `tables.py`, `figures.py` (their shape). This file loads a specification,
lays the scale's and the user's values over it, and types the result through the model registry.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from genmorph.cohorts.populations import population_of
from genmorph.config import Config, merge
from genmorph.errors import ConfigError, did_you_mean
from genmorph.metrics.options import MEASURES, measure_options
from genmorph.models import ARCHITECTURES, options_class
from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
from genmorph.sampling import REFERENCES
from genmorph.studies.spec import ScaleSpec, Spec, Tuning
from genmorph.training.options import TrainingOptions
from genmorph.validation import Options, validate

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Study:
    """A specification resolved for one configuration.

    Attributes
    ----------
    name : str
    spec : Spec
    cohort : str
        Cohort in the study's role.
    labelled : bool
        Whether the cohort has label maps; without them nothing has an atlas score.
    recipes : dict
        `{name: recipe}` on the scale's grids, as JSON values; the study's own first.
    samples : int or None
    models : dict
        `{model: parameters}` with `architecture`, `options` and `training` in full.
    references : dict
        `{run: kind}` of trivial references.
    recipe_of : dict
        `{run: recipe}` of models, variants and references: the store a run works on.
    variants : dict
        The same for the models that tuning tries, the untouched ones among them.
    variant_of : dict
        `{variant: model}`.
    populations : dict
        `{name: rule}` in full, as JSON values (`genmorph.cohorts.populations`).
    measures : dict
        `{name: options}` in full, as JSON values (`genmorph.metrics.options`).
    segmenters : dict
        `{recipe: options}` of the networks of the realistic atlas score, in full, as JSON values.
    template_scan : str or None
    """

    name: str
    spec: Spec
    cohort: str
    labelled: bool
    recipes: dict[str, dict[str, Any]]
    samples: int | None
    models: dict[str, dict[str, Any]]
    references: dict[str, str]
    recipe_of: dict[str, str]
    variants: dict[str, dict[str, Any]]
    variant_of: dict[str, str]
    populations: dict[str, dict[str, Any]]
    measures: dict[str, dict[str, Any]]
    segmenters: dict[str, dict[str, Any]]
    template_scan: str | None

    @property
    def trained(self) -> dict[str, dict[str, Any]]:
        """Models and variants."""
        return {**self.models, **self.variants}

    @property
    def runs(self) -> tuple[str, ...]:
        """Models, variants and references."""
        return (*self.trained, *self.references)

    def grid_of(self, run: str) -> tuple[int, int, int]:
        """Voxels of the volumes of a run."""
        steps = self.recipes[self.recipe_of[run]]["steps"]
        return tuple(next(step["grid"] for step in steps if step["step"] == "resample"))

    def measured_runs(self, measure: str) -> tuple[str, ...]:
        """Models, variants and references that a measure is taken of."""
        entry = self.spec.measures[measure]
        wanted, recipe = entry.get("runs", self.runs), entry.get("recipe")
        return tuple(
            run
            for run in self.runs
            if run in wanted
            and recipe in (None, self.recipe_of[run])
            and self._can_be_measured(run, measure)
        )

    def _can_be_measured(self, run: str, measure: str) -> bool:
        """Whether a run has what a measure looks at: a store, or a model of its architecture."""
        kind = MEASURES[self.measures[measure]["kind"]]
        if kind.of_labels and not self.labelled:
            return False
        architecture = kind.of_model
        if run in self.trained:
            return architecture in (None, self.trained[run]["architecture"])
        store = self.measures[measure]["store"]
        return architecture is None and store in REFERENCES[self.references[run]]


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
    entries = {
        model: merge(merge(values, scale.models.get(model, {})), overrides.get(model, {}))
        for model, values in spec.models.items()
    }
    models = {
        model: model_parameters(
            {key: value for key, value in entry.items() if key != "recipe"},
            f"overrides.{name}.{model}" if model in overrides else f"{name}.{model}",
        )
        for model, entry in entries.items()
    }
    variants = _variants(spec.tuning, models)
    recipes = _recipes(spec, scale, config)
    recipe_of = {
        **{model: entry.get("recipe") for model, entry in entries.items()},
        **{run: reference.recipe for run, reference in spec.references.items()},
    }
    recipe_of |= {variant: recipe_of[model] for variant, (model, _) in variants.items()}
    for run, recipe in recipe_of.items():
        if recipe is not None and recipe not in recipes:
            hint = did_you_mean(recipe, recipes)
            raise ConfigError(f"overrides.{name}.{run}.recipe: no recipe '{recipe}'; {hint}")
    roles = config.studies[name]
    return Study(
        name=name,
        spec=spec,
        cohort=roles.cohort,
        labelled=config.cohorts[roles.cohort].labelled,
        recipes=recipes,
        samples=scale.samples,
        models=models,
        references={run: reference.kind for run, reference in spec.references.items()},
        recipe_of={run: recipe or spec.recipe_name for run, recipe in recipe_of.items()},
        variants={variant: parameters for variant, (_, parameters) in variants.items()},
        variant_of={variant: model for variant, (model, _) in variants.items()},
        populations=_populations(spec, roles.populations, name),
        measures=_measures(spec, scale, name),
        segmenters=_segmenters(spec, scale, roles.segmenters, recipes, name),
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


# of a measure's entry: which runs it is taken of, not how
RUNS_OF_MEASURE = ("recipe", "runs")


def _measures(spec: Spec, scale: ScaleSpec, study: str) -> dict[str, dict[str, Any]]:
    measures = {}
    for name, values in spec.measures.items():
        options = merge(values, scale.measures.get(name, {}))
        own = {key: value for key, value in options.items() if key not in RUNS_OF_MEASURE}
        measures[name] = measure_options(name, own, f"{study}.measures.{name}").model_dump(
            mode="json"
        )
    return measures


def _segmenters(
    spec: Spec,
    scale: ScaleSpec,
    own: Mapping[str, dict[str, Any]],
    recipes: Collection[str],
    study: str,
) -> dict[str, dict[str, Any]]:
    """Options of the slice segmenter by recipe: the user's over the scale's over the room's."""
    for name in own:
        if name not in recipes:
            hint = did_you_mean(name, recipes)
            raise ConfigError(f"studies.{study}.segmenters: no recipe '{name}'; {hint}")
    common = merge(spec.segmenter, scale.segmenter)
    segmenters = {}
    for name in recipes:
        values = merge(merge(common, scale.segmenters.get(name, {})), own.get(name, {}))
        options = validate(SliceSegmenterOptions, values, f"studies.{study}.segmenters.{name}")
        # as many labels as the cohort's grouping has
        segmenters[name] = options.model_dump(mode="json", exclude={"n_labels"})
    return segmenters


def recipe_names(name: str) -> tuple[str, ...]:
    """Names of a room's recipes, its own first."""
    return load_spec(name).recipe_names


def _recipes(spec: Spec, scale: ScaleSpec, config: Config) -> dict[str, dict[str, Any]]:
    """Every recipe of a study: the scale's values over the room's, the user's over both."""
    own = spec.recipe.altered(merge(scale.recipe, {"resample": {"grid": scale.grid}}))
    recipes = {spec.recipe_name: own}
    for name, changes in spec.further_recipes.items():
        recipes[name] = own.altered(merge(changes, scale.further_recipes.get(name, {})))
    wanted = config.preprocessing.recipes
    recipes = {name: recipe.altered(wanted.get(name, {})) for name, recipe in recipes.items()}
    for name, grid in {**spec.coarser_recipes, **scale.coarser_recipes}.items():
        if name in wanted:
            raise ConfigError(
                f"preprocessing.recipes.{name}: its volumes are those of {spec.recipe_name} on a "
                "coarser grid",
                f"change preprocessing.recipes.{spec.recipe_name}",
            )
        recipes[name] = recipes[spec.recipe_name].altered({"resample": {"grid": grid}})
    return {name: recipe.model_dump(mode="json") for name, recipe in recipes.items()}


def _variants(
    tuning: Tuning | None, models: Mapping[str, dict[str, Any]]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """The models of a search by name, such as `m3ae-beta_x0.5-gamma_x2`: model and parameters."""
    if tuning is None:
        return {}
    variants = {}
    axes = [[(name, factor) for factor in axis.by] for name, axis in tuning.factors.items()]
    for model, chosen in itertools.product(tuning.models, itertools.product(*axes)):
        changed = [(name, factor) for name, factor in chosen if factor != 1]
        parameters = copy.deepcopy(models[model])
        for name, factor in changed:
            for option in tuning.factors[name].options:
                part = "options" if option in parameters["options"] else "training"
                value = parameters[part][option]
                scaled = [factor * one for one in value] if isinstance(value, list) else None
                parameters[part][option] = factor * value if scaled is None else scaled
        variant = "-".join([model, *(f"{name}_x{factor:g}" for name, factor in changed)])
        variants[variant] = (model, parameters)
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
