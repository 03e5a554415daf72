"""Ingest: a raw tree becomes manifest, participants table and splits."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from genmorph.cohorts.flow import Flow
from genmorph.cohorts.manifest import Ledger, Scan, write_manifest
from genmorph.cohorts.reading import Reading, Source, describe_simulation, leave_out
from genmorph.errors import CohortError
from genmorph.files import digest, sha256_file, write_json, write_tsv
from genmorph.splits import UNUSED, in_people
from genmorph.validation import validate

# module of each layout, loaded when it is asked for
LAYOUTS = {
    "bids": "genmorph.cohorts.bids",
    "adni": "genmorph.cohorts.adni",
    "hcp": "genmorph.cohorts.hcp",
    "ukb": "genmorph.cohorts.ukb",
    "oasis": "genmorph.cohorts.oasis",
}
# tables up to this size are known by their bytes, larger ones by size and time of change
HASHED_BYTES = 64 * 1024**2
PARTICIPANT_COLUMNS = (
    "participant_id",
    "split",
    "age_years",
    "sex",
    "diagnosis",
    "family_id",
    "n_scans",
)


def ingest_cohort(
    *,
    name: str,
    layout: str,
    source: Source,
    out: Path,
    shares: Mapping[str, float],
    split_seed: int,
    shard_size: int,
    options: Mapping[str, Any] | None = None,
) -> tuple[Flow, tuple[Path, ...]]:
    """Read a cohort and write `manifest.tsv`, `participants.tsv` and `cohort.json` into `out`.

    Parameters
    ----------
    name : str
        The cohort's name in the configuration.
    layout : str
        How the raw files lie on disk.
    source : Source
        The raw tree; nothing is written there.
    out : Path
        The cohort's folder below the results root; its `ledger.tsv` is kept from call to call.
    shares : mapping
        Share, or number, of the people in each split: train, validation, test.
    split_seed : int
        Decides who comes first when people are shared out.
    shard_size : int
        Scans handled by one preprocessing job.
    options : mapping, optional
        Choices of the layout.

    Returns
    -------
    flow : Flow
        Scans found, left out by reason, kept.
    files : tuple of Path
        Tables and descriptions that were read.

    Raises
    ------
    CohortError
        When no scan is kept, or a split is empty or short of its number.
    """
    reading = read_layout(layout, source, options)
    ledger = Ledger(out / "ledger.tsv")
    scans = reading.scans
    if has_pseudonyms(layout):
        scans = ledger.assign_pseudonyms(scans, layout)
    kept = [scan for scan in scans if scan.exclude_reason is None]
    if not kept:
        raise CohortError(
            f"cohort {name}: each of its {len(scans)} scans is left out",
            "; ".join(Flow.of(scans).lines()),
        )
    unit_of = {scan.participant_id: _unit(scan) for scan in kept}
    _refuse_late_families(unit_of, ledger)
    split_of_unit = ledger.assign_splits(unit_of.values(), shares, split_seed)
    split_of = {person: split_of_unit[unit] for person, unit in unit_of.items()}
    people = Counter(split_of.values())
    for split in shares:
        if not people[split]:
            raise CohortError(
                f"cohort {name}: {len(split_of)} people leave split '{split}' empty",
                "a cohort needs people enough for three splits; see cohorts.*.splits",
            )
    units = Counter(split_of_unit.values())
    if in_people(shares) and any(units[split] < number for split, number in shares.items()):
        raise CohortError(
            f"cohort {name}: splits ask for {sum(shares.values()):g} people, "
            f"{len(split_of_unit)} are there",
            "lower the numbers in cohorts.*.splits, or give shares that sum to 1",
        )
    scans = [
        leave_out(scan, "kept", "the splits have the people they take")
        if scan.exclude_reason is None and split_of[scan.participant_id] == UNUSED
        else scan
        for scan in scans
    ]
    scans = ledger.assign_shards(numbered(scans), shard_size)
    ledger.save()
    flow = Flow.of(scans)
    write_json(
        out / "cohort.json",
        {
            "cohort": name,
            "layout": layout,
            "name": reading.name,
            **describe_simulation(source.root),
            "pseudonyms": has_pseudonyms(layout),
            "notes": list(reading.notes),
            "scans": flow.to_json(),
            "people": {split: people[split] for split in shares},
            "rows_without_scan": len(reading.rows_without_scan),
        },
    )
    used = [scan for scan in scans if scan.exclude_reason is None]
    write_tsv(out / "participants.tsv", PARTICIPANT_COLUMNS, _people(used, split_of))
    write_manifest(out / "manifest.tsv", scans)
    return flow, reading.files


def _unit(scan: Scan) -> str:
    """What goes to a split as a whole: the family where it is known, else the person."""
    return f"family-{scan.family_id}" if scan.family_id else scan.participant_id


def _refuse_late_families(unit_of: Mapping[str, str], ledger: Ledger) -> None:
    """Families that become known after their people were shared out alone would be torn apart."""
    late = [
        person
        for person, unit in unit_of.items()
        if unit != person and person in ledger.splits and unit not in ledger.splits
    ]
    if late:
        raise CohortError(
            f"{ledger.path}: {len(late)} people were shared out alone, and their families are "
            "known now",
            "remove that file: everybody is shared out anew, by family",
        )


def numbered(scans: list[Scan]) -> list[Scan]:
    """Scans with the number of their visit: 1 for the person's first that is kept.

    Dates decide where all of a person's scans have one, else the names of the sessions.
    """
    people: dict[str, list[Scan]] = {}
    for scan in scans:
        if scan.exclude_reason is None:
            people.setdefault(scan.participant_id, []).append(scan)
    visits = {}
    for own in people.values():
        dated = all(scan.acquisition_date for scan in own)
        own.sort(key=lambda scan: (scan.acquisition_date if dated else "", natural(scan.scan_id)))
        visits |= {(scan.scan_id, scan.path): number for number, scan in enumerate(own, start=1)}
    return [replace(scan, visit=visits.get((scan.scan_id, scan.path))) for scan in scans]


def natural(text: str) -> list[tuple[int, str]]:
    """Sorts ses-2 before ses-10."""
    parts = re.split(r"(\d+)", text)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_layout(layout: str, source: Source, options: Mapping[str, Any] | None = None) -> Reading:
    """Read a raw tree through one of `LAYOUTS`.

    Raises
    ------
    ConfigError
        When an option is not the layout's, or its value is wrong.
    CohortError
        When the tree cannot be read.
    """
    module = import_module(LAYOUTS[layout])
    chosen = validate(module.LayoutOptions, dict(options or {}), f"layout {layout}")
    return module.read_cohort(source, chosen)


def has_pseudonyms(layout: str) -> bool:
    """Whether ids of people, as the source spells them, must never leave the manifest."""
    return getattr(import_module(LAYOUTS[layout]), "PSEUDONYMS", False)


def typed_options(layout: str, options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Choices of a layout in full, as JSON values.

    Raises
    ------
    ConfigError
        When an option is not the layout's, or its value is wrong.
    """
    kind = import_module(LAYOUTS[layout]).LayoutOptions
    return validate(kind, dict(options), where).model_dump(mode="json")


