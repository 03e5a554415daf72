"""Check `seeds`: each recorded seed is the derived one, and no two runs share one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from genmorph.provenance.audit.findings import Finding, verdict
from genmorph.seeds import derive_seed

# Commands of a run; each derives its own seed from the run's seed, study, model and its name.
DERIVING = ("train", "sample", "reconstruct")
# Two runs that share one of these would be one run counted twice.
DISTINCT = ("train", "sample")


def check_seeds(records: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Compare recorded seeds with derived ones, and runs with each other.

    Parameters
    ----------
    records : mapping
        Records of the chain by name.
    """
    first_with: dict[int, str] = {}
    for name, record in records.items():
        command, seeds = record["command"], record["seeds"]
        if command == "simulate":
            same = seeds.get("simulate") == record["parameters"]["seed"]
            yield verdict("seeds", same, name, "the recorded seed is not the parameter's")
        if command not in DERIVING:
            continue
        wrong = _wrong_seed(record)
        other = first_with.setdefault(seeds.get(command), name) if command in DISTINCT else name
        if wrong is None and other != name:
            wrong = f"shares its {command} seed with {other}"
        yield verdict("seeds", wrong is None, name, wrong or "")


def _wrong_seed(record: Mapping[str, Any]) -> str | None:
    """What is wrong with the seed of a run's record."""
    command, seeds, values = record["command"], record["seeds"], record["parameters"]
    if "seed" not in seeds or command not in seeds:
        return f"records no seed for {command}"
    if seeds[command] != derive_seed(seeds["seed"], values["study"], values["model"], command):
        return f"its {command} seed is not the one derived from seed {seeds['seed']}"
    folders = [part for part in record["outputs"][0]["path"].split("/") if part[:5] == "seed-"]
    if folders and folders != [f"seed-{seeds['seed']}"]:
        return f"lies in {folders[0]}, was run with seed {seeds['seed']}"
    return None
