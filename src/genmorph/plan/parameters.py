"""Parameters and code of each command: what makes a job run again."""

from __future__ import annotations

import functools
from typing import Any

from genmorph.cohorts.ingest import LAYOUTS, typed_options
from genmorph.cohorts.simulate.trees import TREES
from genmorph.config import SCALES
from genmorph.controls.groups import module_of_group
from genmorph.files import canonical_json
from genmorph.metrics.options import MEASURES
from genmorph.metrics.tissue_volumes import TISSUES as TISSUES_TESTED
from genmorph.models import module_of
from genmorph.plan.base import NOTEBOOKS, POPULATION, Settled
from genmorph.preprocessing.anatomy import AnatomyOptions
from genmorph.preprocessing.engines import ENGINE_STEPS, ENGINES, Engines
from genmorph.preprocessing.engines.tissue import NonlinearRegistration, TissueSegmentation
from genmorph.provenance.code import code_hash
from genmorph.publish.notebooks import imported_modules, source_of
from genmorph.sampling import RECONSTRUCTIONS
from genmorph.studies import rooms_with

# of the seeds tried (docs/evaluation.md), one whose chance findings are not among the rare ones
CONTROLS_SEED = 1
# which scans a store of reconstructions holds
SPLIT_OF_STORE = {RECONSTRUCTIONS: "test", f"validation_{RECONSTRUCTIONS}": "validation"}


