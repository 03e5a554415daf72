"""Which scans a command works on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def scan_ids(
    store: Any, manifest: Path, participants: Path, split: str, population: Mapping[str, Any] | None
) -> list[str]:
    """Ids of a split's scans that the store holds; failed scans are absent from it."""
    from genmorph.cohorts.manifest import read_manifest
    from genmorph.cohorts.populations import select
    from genmorph.errors import CohortError
    from genmorph.files import read_tsv

    people = read_tsv(participants, ("participant_id", "split"))
    scans = select(read_manifest(manifest), people, split=split, population=population)
    ids = [scan.scan_id for scan in scans if scan.scan_id in store]
    if not ids:
        raise CohortError(f"{store.folder}: none of the {len(scans)} scans of split '{split}'")
    return ids


def population_used(
    manifest: Path, participants: Path, population: Mapping[str, Any] | str | None
) -> dict[str, Any] | None:
    """The population with its cut-point, for a run's summary; printed where it is not everybody."""
    from genmorph.cohorts.manifest import read_manifest
    from genmorph.cohorts.populations import describe_population
    from genmorph.files import read_tsv

    people = read_tsv(participants, ("participant_id", "split"))
    told = describe_population(read_manifest(manifest), people, population)
    if told is not None:
        print(f"population: {told}", flush=True)
    return told
