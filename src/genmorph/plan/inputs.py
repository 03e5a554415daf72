"""Inputs of the rules: which files a job reads."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genmorph.cohorts.ingest import listing_digest
from genmorph.cohorts.manifest import Scan, read_manifest, rows_digest
from genmorph.config import expand_variables
from genmorph.errors import ConfigError, did_you_mean
from genmorph.metrics.options import MEASURES
from genmorph.plan.base import NOTEBOOKS, POPULATION
from genmorph.plan.parameters import Parameters
from genmorph.publish.notebooks import read_needs

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
    "measure": "measurement",
    "segmenters": "segmenters",
}
# of these, those that name the run they are of
OF_ANY_RUN = ("metrics", "samples", "measure")


class Inputs(Parameters):
    """Files that jobs read, and arguments that name them."""

    def simulation(self, cohort: str) -> str:
        """Arguments of `genmorph simulate` for a cohort."""
        values = self.parameters("simulate", cohort)
        return (
            f"--cohort {cohort} --layout {values['layout']} --n {values['n']} "
            f"--seed {values['seed']} --resolution {values['resolution_mm']}"
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

    def raw_listing(self, cohort: str) -> str:
        """Changes when scans come to a real cohort's folder or go from it."""
        if cohort in self.simulated:
            return "simulated"
        return listing_digest(
            self.config.cohort_root(cohort),
            self.config.cohort_path(cohort, "tables"),
            self.config.cohort_path(cohort, "withdrawn"),
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
            for shard in sorted(_scans_by_shard(Path(manifest)))
        ]

    def shard_rows(self, cohort: str, shard: str) -> str:
        """Hash of the manifest rows that one shard is made from."""
        manifest = self.paths.fill("manifest", cohort=cohort)
        return rows_digest(_scans_by_shard(manifest).get(int(shard), []))

    def store_index(self, study: str, run: str) -> str:
        """Index of the preprocessed store a run works on."""
        return str(self.paths.fill("index", **self.store_words(study, run)))

    def store_words(self, study: str, run: str) -> dict[str, str]:
        """The words of the paths of the store a run works on."""
        room = self.study(study)
        return {"cohort": room.cohort, "recipe": room.recipe_of[run]}

    def finer_shard(self, name: str, cohort: str, recipe: str, shard: str) -> str:
        """A shard's array or table in the store that a coarser recipe resamples."""
        finer = self.coarser_recipes[recipe]
        return str(self.paths.fill(name, cohort=cohort, recipe=finer, shard=shard))

    def cohort_file(self, name: str, study: str) -> str:
        """A file of the study's cohort: its `manifest` or its `participants`."""
        return str(self.paths.fill(name, cohort=self.study(study).cohort))

    def checkpoint(self, study: str, model: str, seed: str) -> list[str]:
        """A model's checkpoint; a trivial reference has none."""
        if model not in self.study(study).trained:
            return []
        return [str(self.paths.fill("checkpoint", **self.run_words(study, model, int(seed))))]

    def run_words(self, study: str, model: str, seed: int) -> dict[str, Any]:
        """The words of a run's paths."""
        return {
            "study": study,
            "model": model,
            "cohort": self.study(study).cohort,
            "population": POPULATION,
            "seed": seed,
        }

    def measured(self, study: str, model: str, seed: str, measure: str) -> str:
        """What a measure looks at: index of the run's store, table of its tissues, or its model.

        Raises
        ------
        ConfigError
            When the measure looks at a model, and the run has none of that kind.
        """
        store = self.measure(study, measure)["store"]
        words = self.run_words(study, model, int(seed))
        able = self.study(study).measured_runs(measure)
        if model not in able:
            raise ConfigError(
                f"study {study}: measure '{measure}' is not taken of '{model}'",
                f"ask for it of {', '.join(able)}",
            )
        if MEASURES[self.measure_kind(study, measure)].of_model:
            return str(self.paths.fill("checkpoint", **words))
        if self._of_tissues(study, measure):
            return str(self.paths.fill("run_tissues", segmented=store, **words))
        return str(self.paths.fill(store, **words) / "index.tsv")

    def measured_against(self, study: str, model: str, measure: str) -> str:
        """The real side of a measure: index of the store, or the table of a split's tissues."""
        if not self._of_tissues(study, measure):
            return self.store_index(study, model)
        split = self.measure(study, measure)["split"]
        words = self.store_words(study, model)
        return str(self.paths.fill("real_tissues", split=split, **words))

    def _of_tissues(self, study: str, measure: str) -> bool:
        return MEASURES[self.measure_kind(study, measure)].of_tissues

    def measure_weights(self, study: str, measure: str) -> list[str]:
        """The user's file of feature weights, for a measure that looks at features."""
        weights = self.config.features.inception_weights
        if weights is None or "extractor" not in self.measure(study, measure):
            return []
        return [expand_variables(weights, "features.inception_weights")]

    def segmenters(self, study: str, model: str) -> str:
        """The networks of the realistic atlas score, trained on the store of a run."""
        return str(self.paths.fill("segmenters", **self.store_words(study, model)))

    def label_inputs(self, cohort: str, recipe: str) -> list[str]:
        """Files that must be there before label maps are read."""
        labels = self.labels(cohort)
        made = self.config.cohorts[cohort].labels is None
        files = self.raw_inputs(cohort) if made else [self.label_folder(cohort)]
        if labels.names is not None and not made:
            files.append(self._label_names(cohort))
        if labels.space == "scan":
            files.append(str(self.paths.fill("status", cohort=cohort, recipe=recipe)))
        return files

    def label_arguments(self, cohort: str, recipe: str) -> str:
        """Arguments that name a cohort's label maps."""
        labels = self.labels(cohort)
        words = ["--labels", self.label_folder(cohort), "--grouping", labels.grouping]
        words += ["--space", labels.space, "--labels-file", labels.file]
        if labels.names is not None:
            words += ["--labels-names", self._label_names(cohort)]
        if labels.space == "scan":
            words += ["--status", str(self.paths.fill("status", cohort=cohort, recipe=recipe))]
        return shlex.join(words)

    def _label_names(self, cohort: str) -> str:
        return expand_variables(self.labels(cohort).names, f"cohorts.{cohort}.labels.names")

    def _manual(self, study: str, measure: str) -> bool:
        return self.measure(study, measure)["real_labels"] == "manual"

    def manual_label_inputs(self, study: str, model: str, measure: str) -> list[str]:
        """What the atlas score waits for where people or FreeSurfer labelled the real side."""
        wanted = self._manual(study, measure)
        return self.label_inputs(**self.store_words(study, model)) if wanted else []

    def manual_labels(self, study: str, model: str, measure: str) -> str:
        """Arguments of the atlas score for labels that people or FreeSurfer made."""
        wanted = self._manual(study, measure)
        return self.label_arguments(**self.store_words(study, model)) if wanted else ""

    @property
    def deep_gray_atlas(self) -> list[str]:
        """The user's atlas of deep gray matter, if one is configured."""
        atlas = self.config.tissues.deep_gray_atlas
        return [expand_variables(atlas.path, "tissues.deep_gray_atlas.path")] if atlas else []

    def measurements(self, study: str, table: str) -> list[str]:
        """Measurement files of a table's cells: each model and reference, each seed."""
        room, files = self.study(study), []
        tuning = room.spec.tables[table].rows == "tuning"
        rows = self._tried(study, table) if tuning else {**room.models, **room.references}
        for measure in room.spec.tables[table].measures:
            for run in room.measured_runs(measure):
                for seed in self.seeds if run in rows else ():
                    words = self.run_words(study, run, seed)
                    files.append(str(self.paths.fill("measurement", measure=measure, **words)))
        return sorted(files)

    def training_summaries(self, study: str, table: str) -> list[str]:
        """What each training of a table's models says of itself: every model, every seed."""
        room = self.study(study)
        tuning = room.spec.tables[table].rows == "tuning"
        return sorted(
            str(self.paths.fill("training_summary", **self.run_words(study, model, seed)))
            for model in (self._tried(study, table) if tuning else room.models)
            for seed in self.seeds
        )

    def figure_modules(self, study: str, figure: str) -> str:
        """Arguments that name the modules a figure loads besides its own room."""
        others = self.modules("figure", study, figure)[1:]
        return " ".join(f"--module {name}" for name in others)

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
            Names; `metrics:MODEL`, `samples:RUN`, `measure:MEASURE:RUN`, `segmenters:RECIPE` and
            `table:TABLE` say which.
        """
        return [str(self._file(study, model, need)) for need in needs]

    def _file(self, study: str, model: str, need: str) -> Path:
        kind, *own = need.split(":")
        if kind not in NEEDS:
            raise ConfigError(
                f"study {study}: needs '{need}'; {did_you_mean(kind, NEEDS)}", "correct `needs`"
            )
        room = self.study(study)
        run = own[-1] if kind in OF_ANY_RUN and own else model
        words = self.run_words(study, run, self.seeds[0])
        words["recipe"] = room.recipe_of.get(run, room.spec.recipe_name)
        if own:
            words |= {"recipe" if kind == "segmenters" else kind: own[0]}
        path = self.paths.fill(NEEDS[kind], **words)
        return path / "index.tsv" if kind in ("samples", "reconstructions") else path

    def notebook_inputs(self, notebook: str) -> list[str]:
        """Files a notebook says that it reads."""
        reads = read_needs(NOTEBOOKS / f"{notebook}.ipynb")
        return self.files(reads.study, reads.model, reads.needs)


def _scans_by_shard(manifest: Path) -> dict[int, list[Scan]]:
    """The manifest's scans, read once for each state of the file: every shard asks for its rows."""
    state = manifest.stat()
    return _read_by_shard(manifest, state.st_mtime_ns, state.st_size)


@functools.cache
def _read_by_shard(manifest: Path, _mtime_ns: int, _size: int) -> dict[int, list[Scan]]:
    by_shard: dict[int, list[Scan]] = {}
    for scan in read_manifest(manifest):
        if scan.shard is not None:
            by_shard.setdefault(scan.shard, []).append(scan)
    return by_shard
