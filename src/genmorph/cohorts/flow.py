"""How many scans pass each stage from the raw tree to the cohort, and why others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from genmorph.cohorts.manifest import Scan

# stages a scan passes in turn, and what each means
STAGES = {
    "found": "scans found below the root",
    "matched": "with a row in the tables",
    "selected": "chosen among the person's images",
    "kept": "kept for the cohort",
}


@dataclass(frozen=True)
class Flow:
    """Numbers of a cohort's flow.

    Attributes
    ----------
    passed : dict
        Scans that passed each stage of `STAGES`.
    left_out : dict
        For each stage, how many scans did not pass it, by reason.
    """

    passed: dict[str, int]
    left_out: dict[str, dict[str, int]]

    @classmethod
    def of(cls, scans: Iterable[Scan]) -> Flow:
        """Count the scans of a manifest."""
        scans = list(scans)
        names = list(STAGES)[1:]
        reasons = {name: Counter[str]() for name in names}
        for scan in scans:
            if scan.exclude_reason is not None:
                # what follows a colon names the single scan
                reasons[scan.excluded_at][scan.exclude_reason.split(":")[0]] += 1
        passed, left = {"found": len(scans)}, len(scans)
        for name in names:
            left -= reasons[name].total()
            passed[name] = left
        return cls(passed, {name: dict(sorted(reasons[name].items())) for name in names})

    def to_json(self) -> dict[str, Any]:
        """As `cohort.json` keeps it."""
        return {"passed": self.passed, "left_out": self.left_out}

    def lines(self) -> list[str]:
        """The flow as text, a stage a line, reasons below it."""
        width = len(str(self.passed["found"]))
        lines = []
        for stage, meaning in STAGES.items():
            for reason, count in self.left_out.get(stage, {}).items():
                lines.append(f"  {'-' + str(count):>{width + 1}}  {reason}")
            lines.append(f"{self.passed[stage]:>{width}}  {stage}: {meaning}")
        return lines
