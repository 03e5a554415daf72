"""What the Snakefile asks: parameters and code of each command, inputs across shards, targets.

The rules stay declarative: every question they have is a method here, and none of it knows
Snakemake. `Plan` is made once from the configuration, when the workflow is read.
"""

from __future__ import annotations

import fcntl
import functools
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from genmorph.cohorts.ingest import LAYOUTS, listing_digest, typed_options
from genmorph.cohorts.manifest import Scan, of_shard, read_manifest, rows_digest, shards
from genmorph.cohorts.simulate.trees import TREES
from genmorph.config import SCALES, Config, expand_variables
from genmorph.controls.groups import GROUPS, module_of_group
from genmorph.errors import BusyError, ConfigError, did_you_mean
from genmorph.files import atomic_path, canonical_json
from genmorph.metrics.options import MEASURES
from genmorph.metrics.tissue_volumes import TISSUES as TISSUES_TESTED
from genmorph.models import module_of
from genmorph.paths import Paths
from genmorph.preprocessing.anatomy import AnatomyOptions
from genmorph.preprocessing.engines import ENGINE_STEPS, ENGINES, Engines
from genmorph.preprocessing.engines.tissue import NonlinearRegistration, TissueSegmentation
from genmorph.provenance.code import code_hash
from genmorph.provenance.record import project_folder
from genmorph.publish.notebooks import imported_modules, read_needs, source_of
from genmorph.sampling import RECONSTRUCTIONS, REFERENCES
from genmorph.splits import SPLITS
from genmorph.studies import Study, recipe_names, resolve_study, rooms_with, study_names
from genmorph.validation import validate

POPULATION = "all"
CONTROLS_SEED = 0
NO_NAME = "(?!)"
# which scans a store of reconstructions holds
SPLIT_OF_STORE = {RECONSTRUCTIONS: "test", f"validation_{RECONSTRUCTIONS}": "validation"}
NOTEBOOKS = project_folder() / "notebooks"
# what figures and notebooks can ask for, and the name of its path
NEEDS = {
    "store": "index",
    "status": "status",
    "manifest": "manifest",
    "participants": "participants",
    "checkpoint": "checkpoint",
    "metrics": "training_metrics",
    "samples": "samples",
    "reconstructions": "reconstructions",
    "table": "table",
}


