"""What the Snakefile asks: parameters and code of each command, inputs across shards, targets.

The rules stay declarative: every question they have is a method here, and none of it knows
Snakemake. `Plan` is made once from the configuration, when the workflow is read. Each module
answers one kind of question, on top of the one before: `base` (what is configured), `parameters`
(what makes a job run again), `inputs` (what it reads), `targets` (what can be asked for), and here
what holds for the results root as a whole.
"""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from genmorph.controls.groups import GROUPS
from genmorph.errors import BusyError, ConfigError, did_you_mean
from genmorph.files import atomic_path, flock
from genmorph.plan.parameters import SPLIT_OF_STORE
from genmorph.plan.targets import Targets
from genmorph.provenance.resolved import read_resolved
from genmorph.provenance.seal import sealed_text
from genmorph.splits import SPLITS


class Plan(Targets):
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
        super().__init__(values)
        self._held: TextIO | None = None
        self._refuse_foreign_root()

    def resolved(self) -> dict[str, Any]:
        """The configuration and the parameters of every command it can lead to."""
        return {
            "config": self.config.model_dump(mode="json") | {"seeds": list(self.seeds)},
            "parameters": {
                command: [self.parameters(command, *names) for names in all_names]
                for command, all_names in self._commands().items()
            },
        }

    def asked_parameters(self, command: str, *names: str) -> dict[str, Any]:
        """`parameters`, of words that somebody typed.

        Raises
        ------
        ConfigError
            When there is no such command, or it has no such work under this configuration.
        """
        commands = self._commands()
        of_command = {
            key: all_names
            for key, all_names in commands.items()
            if command in (key, key.partition(".")[0])
        }
        if not of_command:
            hint = did_you_mean(command, commands)
            raise ConfigError(f"no command '{command}' has parameters; {hint}")
        known = {each for all_names in of_command.values() for each in all_names}
        if names not in known:
            hint = did_you_mean(" ".join(names), (" ".join(each) or "(no name)" for each in known))
            raise ConfigError(f"{command}: '{' '.join(names)}' is not in the configuration; {hint}")
        return self.parameters(command, *names)

    def _commands(self) -> dict[str, list[tuple[str, ...]]]:
        """Every command the configuration can lead to, with what it works on."""
        every = [(name, room) for name, room in self.studies.items()]
        runs = [(name, run) for name, room in every for run in room.runs]
        return {
            "simulate": [(cohort,) for cohort in self.simulated],
            "ingest": [(cohort,) for cohort in self.config.cohorts],
            "flow": [(cohort,) for cohort in self.config.cohorts],
            "preprocess": [(recipe,) for recipe in sorted(self.own_recipes)],
            "resample": [(recipe,) for recipe in sorted(self.coarser_recipes)],
            "index": [(recipe,) for recipe in sorted(self.recipes)],
            "quality": [
                (room.cohort, recipe) for _, room in every for recipe in sorted(room.recipes)
            ],
            "train": [(name, model) for name, room in every for model in room.trained],
            "sample": runs,
            "reconstruct": [(*run, store) for run in runs for store in SPLIT_OF_STORE],
            "controls": [(), *((group,) for group in GROUPS)],
            "segmenter": self._segmenters(),
            "segment": [(), *((split,) for split in SPLITS)],
            **self._measures_by_command(),
            "table": [(name, table) for name, room in every for table in room.spec.tables],
            "figure": [(name, figure) for name, room in every for figure in room.spec.figures],
            "checks": [()],
            "notebook": [(name,) for name in self.notebook_names],
        }

    def _segmenters(self) -> list[tuple[str, str]]:
        """Cohort and recipe of each network of the realistic atlas score."""
        return sorted(
            {
                (room.cohort, room.recipe_of[run])
                for room in self.studies.values()
                for measure, options in room.measures.items()
                if options["kind"] == "atlas_score"
                for run in room.measured_runs(measure)
            }
        )

    def _measures_by_command(self) -> dict[str, list[tuple[str, str]]]:
        commands: dict[str, list[tuple[str, str]]] = {}
        for name, room in self.studies.items():
            for measure in room.measures:
                command = f"evaluate.{self.measure_kind(name, measure)}"
                commands.setdefault(command, []).append((name, measure))
        return commands

    def write_resolved(self) -> None:
        """Write `config.resolved.yaml`, when it would change."""
        text = sealed_text(yaml.safe_dump(self.resolved(), sort_keys=True, allow_unicode=True))
        path = Path(self.paths.resolved_config)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def lock(self) -> None:
        """Take the results root for one workflow, for as long as this object lives.

        Raises
        ------
        BusyError
            When another live workflow has it.
        """
        root = Path(self.paths.root)
        root.mkdir(parents=True, exist_ok=True)
        held = (root / ".workflow.lock").open("w")
        try:
            flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"another workflow is running on '{root}'", "wait, or stop it"
            ) from None
        self._held = held  # closed, the file is free again

    def _refuse_foreign_root(self) -> None:
        """Two scales, or two sets of raw scans, never share a results root.

        A folder that the configuration names by a variable is compared by that name: on another
        machine the same scans lie elsewhere.
        """
        path = Path(self.paths.resolved_config)
        if not path.is_file():
            return
        known = read_resolved(path.parent)["config"]
        cure = "name another folder with results: (or --config results=...), or remove this one"
        if known.get("scale") != self.config.scale:
            raise ConfigError(
                f"results root '{self.config.results}' holds scale '{known.get('scale')}', "
                f"the configuration asks for '{self.config.scale}'",
                cure,
            )
        now = self.config.model_dump(mode="json")["cohorts"]
        for cohort, entry in known["cohorts"].items():
            if cohort in now and _source(entry) != _source(now[cohort]):
                raise ConfigError(
                    f"results root '{self.config.results}' holds cohort '{cohort}' from "
                    f"{_source(entry)}, the configuration says {_source(now[cohort])}",
                    cure,
                )


def _source(cohort: Mapping[str, Any]) -> str:
    return cohort.get("root") or "simulation"