def listing_digest(*places: Path | None) -> str:
    """Hash of names and sizes below some folders or of files: changes when scans come or go.

    Used to notice a grown cohort without reading any scan; their bytes are the audit's business.
    Files that are named, and tables right in a folder, count with their bytes: a corrected age or
    another withdrawn id may be as long as the one before.
    """
    found = []
    for place in places:
        if place is None:
            continue
        if place.is_file():
            found.append([place.name, _content(place)])
        for folder, inside, names in os.walk(place):
            inside.sort()
            relative = Path(folder).relative_to(place).as_posix()
            for name in sorted(names):
                path = os.path.join(folder, name)  # noqa: PTH118 (one of very many)
                try:
                    size = os.stat(path).st_size  # noqa: PTH116 (one look: disks may be far)
                except FileNotFoundError:  # a link to nowhere
                    continue
                table = relative == "." and name.endswith((".csv", ".tsv", ".tab", ".txt"))
                found.append([relative, name, _content(Path(path)) if table else size])
    return digest(found) if found else "absent"


def _content(path: Path) -> str:
    state = path.stat()
    if state.st_size > HASHED_BYTES:
        return f"{state.st_size} {state.st_mtime_ns}"
    return sha256_file(path)


def _people(scans: list[Scan], split_of: dict[str, str]) -> list[dict[str, Any]]:
    """One row a person, described by the earliest scan."""
    rows: dict[str, dict[str, Any]] = {}
    for scan in sorted(scans, key=lambda scan: (scan.participant_id, scan.visit)):
        row = rows.setdefault(
            scan.participant_id,
            {
                "participant_id": scan.participant_id,
                "split": split_of[scan.participant_id],
                "age_years": scan.age_years,
                "sex": scan.sex,
                "diagnosis": scan.diagnosis,
                "family_id": scan.family_id,
                "n_scans": 0,
            },
        )
        row["n_scans"] += 1
    return list(rows.values())
