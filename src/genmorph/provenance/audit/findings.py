"""What an audit finds: the stable codes of its checks, one finding, the whole report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from genmorph.errors import GenmorphError
from genmorph.provenance.record import RESOLVED_CONFIG

CHECKS = {
    "outputs": "every file equals what its record says was written",
    "inputs": "every input equals what its producer wrote",
    "records": "every file has a record, no record was edited, its parents are unchanged",
    "raw": "every raw scan equals what was read",
    "parameters": f"recorded parameters equal {RESOLVED_CONFIG}, which nobody edited",
    "code": "the code each record ran equals the same modules as they stand",
    "seeds": "seeds are the derived ones, and no two runs share one",
    "splits": "no person or family stands in two splits; splits follow the hash",
    "withdrawn": "nobody on a withdrawal list is used",
    "cells": "each table cell, recomputed from its measurement, prints the same",
    "commit": "the code was committed",
    "environment": "packages are the lock's; interpreter, packages and lock unchanged",
    "orphans": "no record without its files, no file without a record",
    "identifiers": "nothing that is shared names a machine, a user or a person",
}
# these make a result unfit to publish, not wrong
PUBLICATION = ("commit", "environment", "orphans", "identifiers")
# so does this outcome of check `withdrawn`
NO_LIST = "no withdrawal list is configured"


@dataclass(frozen=True)
class Finding:
    """Outcome of one check on one subject.

    Attributes
    ----------
    code : str
        Stable name of the check, a key of `CHECKS`.
    status : {'pass', 'fail', 'unknown'}
    subject : str
        File, relative to the results root, or `cohort:NAME/file` for raw ones.
    message : str
    """

    code: str
    status: str
    subject: str
    message: str = ""


@dataclass(frozen=True)
class Report:
    """All findings of an audit.

    Attributes
    ----------
    target : str
    records : list of str
        Records the target rests on, in the order they were visited.
    findings : list of Finding
    affected : dict
        What rests on broken links: main outputs by command, rows of tables.
    """

    target: str
    records: list[str]
    findings: list[Finding]
    affected: dict[str, list[str]] = field(default_factory=dict)

    def failures(self, *, publication: bool) -> list[Finding]:
        """What failed: of the chain, or of what only bars publication."""
        return [
            finding
            for finding in self.findings
            if finding.status != "pass" and _bars_publication_only(finding) == publication
        ]

    def exit_code(self, *, strict: bool = False) -> int:
        """0 trusted; 1 broken; 3 sound but not publishable (1 when `strict`)."""
        if self.failures(publication=False):
            return 1
        if self.failures(publication=True):
            return 1 if strict else 3
        return 0

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "target": self.target,
            "exit_code": self.exit_code(),
            "records": self.records,
            "findings": [asdict(finding) for finding in self.findings],
            "affected": self.affected,
        }


def _bars_publication_only(finding: Finding) -> bool:
    """Whether a finding makes a result unfit to publish, and not wrong."""
    not_configured = finding.code == "withdrawn" and finding.message.startswith(NO_LIST)
    return finding.code in PUBLICATION or not_configured


def verdict(code: str, passed: bool, subject: str, message: str) -> Finding:
    """A finding that passes without words or fails with `message`."""
    return Finding(code, "pass" if passed else "fail", subject, "" if passed else message)


def guarded(code: str, subject: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Outcome of a check, `unknown` where what it looks at is too damaged to be looked at.

    Files and records may have been edited in any way: whatever a check stumbles over is something
    that it found, and no reason to leave the checks after it undone.
    """
    try:
        return list(check())
    except Exception as error:
        text = error.message if isinstance(error, GenmorphError) else f"{type(error).__name__}"
        return [Finding(code, "unknown", subject, f"could not be checked: {text}")]
