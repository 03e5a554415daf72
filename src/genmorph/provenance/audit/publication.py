"""Checks `commit` and `environment`: whether others could run the same thing again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genmorph.provenance.audit.findings import Finding, verdict
from genmorph.provenance.record import LOCK_FILE, environment, git_state, project_folder


def check_commit(records: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Whether each record ran committed code; a finding for each that did not."""
    state = git_state()
    if not state:
        yield Finding("commit", "unknown", "code", "not in a git checkout")
    for name, record in records.items():
        git = record["git"]
        if state and not git:
            yield Finding("commit", "unknown", name, "was run outside git")
        elif git.get("dirty"):
            yield Finding("commit", "fail", name, "ran uncommitted code: " + _few(git["changed"]))


def check_environment(records: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Whether each record's environment is the lock file's, and the present one."""
    now, lock = environment(), project_folder() / LOCK_FILE
    if not lock.is_file():
        yield Finding("environment", "unknown", LOCK_FILE, "missing; packages compared with now")
    locked = locked_versions(lock) if lock.is_file() else None
    for name, record in records.items():
        then = record["environment"]
        differing = list(_from_now(then, now))
        if locked is not None:
            differing += _from_lock(then["packages"], locked)
        yield verdict("environment", not differing, name, "; ".join(differing))


def locked_versions(lock: Path) -> dict[str, str]:
    """Version of each package that a lock file pins, by normalised name."""
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(encoding="utf-8"), flags=re.M)
    return {_normalised(name): version for name, version in pins}


def _from_lock(packages: Mapping[str, str], locked: Mapping[str, str]) -> Iterator[str]:
    """Recorded packages that are not the locked ones.

    A local label (`+cpu`, `+cu130`) is the build of one version; the lock does not name it.
    """
    for name, version in sorted(packages.items()):
        pinned = locked.get(_normalised(name))
        if version.split("+")[0] != pinned:
            yield f"{name} {version} then, {LOCK_FILE} has {pinned or 'none'}"


def _from_now(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What is no longer as recorded; a package that was not there then decided nothing."""
    for key in ("python", "machine", "cpu", "lock_sha256"):
        if then.get(key) != now.get(key):
            yield f"{key} {then.get(key)} then, {now.get(key)} now"
    for name, before in sorted(then["packages"].items()):
        after = now["packages"].get(name)
        if before != after:
            yield f"{name} {before} then, {after} now"


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _few(names: Sequence[str], most: int = 5) -> str:
    """Some names in a line, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
