"""The audit: walk from a result back to the raw scans and check every link.

Each check has a stable code and ends as pass, fail or unknown. The chain is one of hashes, so a
consistent rewrite of everything (files and records together) is not detected; any change of one
link is.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from genmorph.errors import AuditError, GenmorphError
from genmorph.files import folder_hashes, read_tsv, sha256_file
from genmorph.provenance.audit.affected import affected
from genmorph.provenance.audit.cells import cells_of, check_cells
from genmorph.provenance.audit.findings import (
    CHECKS,
    PUBLICATION,
    Finding,
    Report,
    guarded,
    verdict,
)
from genmorph.provenance.audit.identifiers import check_identifiers
from genmorph.provenance.audit.orphans import abandoned_records, check_orphans
from genmorph.provenance.audit.publication import check_commit, check_environment
from genmorph.provenance.audit.records import read_records
from genmorph.provenance.audit.seeds import check_seeds
from genmorph.provenance.audit.splits import check_splits
from genmorph.provenance.audit.withdrawn import check_withdrawn
from genmorph.provenance.code import module_hashes
from genmorph.provenance.record import RECORDS, RESOLVED_CONFIG
from genmorph.provenance.resolved import CURE, read_resolved
from genmorph.provenance.seal import text_seal_holds

__all__ = ["CHECKS", "PUBLICATION", "Audit", "Finding", "Report"]


class Audit:
    """The records of a results root and the checks over them.

    Parameters
    ----------
    root : Path
        Results root.
    cohort_roots : mapping
        Folder of each cohort's raw scans.
    fast : bool
        Compare sizes of raw scans and shard arrays, not their bytes.
    withdrawn : mapping, optional
        Withdrawal list of each cohort that has one.
    tables : mapping, optional
        Folder of the source's tables of each cohort that keeps them elsewhere than its scans.
    labels : mapping, optional
        Folder of each cohort's label maps.
    hash_raw : callable, optional
        SHA-256 of a raw scan, from its cohort's root, path and format; by default of a plain file.
    size_raw : callable, optional
        Its size, the same way.
    """

    def __init__(
        self,
        root: Path,
        cohort_roots: Mapping[str, Path],
        *,
        fast: bool = False,
        withdrawn: Mapping[str, Path] | None = None,
        tables: Mapping[str, Path] | None = None,
        labels: Mapping[str, Path] | None = None,
        hash_raw: Callable[[Path, str, str], str] = lambda root, path, _: sha256_file(root / path),
        size_raw: Callable[[Path, str, str], int] = lambda root, path, _: (
            (root / path).stat().st_size
        ),
    ) -> None:
        self.root = root
        self.cohort_roots = cohort_roots
        self.fast = fast
        self.withdrawn = withdrawn or {}
        self.tables = tables or {}
        self.labels = labels or {}
        self.hash_raw = hash_raw
        self.size_raw = size_raw
        self._places: dict[str, dict[str, tuple[str, str]]] = {}
        self.records, self._damaged, self._edited = read_records(root)
        self.producer: dict[str, str] = {}
        self.written: dict[str, Mapping[str, Any]] = {}
        # where two records claim a file, the later one made what is there
        for name in sorted(self.records, key=lambda name: self.records[name]["ended"]):
            for entry in self.records[name]["outputs"]:
                self.producer[entry["path"]] = name
                self.written[entry["path"]] = entry

    def run(self, target: str | None = None) -> Report:
        """Audit one file of the results root, or everything that has a record.

        Parameters
        ----------
        target : str, optional
            Path relative to the results root.

        Raises
        ------
        AuditError
            When the target neither exists nor has a record.
        """
        if target is None:
            gone = abandoned_records(self.root, self.records)
            starts = sorted(path for path, name in self.producer.items() if name not in gone)
        else:
            starts = [target]
        if target is not None and target not in self.producer:
            if (self.root / target).exists():
                return Report(target, [], [*self._damaged, self._no_record(target)])
            raise AuditError(
                f"{self.root / target}: no such file and no record of it",
                "name a file below the results root",
            )
        names, lost = self._chain(starts)
        # first what leads the walk astray: a record whose edited inputs name files that never were
        findings = [*(self._check_seal(name) for name in names), *lost]
        findings += guarded("parameters", RESOLVED_CONFIG, self._check_configuration)
        for name in names:
            findings += self._check_record(name)
        # after the links themselves: an edited measurement comes before the cells that it spoils
        for name in names:
            record = self.records[name]
            if record["command"] == "table":
                findings += guarded("cells", name, lambda r=record: check_cells(self.root, r))
        findings += self._check_together(names, everything=target is None)
        # what a record that cannot be read describes is unknown: it may belong to any chain
        findings = [*self._damaged, *findings]
        broken = [finding for finding in findings if finding.status == "fail"]
        resting = affected(self.root, self.records, broken)
        return Report(target or str(self.root), names, findings, resting)

    def trace(self, target: str, row: str, column: str) -> dict[str, Any]:
        """The chain of one number: cell, measurements, and every record behind them.

        Raises
        ------
        AuditError
            When the table has no such cell.
        """
        cells = cells_of(self.root / target)
        found = [
            cell
            for cell in cells
            if cell["row"] == row and cell["column"] in (column, f"{column}, measured")
        ]
        if not found:
            known = sorted({f"{cell['row']},{cell['column']}" for cell in cells})
            raise AuditError(f"{target}: no cell '{row},{column}'", "cells: " + " | ".join(known))
        cell = found[0]
        names, _ = self._chain(cell["measurement"].split())
        return {
            "cell": {key: value for key, value in cell.items() if value},
            "chain": [
                {
                    "record": name,
                    "command": self.records[name]["command"],
                    "outputs": {
                        entry["path"]: entry["sha256"] for entry in self.records[name]["outputs"]
                    },
                    "raw_scans": sum(
                        entry["base"].startswith("cohort:")
                        for entry in self.records[name]["inputs"]
                    ),
                    "seeds": self.records[name]["seeds"],
                    "commit": self.records[name]["git"].get("commit"),
                }
                for name in names
            ],
        }

    # -- the walk ---------------------------------------------------------------------------

    def _chain(self, starts: Iterable[str]) -> tuple[list[str], list[Finding]]:
        """Records behind some files, the files' own first; and files that have none."""
        names: list[str] = []
        findings = []
        waiting, seen = list(starts), set()
        while waiting:
            path = waiting.pop(0)
            if path in seen:
                continue
            seen.add(path)
            name = self.producer.get(path)
            if name is None:
                findings.append(self._no_record(path))
                continue
            if name not in names:
                names.append(name)
                waiting += [
                    entry["path"] for entry in self.records[name]["inputs"] if not entry["base"]
                ]
        return names, findings

    def _no_record(self, path: str) -> Finding:
        command = shlex.join(
            ["snakemake", "--profile", "profiles/local", "--force", str(self.root / path)]
        )
        return Finding("records", "fail", path, f"no record of it; restore it with: {command}")

    # -- the checks ----------------------------------------------------------------------------

    def _check_together(self, names: Iterable[str], *, everything: bool) -> Iterator[Finding]:
        """The checks that look at more than one record at a time."""
        root, records = self.root, {name: self.records[name] for name in names}
        checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
            ("seeds", lambda: check_seeds(records)),
            ("splits", lambda: check_splits(root, records)),
            ("withdrawn", lambda: check_withdrawn(root, records, self.withdrawn)),
            ("commit", lambda: check_commit(records)),
            ("environment", lambda: check_environment(records)),
            (
                "identifiers",
                lambda: check_identifiers(root, records, self.cohort_roots, everything=everything),
            ),
        ]
        if everything:
            checks.append(("orphans", lambda: check_orphans(root, self.records, self.producer)))
        for code, check in checks:
            yield from guarded(code, "all records", check)

    def _check_seal(self, name: str) -> Finding:
        edited = self._edited.get(name, "")
        return verdict("records", not edited, f"{RECORDS}/{name}", edited)

    def _check_record(self, name: str) -> Iterator[Finding]:
        record = self.records[name]
        for entry in record["outputs"]:
            if self.producer[entry["path"]] == name:
                yield from guarded("outputs", entry["path"], lambda e=entry: self._check_output(e))
        for entry in record["inputs"]:
            yield from guarded("inputs", entry["path"], lambda e=entry: self._check_input(e, name))
        checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
            ("records", lambda: self._check_parents(name, record)),
            ("parameters", lambda: self._check_parameters(name, record)),
            ("code", lambda: self._check_code(name, record)),
        ]
        for code, check in checks:
            yield from guarded(code, name, check)

    def _check_output(self, entry: Mapping[str, Any]) -> Iterator[Finding]:
        path = self.root / entry["path"]
        if not path.exists():
            yield Finding("outputs", "fail", entry["path"], "missing")
        elif "files" not in entry:
            same = sha256_file(path) == entry["sha256"]
            yield verdict("outputs", same, entry["path"], "not the bytes that were written")
        elif self.fast:
            size = sum(
                (path / name).stat().st_size for name in entry["files"] if (path / name).exists()
            )
            yield verdict("outputs", size == entry["size"], entry["path"], "another size")
        else:
            yield from _compare_folder(path, entry)

    def _check_input(self, entry: Mapping[str, Any], name: str) -> Iterator[Finding]:
        if entry["base"].startswith("cohort:"):
            yield self._check_raw(entry)
        elif entry["base"].startswith("tables:"):
            yield self._check_source_table(entry)
        elif entry["base"].startswith("labels:"):
            yield self._check_label_map(entry)
        elif not entry["base"]:
            written = self.written.get(entry["path"])
            if written is not None:
                same = written["sha256"] == entry["sha256"]
                yield verdict(
                    "inputs", same, entry["path"], f"{name} read other bytes than were written last"
                )

    def _check_raw(self, entry: Mapping[str, Any]) -> Finding:
        cohort = entry["base"].removeprefix("cohort:")
        subject = f"{entry['base']}/{entry['path']}"
        root = self.cohort_roots.get(cohort)
        if root is None or not root.is_dir():
            return Finding("raw", "unknown", subject, "the cohort's root is not at hand")
        path, format_ = self._raw_place(cohort, entry["path"])
        file = root / path.split("!")[0]
        if not file.exists():
            return Finding("raw", "fail", subject, f"{file}: missing")
        try:
            if self.fast:
                same, wrong = self.size_raw(root, path, format_) == entry["size"], "another size"
            else:
                same = self.hash_raw(root, path, format_) == entry["sha256"]
                wrong = "other bytes than were read"
        except GenmorphError as error:
            return Finding("raw", "fail", subject, error.message)
        return verdict("raw", same, subject, f"{file}: {wrong}")

    def _check_source_table(self, entry: Mapping[str, Any]) -> Finding:
        """A table or a list of the source that lies elsewhere than the scans."""
        cohort = entry["base"].removeprefix("tables:")
        subject = f"{entry['base']}/{entry['path']}"
        folder, withdrawn = self.tables.get(cohort), self.withdrawn.get(cohort)
        files = [withdrawn] if withdrawn and withdrawn.name == entry["path"] else []
        files += sorted(folder.rglob(entry["path"])) if folder and folder.is_dir() else []
        if not files:
            return Finding("raw", "unknown", subject, "not where the configuration has it")
        same = any(sha256_file(file) == entry["sha256"] for file in files)
        return verdict("raw", same, subject, "other bytes than were read")

    def _check_label_map(self, entry: Mapping[str, Any]) -> Finding:
        subject = f"{entry['base']}/{entry['path']}"
        folder = self.labels.get(entry["base"].removeprefix("labels:"))
        if folder is None or not folder.is_dir():
            return Finding("raw", "unknown", subject, "the folder of label maps is not at hand")
        file = folder / entry["path"]
        if not file.is_file():
            return Finding("raw", "fail", subject, f"{file}: missing")
        if self.fast:
            same = file.stat().st_size == entry["size"]
        else:
            same = sha256_file(file) == entry["sha256"]
        return verdict("raw", same, subject, f"{file}: other bytes than were read")

    def _raw_place(self, cohort: str, name: str) -> tuple[str, str]:
        """Path below the cohort's root, and format, of what a record names."""
        if cohort not in self._places:
            manifest = self.root / "cohorts" / cohort / "manifest.tsv"
            rows = read_tsv(manifest, ("scan_id", "path")) if manifest.is_file() else []
            self._places[cohort] = {
                key: (row["path"], row.get("format") or "nifti")
                for row in rows
                if row.get("exclude_reason") is None
                for key in (row["path"], row["scan_id"])
            }
        return self._places[cohort].get(name, (name, "nifti"))

    def _check_parents(self, name: str, record: Mapping[str, Any]) -> Iterator[Finding]:
        for parent, sha256 in record["parents"].items():
            path = self.root / RECORDS / parent
            if not path.is_file():
                yield Finding("records", "fail", f"{RECORDS}/{parent}", f"missing; {name} names it")
            elif sha256_file(path) != sha256:
                # A parent run again with the same outcome has a new record; its outputs decide.
                yield from self._check_rerun_parent(parent, record, name)

    def _check_rerun_parent(
        self, parent: str, record: Mapping[str, Any], name: str
    ) -> Iterator[Finding]:
        used = {entry["path"]: entry["sha256"] for entry in record["inputs"] if not entry["base"]}
        known = self.records.get(parent, {"outputs": []})
        written = {entry["path"]: entry["sha256"] for entry in known["outputs"]}
        shared = used.keys() & written.keys()
        same = bool(shared) and all(written[path] == used[path] for path in shared)
        message = f"changed since {name} was written"
        yield verdict("records", same, f"{RECORDS}/{parent}", message)

    def _check_parameters(self, name: str, record: Mapping[str, Any]) -> Iterator[Finding]:
        if self._resolved is None:
            yield Finding("parameters", "unknown", name, f"no {RESOLVED_CONFIG}")
            return
        known = self._resolved["parameters"].get(record["command"], [])
        if record["parameters"] in known:
            yield Finding("parameters", "pass", name)
        else:
            yield Finding("parameters", "fail", name, _difference(record["parameters"], known))

    def _check_configuration(self) -> Iterator[Finding]:
        path = self.root / RESOLVED_CONFIG
        if path.is_file():
            holds = text_seal_holds(path.read_text(encoding="utf-8"))
            message = f"its seal is gone or broken: it was edited; {CURE}"
            yield verdict("parameters", holds, RESOLVED_CONFIG, message)

    @cached_property
    def _resolved(self) -> dict[str, Any] | None:
        path = self.root / RESOLVED_CONFIG
        if not path.is_file():
            return None
        return read_resolved(self.root)

    def _check_code(self, name: str, record: Mapping[str, Any]) -> Iterator[Finding]:
        try:
            now = module_hashes(*record["code"]["entries"])
        except ModuleNotFoundError as error:
            yield Finding("code", "fail", name, str(error))
            return
        then = record["code"]["modules"]
        changed = sorted(module for module in {*now, *then} if now.get(module) != then.get(module))
        yield verdict("code", not changed, name, f"changed since: {', '.join(changed)}")


def _compare_folder(path: Path, entry: Mapping[str, Any]) -> Iterator[Finding]:
    now, then = folder_hashes(path), entry["files"]
    changed = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    for name in changed:
        what = "missing" if name not in now else "added" if name not in then else "other bytes"
        yield Finding("outputs", "fail", f"{entry['path']}/{name}", what)
    if not changed:
        yield Finding("outputs", "pass", entry["path"])


def _difference(found: Mapping[str, Any], known: Iterable[Mapping[str, Any]]) -> str:
    """Which keys differ from the entry that differs least."""
    differences = []
    for other in known:
        keys = sorted(key for key in {*found, *other} if found.get(key) != other.get(key))
        differences.append(keys)
    if not differences:
        return f"{RESOLVED_CONFIG} has none for this command"
    return f"differ from {RESOLVED_CONFIG} in: {', '.join(min(differences, key=len))}"
