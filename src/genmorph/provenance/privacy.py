"""What of a results root tells who was scanned, and what a crate says in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genmorph.errors import AuditError
from genmorph.files import read_json_object, read_tsv
from genmorph.provenance.audit.identifiers import TEXT_SUFFIXES, names_in, real_people

# what is nobody's: tables, figures, notebooks, and what they are made from
SHARED = ("tables", "figures", "notebooks", "controls")
SHARED_OF_RUNS = re.compile(r"runs/.*/(measures/.*|training\.json|metrics\.csv|store\.json)")
# lists of people and scans, and the records, which name raw scans by their paths
PERSONAL = re.compile(r"cohorts/.*|runs/.*/index\.tsv|preprocessed/.*\.(tsv|json)")


class Privacy:
    """Decides what may be told of the people behind a results root.

    Parameters
    ----------
    root : Path
        Results root.
    cohorts : iterable of str
        Names of its cohorts.
    include_personal : bool
        Tell everything.

    Raises
    ------
    GenmorphError
        When a cohort's tables cannot be read: then nobody knows whom they name.
    """

    def __init__(self, root: Path, cohorts: Iterable[str], *, include_personal: bool) -> None:
        self.root = root
        self.include_personal = include_personal
        self.people: set[str] = set()
        self.real: set[str] = set()
        for name in sorted(cohorts):
            folder = root / "cohorts" / name
            if read_json_object(folder / "cohort.json").get("simulated") is True:
                continue
            self.real.add(name)
            self.people |= real_people(folder)
            for row in read_tsv(folder / "manifest.tsv", ("scan_id", "path")):
                self.people |= {text for key in ("scan_id", "path") if (text := row[key])}
        self._numbers: dict[tuple[str, str], int] = {}

    def hides(self, cohort: str) -> bool:
        """Whether scans of a cohort go without their names."""
        return cohort in self.real and not self.include_personal

    def scan_name(self, cohort: str, path: str) -> str:
        """What a raw file is called: its path, or, of a real cohort, a number."""
        if not self.hides(cohort):
            return path
        number = self._numbers.setdefault((cohort, path), len(self._numbers) + 1)
        return f"file {number}"

    def told(self, text: str) -> set[str]:
        """People of a real cohort whom a text names; none where they may be named."""
        if self.include_personal or not self.people:
            return set()
        paths = {name for name in self.people if "/" in name and name in text}
        return paths | names_in(text, self.people)

    def may_carry(self, path: str) -> bool:
        """Whether a file may stand in a crate as it is."""
        if Path(path).name.startswith("."):
            return False
        shared = path.split("/")[0] in SHARED or SHARED_OF_RUNS.fullmatch(path)
        if not shared:
            return self.include_personal and PERSONAL.fullmatch(path) is not None
        if self.told(path):
            return False
        if Path(path).suffix not in TEXT_SUFFIXES:
            return True
        return not self.told((self.root / path).read_text(encoding="utf-8", errors="replace"))

    def require_silence(self, metadata: Mapping[str, Any]) -> None:
        """Refuse a description that names somebody after all.

        Raises
        ------
        AuditError
            Names where, not whom.
        """
        for entity in metadata["@graph"]:
            if self.told(str(entity)):
                raise AuditError(
                    f"the description of {entity['@type']} '{str(entity.get('name'))[:20]}...' "
                    "would name a person of a real cohort",
                    "give files and options names without ids, or --include-personal",
                )
