"""Where everything lies: the patterns of all paths below a results root.

One place for the rules, the library and the tests. A pattern's `{words}` are Snakemake's
wildcards; `fill` gives them values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Patterns below one results root.

    Parameters
    ----------
    root : str
        The results root, relative to the project or absolute.
    """

    root: str = "results"

    def __getattr__(self, name: str) -> str:
        try:
            return f"{self.root}/{PATTERNS[name]}"
        except KeyError:
            raise AttributeError(f"no path is called {name}") from None

    def fill(self, name: str, **words: str | int) -> Path:
        """The path of a pattern with its words filled in."""
        return Path(getattr(self, name).format(**words))

    def log(self, rule: str, name: str) -> str:
        """Pattern of a rule's log file."""
        return f"{self.root}/logs/{rule}/{name}.log"

    def benchmark(self, rule: str, name: str) -> str:
        """Pattern of a rule's table of time and memory."""
        return f"{self.root}/benchmarks/{rule}/{name}.tsv"


_RUN = "runs/{study}/{model}/{cohort}-{population}/seed-{seed}"
_STORE = "preprocessed/{cohort}/{recipe}"

PATTERNS = {
    "resolved_config": "config.resolved.yaml",
    "records": "provenance",
    # a simulated cohort's raw tree; real ones lie where config.yaml says
    "raw": "raw/{cohort}",
    # cohorts
    "cohort": "cohorts/{cohort}",
    "manifest": "cohorts/{cohort}/manifest.tsv",
    "participants": "cohorts/{cohort}/participants.tsv",
    "cohort_description": "cohorts/{cohort}/cohort.json",
    "flow": "figures/cohort_{cohort}_flow.png",
    # preprocessed volumes
    "store": _STORE,
    "shard_array": _STORE + "/shard-{shard}.zarr",
    "shard_table": _STORE + "/shard-{shard}.tsv",
    "shard_mosaics": _STORE + "/mosaics/shard-{shard}",
    "index": _STORE + "/index.tsv",
    "store_description": _STORE + "/store.json",
    "status": _STORE + "/status.tsv",
    "mosaics": _STORE + "/mosaics",
    "segmenters": _STORE + "/segmenter/segmenters.json",
    "quality_page": _STORE + "/quality.html",
    "quality_table": _STORE + "/quality.tsv",
    # runs
    "run": _RUN,
    "state": _RUN + "/state",
    "checkpoint": _RUN + "/checkpoint/model.safetensors",
    "training_metrics": _RUN + "/checkpoint/metrics.csv",
    "training_summary": _RUN + "/checkpoint/training.json",
    "samples": _RUN + "/samples",
    "cascade": _RUN + "/samples/cascade.npz",
    "reconstructions": _RUN + "/reconstructions",
    "validation_reconstructions": _RUN + "/validation_reconstructions",
    "reconstructed": _RUN + "/{reconstructed}",  # one of the two
    # tissues of a store's volumes
    "segmented": _RUN + "/{segmented}/index.tsv",
    "run_tissues": _RUN + "/{segmented}_tissues/volumes.tsv",
    "real_tissues": _STORE + "/tissues_{split}/volumes.tsv",
    "measurement": _RUN + "/measures/{measure}.json",
    "t_map": _RUN + "/measures/{measure}_t.nii.gz",
    "t_map_figure": _RUN + "/measures/{measure}_t.png",
    "nearest_figure": _RUN + "/measures/{measure}_nearest.png",
    # the measures on data whose answer is known
    "control": "controls/{group}.json",
    "controls_passed": "controls/passed",
    "controls_table": "tables/controls.csv",
    "controls_figure": "figures/controls.png",
    # publication
    "table": "tables/{study}_{table}.csv",
    "figure": "figures/{study}_{figure}.png",
    "reported_checks": "tables/reported_checks.csv",
    "notebook": "notebooks/{notebook}.ipynb",
}
