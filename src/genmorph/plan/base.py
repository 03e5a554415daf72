"""The configuration and the studies it settles, which every other part of the plan looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genmorph.cohorts.reading import TRUE_LABELS, TRUTH
from genmorph.config import SCALES, Config, Labels, expand_variables
from genmorph.errors import ConfigError, did_you_mean
from genmorph.paths import Paths
from genmorph.provenance.record import project_folder
from genmorph.publish.notebooks import read_needs
from genmorph.studies import Study, recipe_names, resolve_study, study_names
from genmorph.validation import validate

POPULATION = "all"
NOTEBOOKS = project_folder() / "notebooks"


class Settled:
    """Studies, recipes and paths of one configuration.

    Parameters
    ----------
    values : mapping
        The merged configuration, as Snakemake or `load_config` has it.

    Raises
    ------
    ConfigError
        When a value is wrong.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.config = validate(Config, values, "config")
        self.paths = Paths(self.config.results)
        self.studies = {name: resolve_study(name, self.config) for name in self.config.studies}
        self._refuse_unknown_recipes()

    def study(self, name: str) -> Study:
        """A study by its name.

        Raises
        ------
        ConfigError
            When the configuration does not have it.
        """
        if name not in self.studies:
            hint = did_you_mean(name, self.studies)
            raise ConfigError(f"study {name} is not in this configuration; {hint}")
        return self.studies[name]

    def figure(self, study: str, figure: str) -> Any:
        """Specification of a figure."""
        return self.study(study).spec.figures[figure]

    @property
    def recipes(self) -> dict[str, dict[str, Any]]:
        """Recipes of the configured studies, by name."""
        rooms = self.studies.values()
        return {name: recipe for room in rooms for name, recipe in room.recipes.items()}

    @property
    def coarser_recipes(self) -> dict[str, str]:
        """Recipes that resample the volumes of another, with the name of the other."""
        return {
            name: room.spec.recipe_name
            for room in self.studies.values()
            for name in room.spec.coarser_recipes
        }

    @property
    def own_recipes(self) -> list[str]:
        """Recipes that start from the raw scans."""
        return [name for name in self.recipes if name not in self.coarser_recipes]

    def recipe(self, name: str) -> dict[str, Any]:
        """A recipe as JSON values.

        Raises
        ------
        ConfigError
            When no configured study has it.
        """
        if name in self.recipes:
            return self.recipes[name]
        for study in study_names():
            if name in recipe_names(study):
                raise ConfigError(
                    f"recipe '{name}' belongs to study {study}, which is not configured",
                    f"add `{study}: {{cohort: ...}}` to `studies:`",
                )
        raise ConfigError(f"unknown recipe '{name}'; {did_you_mean(name, self.recipes)}")

    def _refuse_unknown_recipes(self) -> None:
        for name in self.config.preprocessing.recipes:
            self.recipe(name)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds: those of the configuration, or of its scale."""
        return self.config.seeds or SCALES[self.config.scale].seeds

    @property
    def simulated(self) -> list[str]:
        """Cohorts that are made."""
        return [name for name, entry in self.config.cohorts.items() if entry.simulate]

    @property
    def real(self) -> list[str]:
        """Cohorts that are read from disk."""
        return [name for name in self.config.cohorts if name not in self.simulated]

    def labels(self, cohort: str) -> Labels:
        """Where a cohort's label maps lie: the user's, or those a made cohort brings along.

        Raises
        ------
        ConfigError
            When there are none.
        """
        entry = self.config.cohorts[cohort]
        if entry.labels is not None:
            return entry.labels
        if entry.simulate is not None:
            truth = str(self.config.cohort_root(cohort) / TRUTH)
            return Labels(
                path=truth,
                grouping="simulated",
                space="scan",
                file=TRUE_LABELS,
                names=f"{truth}/truth.tsv",
            )
        raise ConfigError(
            f"cohort {cohort}: the realistic atlas score needs labelled scans",
            f"set cohorts.{cohort}.labels: {{path: ..., grouping: freesurfer_aseg}}",
        )

    def label_folder(self, cohort: str) -> str:
        """Folder of a cohort's label maps."""
        return expand_variables(self.labels(cohort).path, f"cohorts.{cohort}.labels.path")

    def measure(self, study: str, measure: str) -> dict[str, Any]:
        """Options of one of a study's measures.

        Raises
        ------
        ConfigError
            When the study has none of that name.
        """
        measures = self.study(study).measures
        if measure not in measures:
            raise ConfigError(
                f"study {study}: no measure '{measure}'", did_you_mean(measure, measures)
            )
        return measures[measure]

    def measure_kind(self, study: str, measure: str) -> str:
        """Which measure an entry of a study is: the command that makes it."""
        return self.measure(study, measure)["kind"]

    def _figure_needs(self, study: str, figure: str) -> list[str]:
        """What a figure is drawn from, with a need of several runs once for each of them."""
        room, spec = self.study(study), self.figure(study, figure)
        needs = []
        for need in spec.needs:
            kind, _, own = need.partition(":")
            if kind == "measure":
                shown = {**room.models, **room.references}
                needs += [f"{need}:{run}" for run in room.measured_runs(own) if run in shown]
            elif kind == "metrics" or (kind == "samples" and spec.models is not None):
                needs += [f"{kind}:{run}" for run in spec.models or room.models]
            else:
                needs.append(need)
        return needs

    @property
    def notebook_names(self) -> list[str]:
        """Names of the notebooks on the studies of this configuration."""
        files = sorted(NOTEBOOKS.glob("*.ipynb"))
        return [file.stem for file in files if read_needs(file).study in self.studies]