class Plan:
    """The study as this configuration wants it.

    Parameters
    ----------
    values : mapping
        The merged configuration, as Snakemake or `load_config` has it.

    Raises
    ------
    ConfigError
        When a value is wrong, or the results root belongs to another configuration.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.config = validate(Config, values, "config")
        self.paths = Paths(self.config.results)
        self.studies = {name: resolve_study(name, self.config) for name in self.config.studies}
        self._refuse_unknown_recipes()
        self._refuse_foreign_root()

    # -- parameters and code: what makes a job run again -------------------------------------

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

    def _table(self, study: str, table: str) -> dict[str, Any]:
        spec = self.study(study).spec.tables[table]
        return {
            "study": study,
            "table": table,
            "scale": self.config.scale,
            "caption": spec.caption,
            # a paper's table has rows of its own
            "rows": None if spec.rows == "study" else list(self.study(study).variants),
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
        }

    def _checks(self) -> dict[str, Any]:
        return {"studies": rooms_with("checks")}

    def _segmenter(self, cohort: str) -> dict[str, Any]:
        self.label_folder(cohort)
        return {"grouping": self.config.cohorts[cohort].labels.grouping}

    def _controls(self, *group: str) -> dict[str, Any]:
        return {"group": group[0], "seed": CONTROLS_SEED} if group else {}

    def _figure_needs(self, study: str, figure: str) -> list[str]:
        """What a figure is drawn from, `metrics` once for each of its models."""
        room, spec = self.study(study), self.figure(study, figure)
        of_models = [f"metrics:{model}" for model in spec.models or room.models]
        return [
            name for need in spec.needs for name in (of_models if need == "metrics" else [need])
        ]

    def _notebook(self, notebook: str) -> dict[str, Any]:
        return source_of(NOTEBOOKS / f"{notebook}.ipynb")

    # -- the graph ------------------------------------------------------------------------------

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds: those of the configuration, or of its scale."""
        return self.config.seeds or SCALES[self.config.scale].seeds

    @property
    def models(self) -> list[str]:
        """Names of all trained models."""
        return sorted({model for room in self.studies.values() for model in room.trained})

    @property
    def runs(self) -> list[str]:
        """Names of all runs: trained models and trivial references."""
        references = {name for room in self.studies.values() for name in room.spec.references}
        return sorted({*self.models, *references})

    @property
    def wildcards(self) -> dict[str, str]:
        """What the words of paths may be, as regular expressions."""
        return {
            "cohort": "|".join(self.config.cohorts),
            "recipe": "[a-z0-9_]+",
            "shard": r"\d{4}",
            "study": "|".join(self.studies),
            "model": "|".join(map(re.escape, self.runs)),
            "population": "[A-Za-z0-9_]+",
            "seed": r"\d+",
            "reconstructed": "(validation_)?reconstructions",
            "measure": "[a-z_]+",
            "group": "|".join(GROUPS),
            "segmented": "samples|(validation_)?reconstructions",
            "split": "|".join(SPLITS),
            "table": "[a-z0-9_]+",
            "figure": "[a-z0-9_]+",
            "notebook": "[a-z0-9_]+",
        }

    @property
    def gpu_resources(self) -> dict[str, Any]:
        """What a rule that trains or samples asks of the scheduler; nothing on CPU."""
        compute = self.config.compute
        if compute.device != "cuda":
            return {}
        model = {"gpu_model": compute.gpu_model} if compute.gpu_model else {}
        return {"gpu": compute.devices, **model}

    def measure_names(self, kind: str | None = None) -> str:
        """Pattern of the names of measures of a kind, or of those without a rule of their own."""
        names = {
            name
            for study, room in self.studies.items()
            for name in room.measures
            if self.measure_kind(study, name) == kind
            or (kind is None and not MEASURES[self.measure_kind(study, name)].own_rule)
        }
        return "|".join(sorted(map(re.escape, names))) or NO_NAME

    def measure_weights(self, study: str, measure: str) -> list[str]:
        """The user's file of feature weights, for a measure that looks at features."""
        weights = self.config.features.inception_weights
        if weights is None or "extractor" not in self.study(study).measures[measure]:
            return []
        return [expand_variables(weights, "features.inception_weights")]

    def simulation(self, cohort: str) -> str:
        """Arguments of `genmorph simulate` for a cohort."""
        values = self.parameters("simulate", cohort)
        return (
            f"--cohort {cohort} --layout {values['layout']} --n {values['n']} "
            f"--seed {values['seed']} --resolution {values['resolution_mm']}"
        )

    def store_index(self, study: str) -> str:
        """Index of the preprocessed store a study works on."""
        room = self.study(study)
        return str(self.paths.fill("index", cohort=room.cohort, recipe=room.spec.recipe_name))

    def cohort_file(self, name: str, study: str) -> str:
        """A file of the study's cohort: its `manifest` or its `participants`."""
        return str(self.paths.fill(name, cohort=self.study(study).cohort))

    def checkpoint(self, study: str, model: str, seed: str) -> list[str]:
        """A model's checkpoint; a trivial reference has none."""
        if model not in self.study(study).trained:
            return []
        return [str(self.paths.fill("checkpoint", **self.run_words(study, model, int(seed))))]

    def measure_kind(self, study: str, measure: str) -> str:
        """Which measure an entry of a study is: the command that makes it."""
        return self.study(study).measures[measure]["kind"]

    def measured(self, study: str, model: str, seed: str, measure: str) -> str:
        """What a measure looks at: index of the run's store, or the table of its tissues."""
        store = self.study(study).measures[measure]["store"]
        words = self.run_words(study, model, int(seed))
        if self._of_tissues(study, measure):
            return str(self.paths.fill("run_tissues", segmented=store, **words))
        return str(self.paths.fill(store, **words) / "index.tsv")

    def measured_against(self, study: str, measure: str) -> str:
        """The real side of a measure: index of the store, or the table of a split's tissues."""
        if not self._of_tissues(study, measure):
            return self.store_index(study)
        room = self.study(study)
        return str(
            self.paths.fill(
                "real_tissues",
                cohort=room.cohort,
                recipe=room.spec.recipe_name,
                split=room.measures[measure]["split"],
            )
        )

    def segmenters(self, study: str) -> str:
        """The networks of the realistic atlas score, trained on the study's cohort."""
        room = self.study(study)
        return str(self.paths.fill("segmenters", cohort=room.cohort, recipe=room.spec.recipe_name))

    def label_folder(self, cohort: str) -> str:
        """The user's label maps of a cohort.

        Raises
        ------
        ConfigError
            When none are configured.
        """
        labels = self.config.cohorts[cohort].labels
        if labels is None:
            raise ConfigError(
                f"cohort {cohort}: the realistic atlas score needs labelled scans",
                f"set cohorts.{cohort}.labels: {{path: ..., grouping: freesurfer_aseg}}",
            )
        return str(expand_variables(labels.path, f"cohorts.{cohort}.labels.path"))

    def manual_labels(self, study: str, measure: str) -> str:
        """Arguments of the atlas score for labels that people or FreeSurfer made."""
        room = self.study(study)
        if room.measures[measure]["real_labels"] != "manual":
            return ""
        grouping = self._segmenter(room.cohort)["grouping"]
        return f"--labels {shlex.quote(self.label_folder(room.cohort))} --grouping {grouping}"

    def _of_tissues(self, study: str, measure: str) -> bool:
        return MEASURES[self.measure_kind(study, measure)].of_tissues

    @property
    def deep_gray_atlas(self) -> list[str]:
        """The user's atlas of deep gray matter, if one is configured."""
        atlas = self.config.tissues.deep_gray_atlas
        return [expand_variables(atlas.path, "tissues.deep_gray_atlas.path")] if atlas else []

    def figure_modules(self, study: str, figure: str) -> str:
        """Arguments that name the modules a figure loads besides its own room."""
        others = self.modules("figure", study, figure)[1:]
        return " ".join(f"--module {name}" for name in others)

    @property
    def simulated(self) -> list[str]:
        """Cohorts that are made."""
        return [name for name, entry in self.config.cohorts.items() if entry.simulate]

    @property
    def real(self) -> list[str]:
        """Cohorts that are read from disk."""
        return [name for name in self.config.cohorts if name not in self.simulated]

    def raw_listing(self, cohort: str) -> str:
        """Changes when scans come to a real cohort's folder or go from it."""
        if cohort in self.simulated:
            return "simulated"
        return listing_digest(
            self.config.cohort_root(cohort),
            self.config.cohort_path(cohort, "tables"),
            self.config.cohort_path(cohort, "withdrawn"),
        )

    def cohort_arguments(self, cohort: str) -> str:
        """Arguments that name a cohort's raw tree and the files that go with it."""
        places = {
            "root": self.config.cohort_root(cohort),
            "tables": self.config.cohort_path(cohort, "tables"),
            "withdrawn": self.config.cohort_path(cohort, "withdrawn"),
        }
        return " ".join(
            f"--{key} {shlex.quote(str(place))}" for key, place in places.items() if place
        )

    def raw_inputs(self, cohort: str) -> list[str]:
        """What ingest waits for: the tree of a simulated cohort."""
        if cohort in self.simulated:
            return [str(self.paths.fill("raw", cohort=cohort))]
        return []

    def shard_tables(self, manifest: str | Path, cohort: str, recipe: str) -> list[str]:
        """Status tables of all shards, once the manifest is known."""
        self.recipe(recipe)
        return [
            str(self.paths.fill("shard_table", cohort=cohort, recipe=recipe, shard=f"{shard:04d}"))
            for shard in shards(_scans(Path(manifest)))
        ]

    def shard_rows(self, cohort: str, shard: str) -> str:
        """Hash of the manifest rows that one shard is made from."""
        manifest = self.paths.fill("manifest", cohort=cohort)
        return rows_digest(of_shard(_scans(manifest), int(shard)))

    def run_words(self, study: str, model: str, seed: int) -> dict[str, Any]:
        """The words of a run's paths."""
        return {
            "study": study,
            "model": model,
            "cohort": self.study(study).cohort,
            "population": POPULATION,
            "seed": seed,
        }

    def measurements(self, study: str, table: str) -> list[str]:
        """Measurement files of a table's cells: each model and reference, each seed."""
        room = self.study(study)
        files = []
        for measure in room.spec.tables[table].measures:
            store = room.measures[measure]["store"]
            references = [name for name in room.spec.references if gives(name, store)]
            tuning = room.spec.tables[table].rows == "tuning"
            for model in room.variants if tuning else [*room.models, *references]:
                for seed in self.seeds:
                    words = self.run_words(study, model, seed)
                    files.append(str(self.paths.fill("measurement", measure=measure, **words)))
        return sorted(files)

    def training_summaries(self, study: str, table: str) -> list[str]:
        """What each training of a table's models says of itself: every model, every seed."""
        room = self.study(study)
        tuning = room.spec.tables[table].rows == "tuning"
        return sorted(
            str(self.paths.fill("training_summary", **self.run_words(study, model, seed)))
            for model in (room.variants if tuning else room.models)
            for seed in self.seeds
        )

    def figure_inputs(self, study: str, figure: str) -> list[str]:
        """Files a figure is drawn from, in the order of its `needs`."""
        model = self.figure(study, figure).model or ""
        return self.files(study, model, self._figure_needs(study, figure))

    def files(self, study: str, model: str, needs: Iterable[str]) -> list[str]:
        """Files that figures and notebooks read, by name.

        Parameters
        ----------
        study : str
        model : str
            Model of `checkpoint`, `samples` and `reconstructions`.
        needs : iterable of str
            Names; `metrics:MODEL` and `table:TABLE` take one of their own.
        """
        return [str(self._file(study, model, need)) for need in needs]

    def _file(self, study: str, model: str, need: str) -> Path:
        kind, _, own = need.partition(":")
        if kind not in NEEDS:
            raise ConfigError(
                f"study {study}: needs '{need}'; {did_you_mean(kind, NEEDS)}", "correct `needs`"
            )
        words = self.run_words(study, own if kind == "metrics" else model, self.seeds[0])
        recipe = self.study(study).spec.recipe_name
        path = self.paths.fill(NEEDS[kind], **words, recipe=recipe, table=own)
        return path / "index.tsv" if kind in ("samples", "reconstructions") else path

    @property
    def controls(self) -> list[str]:
        """Results of the groups of controls."""
        return [str(self.paths.fill("control", group=group)) for group in GROUPS]

    def tables(self, *studies: str, rows: str = "study") -> list[str]:
        """Table files of some studies (default: all); with `rows="tuning"` those of searches."""
        return [
            str(self.paths.fill("table", study=study, table=table))
            for study in studies or self.studies
            for table, spec in self.study(study).spec.tables.items()
            if spec.rows == rows
        ]

    def figures(self, *studies: str) -> list[str]:
        """Figure files of some studies (default: all), and the flows of their cohorts."""
        studies = studies or tuple(self.studies)
        cohorts = sorted({self.study(study).cohort for study in studies})
        return [
            *(str(self.paths.fill("flow", cohort=cohort)) for cohort in cohorts),
            *(
                str(self.paths.fill("figure", study=study, figure=figure))
                for study in studies
                for figure in self.study(study).spec.figures
            ),
        ]

    def quality_pages(self) -> list[str]:
        """A page on each cohort that a study preprocesses."""
        pairs = {(room.cohort, room.spec.recipe_name) for room in self.studies.values()}
        return [
            str(self.paths.fill("quality_page", cohort=cohort, recipe=recipe))
            for cohort, recipe in sorted(pairs)
        ]

    def notebook_inputs(self, notebook: str) -> list[str]:
        """Files a notebook says that it reads."""
        reads = read_needs(NOTEBOOKS / f"{notebook}.ipynb")
        return self.files(reads.study, reads.model, reads.needs)

    @property
    def notebook_names(self) -> list[str]:
        """Names of the notebooks on the studies of this configuration."""
        files = sorted(NOTEBOOKS.glob("*.ipynb"))
        return [file.stem for file in files if read_needs(file).study in self.studies]

    def notebooks(self) -> list[str]:
        """Executed notebooks."""
        return [str(self.paths.fill("notebook", notebook=name)) for name in self.notebook_names]

    # -- the configuration as it stands ------------------------------------------------------

    def resolved(self) -> dict[str, Any]:
        """The configuration and the parameters of every command it can lead to."""
        config = self.config.model_dump(mode="json") | {"seeds": list(self.seeds)}
        every = [(name, room) for name, room in self.studies.items()]
        runs = [
            (name, run) for name, room in every for run in (*room.trained, *room.spec.references)
        ]
        wanted = {
            "simulate": [(cohort,) for cohort in self.simulated],
            "ingest": [(cohort,) for cohort in self.config.cohorts],
            "flow": [(cohort,) for cohort in self.config.cohorts],
            "preprocess": [(recipe,) for recipe in sorted(self.recipes)],
            "index": [(recipe,) for recipe in sorted(self.recipes)],
            "quality": [
                (room.cohort, recipe) for _, room in every for recipe in sorted(room.recipes)
            ],
            "train": [(name, model) for name, room in every for model in room.trained],
            "sample": runs,
            "reconstruct": [(*run, store) for run in runs for store in SPLIT_OF_STORE],
            "controls": [(), *((group,) for group in GROUPS)],
            "segment": [(), *((split,) for split in SPLITS)],
            **self._measures_by_command(),
            "table": [(name, table) for name, room in every for table in room.spec.tables],
            "figure": [(name, figure) for name, room in every for figure in room.spec.figures],
            "checks": [()],
            "notebook": [(name,) for name in self.notebook_names],
        }
        return {
            "config": config,
            "parameters": {
                command: [self.parameters(command, *names) for names in all_names]
                for command, all_names in wanted.items()
            },
        }

    def _measures_by_command(self) -> dict[str, list[tuple[str, str]]]:
        commands: dict[str, list[tuple[str, str]]] = {}
        for name, room in self.studies.items():
            for measure in room.measures:
                command = f"evaluate.{self.measure_kind(name, measure)}"
                commands.setdefault(command, []).append((name, measure))
        return commands

    def write_resolved(self) -> None:
        """Write `config.resolved.yaml`, when it would change."""
        text = yaml.safe_dump(self.resolved(), sort_keys=True, allow_unicode=True)
        path = Path(self.paths.resolved_config)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def lock(self) -> TextIO:
        """Take the results root for one workflow, for as long as the file returned is open.

        Raises
        ------
        BusyError
            When another live workflow has it.
        """
        root = Path(self.paths.root)
        root.mkdir(parents=True, exist_ok=True)
        held = (root / ".workflow.lock").open("w")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"another workflow is running on '{root}'", "wait, or stop it"
            ) from None
        return held

    def _refuse_foreign_root(self) -> None:
        """Two scales, or two sets of raw scans, never share a results root."""
        path = Path(self.paths.resolved_config)
        if not path.is_file():
            return
        known = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("config", {})
        cure = "name another folder with results: (or --config results=...), or remove this one"
        if known.get("scale") != self.config.scale:
            raise ConfigError(
                f"results root '{self.config.results}' holds scale '{known.get('scale')}', "
                f"the configuration asks for '{self.config.scale}'",
                cure,
            )
        now = self.config.model_dump(mode="json")["cohorts"]
        for cohort, entry in known.get("cohorts", {}).items():
            if cohort in now and _source(entry) != _source(now[cohort]):
                raise ConfigError(
                    f"results root '{self.config.results}' holds cohort '{cohort}' from "
                    f"{_source(entry)}, the configuration says {_source(now[cohort])}",
                    cure,
                )


def gives(reference: str, store: str) -> bool:
    """Whether a trivial reference defines samples or reconstructions."""
    return store in REFERENCES[reference]


def _source(cohort: Mapping[str, Any]) -> str:
    return cohort.get("root") or "simulation"


@functools.cache
def _code_hash(*entries: str) -> str:
    return code_hash(*entries)


def _scans(manifest: Path) -> list[Scan]:
    """The manifest's scans, read once for each state of the file: every shard asks for its rows."""
    state = manifest.stat()
    return _scans_at(manifest, state.st_mtime_ns, state.st_size)


@functools.cache
def _scans_at(manifest: Path, _mtime_ns: int, _size: int) -> list[Scan]:
    return read_manifest(manifest)
