"""Targets: what can be asked for, and what the words of paths may be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from genmorph.config import SCALES
from genmorph.controls.groups import GROUPS
from genmorph.metrics.options import MEASURES
from genmorph.plan.inputs import Inputs
from genmorph.splits import SPLITS

NO_NAME = "(?!)"
PROCESS_MB = 4000  # of a process that trains, without its scans


class Targets(Inputs):
    """What the named targets stand for."""

    @property
    def models(self) -> list[str]:
        """Names of all trained models."""
        return sorted({model for room in self.studies.values() for model in room.trained})

    @property
    def runs(self) -> list[str]:
        """Names of all runs: trained models and trivial references."""
        return sorted({run for room in self.studies.values() for run in room.runs})

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
            "measure": "[a-z0-9_]+",
            "group": "|".join(GROUPS),
            "segmented": "samples|(validation_)?reconstructions",
            "split": "|".join(SPLITS),
            "table": "[a-z0-9_]+",
            "figure": "[a-z0-9_]+",
            "notebook": "[a-z0-9_]+",
        }

    @property
    def recipe_patterns(self) -> dict[str, str]:
        """Patterns of the recipes that resample another's volumes, and of those that do not."""
        coarser = "|".join(self.coarser_recipes) or NO_NAME
        return {"coarser": coarser, "own": rf"(?!(?:{coarser})\b)[a-z0-9_]+"}

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

    def gpu_resources(self, devices: int = 1) -> dict[str, Any]:
        """What a rule that works on GPUs asks of the scheduler; nothing on CPU."""
        compute = self.config.compute
        if compute.device != "cuda":
            return {}
        model = {"gpu_model": compute.gpu_model} if compute.gpu_model else {}
        return {"gpu": devices, **model}

    def training_memory_mb(self, study: str, model: str) -> int:
        """Memory of a training job: each of its processes may keep the scans."""
        kept = self.parameters("train", study, model)["training"]["memory_gb"]
        return round(self.config.compute.devices * (PROCESS_MB + 1000 * kept))

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
            if spec.rows == rows and self.config.scale in (spec.scales or SCALES)
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
                for figure, spec in self.study(study).spec.figures.items()
                if self.study(study).labelled or not _of_labels(spec.needs)
            ),
        ]

    def quality_pages(self) -> list[str]:
        """A page on each cohort that a study preprocesses."""
        pairs = {(room.cohort, room.spec.recipe_name) for room in self.studies.values()}
        return [
            str(self.paths.fill("quality_page", cohort=cohort, recipe=recipe))
            for cohort, recipe in sorted(pairs)
        ]

    def notebooks(self) -> list[str]:
        """Executed notebooks."""
        return [str(self.paths.fill("notebook", notebook=name)) for name in self.notebook_names]


def _of_labels(needs: Iterable[str]) -> bool:
    """Whether a figure shows what label maps are needed for."""
    return any(need.startswith(("segmenters:", "measure:atlas_score")) for need in needs)
