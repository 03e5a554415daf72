"""Check `splits`: nobody is in two of them, and chance alone decided who is in which."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genmorph.errors import GenmorphError
from genmorph.files import read_tsv
from genmorph.provenance.audit.findings import Finding, verdict
from genmorph.splits import UNUSED, assign_splits, next_split

Rows = list[dict[str, str | None]]
# of participants.tsv, where a layout knows families (twins and siblings)
FAMILY_COLUMN = "family_id"


def check_splits(root: Path, records: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Check the people of every cohort that some records rest on.

    Parameters
    ----------
    root : Path
        Results root.
    records : mapping
        Records of the chain by name; those of `ingest` name the cohorts.
    """
    scans_read = _raw_hashes(records.values())
    for record in records.values():
        if record["command"] != "ingest":
            continue
        values, folder = record["parameters"], (root / record["outputs"][0]["path"]).parent
        cohort = values["cohort"]
        try:
            people = read_tsv(folder / "participants.tsv", ("participant_id", "split"))
            scans = read_tsv(folder / "manifest.tsv", ("scan_id", "participant_id", "path"))
            ledger = folder / "ledger.tsv"
            order = read_tsv(ledger, ("kind", "id", "value")) if ledger.is_file() else None
        except GenmorphError as error:
            yield Finding("splits", "fail", f"cohorts/{cohort}", error.message)
            continue
        yield from _people_in_one_split(people, values["shares"], cohort)
        yield from _scans_with_their_person(scans, people, scans_read.get(cohort, {}), cohort)
        yield _as_the_hash_says(people, order, values, f"cohorts/{cohort}")


def _people_in_one_split(
    people: Rows, shares: Mapping[str, float], cohort: str
) -> Iterator[Finding]:
    subject = f"cohorts/{cohort}/participants.tsv"
    unknown = sorted({str(row["split"]) for row in people} - set(shares))
    yield verdict("splits", not unknown, subject, f"splits nobody defined: {', '.join(unknown)}")
    for column in ("participant_id", FAMILY_COLUMN):
        if people and column not in people[0]:
            continue
        splits = defaultdict(set)
        for row in people:
            if row[column] is not None:
                splits[row[column]].add(str(row["split"]))
        torn = {name: sorted(where) for name, where in splits.items() if len(where) > 1}
        message = "; ".join(f"{name} is in {' and '.join(torn[name])}" for name in sorted(torn))
        yield verdict("splits", not torn, f"{subject} [{column}]", message)


def _scans_with_their_person(
    scans: Rows, people: Rows, read: Mapping[str, str], cohort: str
) -> Iterator[Finding]:
    """A scan has its person's split, and the same bytes never stand under two splits.

    The manifest has no splits of its own: a scan's split is its person's.
    """
    subject = f"cohorts/{cohort}/manifest.tsv"
    split_of = {row["participant_id"]: row["split"] for row in people}
    kept = [scan for scan in scans if scan.get("exclude_reason") is None]
    nobody = [scan["scan_id"] for scan in kept if scan["participant_id"] not in split_of]
    message = f"no split for the person of {', '.join(nobody)}"
    yield verdict("splits", not nobody, subject, message)
    twice = [name for name, n in Counter(scan["scan_id"] for scan in kept).items() if n > 1]
    yield verdict("splits", not twice, f"{subject} [scan_id]", f"twice: {', '.join(twice)}")
    same = defaultdict(dict)
    for scan in kept:
        # a record names a scan by its path, or by its id where the path tells the person
        for name in {scan["path"], scan["scan_id"]} & read.keys():
            same[read[name]][scan["scan_id"]] = split_of.get(scan["participant_id"])
    for copies in same.values():
        if len(set(copies.values())) > 1:
            names = " and ".join(f"{name} ({split})" for name, split in sorted(copies.items()))
            yield Finding("splits", "fail", subject, f"one image in two splits: {names}")


def _as_the_hash_says(
    people: Rows, ledger: Rows | None, values: Mapping[str, Any], subject: str
) -> Finding:
    """Whether the rule of `genmorph.splits` gives these splits.

    The ledger keeps the order in which people were shared out, so that each step can be taken
    again. Of a cohort that never grew the order is the hash's, and nothing is left open; of one
    that grew, which people came together cannot be known. Without a ledger only a cohort that
    never grew can be checked.
    """
    found = {
        # families go to a split as a whole
        f"family-{row[FAMILY_COLUMN]}" if row.get(FAMILY_COLUMN) else row["participant_id"]: row[
            "split"
        ]
        for row in people
    }
    shares, seed = values["shares"], values["split_seed"]
    if ledger is None:
        same = assign_splits({}, found, shares, seed) == found
        if same:
            return Finding("splits", "pass", subject)
        return Finding("splits", "unknown", subject, "no ledger.tsv, and the cohort may have grown")
    given = {row["id"]: row["value"] for row in ledger if row["kind"] == "person"}
    moved = sorted(name for name, split in found.items() if given.get(name) != split)
    if moved:
        message = f"not in the split that ledger.tsv gives: {', '.join(moved)}"
        return Finding("splits", "fail", subject, message)
    counts = dict.fromkeys((*shares, UNUSED), 0)
    for person, split in given.items():
        expected = next_split(counts, shares)
        if split != expected:
            message = (
                f"{person} is in {split}, shares and hash give {expected}: ledger.tsv was edited, "
                "or the shares were changed after people had been shared out"
            )
            return Finding("splits", "fail", subject, message)
        counts[split] += 1
    if list(assign_splits({}, given, shares, seed)) == list(given):
        return Finding("splits", "pass", subject)
    message = "the cohort has grown: within which call each person came is the ledger's word"
    return Finding("splits", "pass", subject, message)


def _raw_hashes(records: Any) -> dict[str, dict[str, str]]:
    """SHA-256 of each raw scan by cohort and the name in the record, as preprocessing read it."""
    hashes: dict[str, dict[str, str]] = defaultdict(dict)
    for record in records:
        if record["command"] == "preprocess":
            for entry in record["inputs"]:
                if entry["base"].startswith("cohort:"):
                    hashes[entry["base"].removeprefix("cohort:")][entry["path"]] = entry["sha256"]
    return hashes
