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
from genmorph.sampling import REFERENCES

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

    def _of_tissues(self, study: str, measure: str) -> bool:
        return MEASURES[self.measure_kind(study, measure)].of_tissues

    def measure_weights(self, study: str, measure: str) -> list[str]:
        """The user's file of feature weights, for a measure that looks at features."""
        weights = self.config.features.inception_weights
        if weights is None or "extractor" not in self.study(study).measures[measure]:
            return []
        return [expand_variables(weights, "features.inception_weights")]

    def segmenters(self, study: str) -> str:
        """The networks of the realistic atlas score, trained on the study's cohort."""
        room = self.study(study)
        return str(self.paths.fill("segmenters", cohort=room.cohort, recipe=room.spec.recipe_name))

    def manual_labels(self, study: str, measure: str) -> str:
        """Arguments of the atlas score for labels that people or FreeSurfer made."""
        room = self.study(study)
        if room.measures[measure]["real_labels"] != "manual":
            return ""
        grouping = self._segmenter(room.cohort)["grouping"]
        return f"--labels {shlex.quote(self.label_folder(room.cohort))} --grouping {grouping}"

    @property
    def deep_gray_atlas(self) -> list[str]:
        """The user's atlas of deep gray matter, if one is configured."""
        atlas = self.config.tissues.deep_gray_atlas
        return [expand_variables(atlas.path, "tissues.deep_gray_atlas.path")] if atlas else []

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

    def notebook_inputs(self, notebook: str) -> list[str]:
        """Files a notebook says that it reads."""
        reads = read_needs(NOTEBOOKS / f"{notebook}.ipynb")
        return self.files(reads.study, reads.model, reads.needs)


def gives(reference: str, store: str) -> bool:
    """Whether a trivial reference defines samples or reconstructions."""
    return store in REFERENCES[reference]


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