class Parameters(Settled):
    """Every value that decides what a command makes, and a hash of the code it runs."""

    def parameters(self, command: str, *names: str) -> dict[str, Any]:
        """Every value that decides what a command makes, as JSON values.

        Parameters
        ----------
        command : str
            Name of the command; of one in a group, such as `evaluate.mmd`, the group counts.
        *names : str
            What it works on, such as study and model.
        """
        return getattr(self, f"_{command.partition('.')[0]}")(*names)

    def json(self, command: str, *names: str) -> str:
        """`parameters` as one line of JSON, for a command line."""
        return canonical_json(self.parameters(command, *names))

    def code(self, command: str, *names: str) -> str:
        """Hash of the code that a command runs, with the modules it loads by name."""
        return _code_hash(f"genmorph.cli.{command}", *self.modules(command, *names))

    def modules(self, command: str, *names: str) -> tuple[str, ...]:
        """Modules that a command loads by name."""
        if (
            command in ("train", "sample", "reconstruct")
            and names[1] in self.study(names[0]).trained
        ):
            return (module_of(self.study(names[0]).trained[names[1]]["architecture"]),)
        if command in ("table", "figure"):
            own = (f"genmorph.studies.{names[0]}.{command}s",)
            if command == "figure" and "checkpoint" in self.figure(*names).needs:
                model = self.study(names[0]).models[self.figure(*names).model]
                own += (module_of(model["architecture"]),)
            return own
        if command == "preprocess":
            return tuple(self._engines.modules(ENGINE_STEPS))
        if command == "segment":
            return (ENGINES[self.config.tissues.engine],)
        if command == "simulate":
            return (TREES[self.config.cohorts[names[0]].layout],)
        if command == "ingest":
            return (LAYOUTS[self.config.cohorts[names[0]].layout],)
        if command == "controls":
            return tuple(module_of_group(group) for group in names)
        if command == "checks":
            return tuple(f"genmorph.studies.{name}.checks" for name in rooms_with("checks"))
        if command == "notebook":
            return imported_modules(NOTEBOOKS / f"{names[0]}.ipynb")
        return ()

    def _simulate(self, cohort: str) -> dict[str, Any]:
        entry = self.config.cohorts[cohort]
        scale = SCALES[self.config.scale]
        return {
            "cohort": cohort,
            "layout": entry.layout,
            "n": entry.simulate.n or scale.simulated_scans,
            "seed": entry.simulate.seed,
            "resolution_mm": entry.simulate.resolution_mm or scale.simulated_resolution_mm,
        }

    def _ingest(self, cohort: str) -> dict[str, Any]:
        entry = self.config.cohorts[cohort]
        return {
            "cohort": cohort,
            "layout": entry.layout,
            "options": typed_options(entry.layout, entry.options, f"cohorts.{cohort}.options"),
            "split_seed": entry.splits.seed,
            "shares": entry.splits.shares,
            "shard_size": self.config.preprocessing.shard_size
            or SCALES[self.config.scale].shard_size,
        }

    @property
    def _engines(self) -> Engines:
        wanted = self.config.preprocessing
        return Engines(wanted.engine, wanted.step_engines)

    def _flow(self, cohort: str) -> dict[str, Any]:
        return {"cohort": cohort}

    def _preprocess(self, recipe: str) -> dict[str, Any]:
        return {
            "recipe": recipe,
            "engine": self._engines.default,
            "step_engines": dict(self._engines.steps),
            **self.recipe(recipe),
        }

    def _index(self, recipe: str) -> dict[str, Any]:
        return {
            **self._preprocess(recipe),
            "max_failure_fraction": self.config.preprocessing.max_failure_fraction,
            "allow_mixed_engines": self.config.preprocessing.allow_mixed_engines,
        }

    def _resample(self, recipe: str) -> dict[str, Any]:
        finer = self.coarser_recipes[recipe]
        return {
            "recipe": recipe,
            "from": {"recipe": finer, **self.recipe(finer)},
            **self.recipe(recipe),
        }

    def _quality(self, cohort: str, recipe: str) -> dict[str, Any]:
        return {"cohort": cohort, "recipe": recipe, "seed": 0}

    def _train(self, study: str, model: str) -> dict[str, Any]:
        room = self.study(study)
        return {
            "study": study,
            "model": model,
            "population": room.populations[POPULATION],
            "template_scan": room.template_scan,
            "precision": self.config.compute.precision,
            "device": self.config.compute.device,
            "devices": self.config.compute.devices,
            "numerical_threads": self.config.compute.training_threads,
            **room.trained[model],
        }

    def _sample(self, study: str, model: str) -> dict[str, Any]:
        room = self.study(study)
        return {**self._run(study, model), "n": room.samples}

    def _reconstruct(self, study: str, model: str, store: str) -> dict[str, Any]:
        return {**self._run(study, model), "split": SPLIT_OF_STORE[store]}

    def _run(self, study: str, model: str) -> dict[str, Any]:
        room = self.study(study)
        parameters = {
            "study": study,
            "model": model,
            "population": room.populations[POPULATION],
            "numerical_threads": self.config.compute.threads,
        }
        if model in room.trained:
            parameters["device"] = self.config.compute.device
        else:  # a trained model carries its template
            parameters["reference"] = room.references[model]
            parameters["template_scan"] = room.template_scan
        return parameters

    def _evaluate(self, study: str, measure: str) -> dict[str, Any]:
        room = self.study(study)
        options = room.measures[measure]
        if "extractor" in options:
            options = {**options, "extractor": self.config.features.extractor}
        if options.get("comparisons", 0) is None:  # as many as the study's table has tests
            options = {**options, "comparisons": len(TISSUES_TESTED) * len(room.models)}
        return {
            "study": study,
            "measure": measure,
            "population": room.populations[POPULATION],
            "numerical_threads": self.config.compute.threads,
            **options,
        }

    def _segment(self, split: str | None = None) -> dict[str, Any]:
        wanted = self.config.tissues
        atlas = wanted.deep_gray_atlas
        options = AnatomyOptions(
            engine=wanted.engine,
            segmentation=TissueSegmentation(
                registration=NonlinearRegistration(working_mm=wanted.working_mm)
            ),
        )
        return {
            **options.model_dump(mode="json"),
            "atlas": atlas and atlas.model_dump(mode="json", exclude={"path"}),
            "split": split,
        }

    def _segmenter(self, cohort: str, recipe: str) -> dict[str, Any]:
        self.labels(cohort)
        room = next(room for room in self.studies.values() if recipe in room.recipes)
        return {
            "numerical_threads": self.config.compute.training_threads,
            **room.segmenters[recipe],
        }

    def _table(self, study: str, table: str) -> dict[str, Any]:
        spec = self.study(study).spec.tables[table]
        return {
            "study": study,
            "table": table,
            "scale": self.config.scale,
            "caption": spec.caption,
            # a paper's table has rows of its own
            "rows": None if spec.rows == "study" else self._tried(study, table),
            "grids": {run: how["grid"] for run, how in self._runs(study).items()},
            "absent": self._absent(study, table),
        }

    def _absent(self, study: str, table: str) -> list[str]:
        """What a reader must know of measures that the study's cohort does not allow."""
        room = self.study(study)
        kinds = {room.measures[name]["kind"] for name in room.spec.tables[table].measures}
        if room.labelled or not any(MEASURES[kind].of_labels for kind in kinds):
            return []
        return [
            f"Realistic atlas score: n/a, as cohort {room.cohort} has no label maps "
            f"(cohorts.{room.cohort}.labels)."
        ]

    def _tried(self, study: str, table: str) -> list[str]:
        """Runs of the search that a table shows."""
        room = self.study(study)
        models = room.spec.tables[table].models
        return [
            name for name, model in room.variant_of.items() if models is None or model in models
        ]

    def _runs(self, study: str) -> dict[str, dict[str, Any]]:
        """Recipe and grid of each run."""
        room = self.study(study)
        return {
            run: {"recipe": room.recipe_of[run], "grid": list(room.grid_of(run))}
            for run in room.runs
        }

    def _figure(self, study: str, figure: str) -> dict[str, Any]:
        return {
            "study": study,
            "figure": figure,
            "scale": self.config.scale,
            "seed": self.seeds[0],
            "numerical_threads": self.config.compute.threads,
            "population": self.study(study).populations[POPULATION],
            **self.figure(study, figure).model_dump(mode="json", exclude={"models"}),
            "needs": self._figure_needs(study, figure),
            "models": list(self.figure(study, figure).models or self.study(study).models),
            "runs": self._runs(study),
        }

    def _checks(self) -> dict[str, Any]:
        return {"studies": rooms_with("checks")}

    def _controls(self, *group: str) -> dict[str, Any]:
        return {"group": group[0], "seed": CONTROLS_SEED} if group else {}

    def _notebook(self, notebook: str) -> dict[str, Any]:
        return source_of(NOTEBOOKS / f"{notebook}.ipynb")


@functools.cache
def _code_hash(*entries: str) -> str:
    return code_hash(*entries)
