"""What every layout gives: the scans of a raw tree, and what must be known about them.

A layout is a module with

- ``PATTERNS``: where its scans lie, as globs below the root, for messages;
- ``LayoutOptions``: choices that only this layout has (pydantic), such as which images to prefer;
- ``read_cohort(source, options) -> Reading``: every scan found, those left out with their reason.

A layout never writes below the root, and lists in the same order each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genmorph.cohorts.manifest import Scan
from genmorph.errors import CohortError
from genmorph.files import read_json_object

# where a simulated tree keeps what no source would have: its truth, and the word that it is made
TRUTH = Path("derivatives/truth")
# its label maps below it, by the columns of its truth.tsv
TRUE_LABELS = "**/{scan_id}_desc-structures_dseg.nii.gz"


@dataclass(frozen=True)
class Source:
    """A raw tree and the files that go with it.

    Attributes
    ----------
    root : Path
        Folder of the raw scans.
    tables : Path, optional
        Folder of the study's tables; None: they are searched below the root.
    withdrawn : Path, optional
        People who withdrew their consent, one id a line, no header.
    """

    root: Path
    tables: Path | None = None
    withdrawn: Path | None = None


@dataclass(frozen=True)
class Reading:
    """What a layout found.

    Attributes
    ----------
    scans : list of Scan
        Every scan, in the order of scan ids; those left out say at which stage and why.
    files : tuple of Path
        Tables and descriptions that were read, for the record.
    notes : tuple of str
        What a user of the cohort must know: ages are bins, families are unknown, ...
    rows_without_scan : tuple of str
        People of the tables of whom no scan was found.
    name : str
        The dataset's name.
    """

    scans: list[Scan]
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    rows_without_scan: tuple[str, ...] = ()
    name: str = ""


def leave_out(scan: Scan, stage: str, reason: str) -> Scan:
    """The scan with the stage that it does not pass and the reason.

    Parameters
    ----------
    stage : {'matched', 'selected', 'kept'}
        Matched with a table; selected among the person's scans of a visit; kept for the study.
    """
    return replace(scan, excluded_at=stage, exclude_reason=reason)


def require_folder(root: Path, holds: str) -> None:
    """Raise a `CohortError` when the root is no folder; `holds` says what should lie in it."""
    if not root.is_dir():
        raise CohortError(
            f"{root}: no such folder",
            f"set the cohort's root in config.yaml to the folder that holds {holds}",
        )


def nothing_found(root: Path, patterns: Sequence[str], holds: str) -> CohortError:
    """The error of a root without a single scan: what was looked for, and what is there instead."""
    seen = [path.relative_to(root).as_posix() for path in _first_files(root, 2)]
    return CohortError(
        f"{root}: no scan found; patterns tried: {', '.join(patterns)}; "
        f"files seen: {', '.join(seen) or 'none'}",
        f"point the cohort's root at the folder that holds {holds}",
    )


def _first_files(root: Path, most: int) -> list[Path]:
    found: list[Path] = []
    for path in sorted(root.iterdir()):
        if path.is_file():
            found.append(path)
        elif path.is_dir():
            found += _first_files(path, most - len(found))
        if len(found) >= most:
            break
    return found[:most]


def describe_simulation(root: Path) -> dict[str, Any]:
    """Whether a tree was made by `genmorph simulate`, and what must be said of its tables."""
    path = root / TRUTH / "dataset_description.json"
    made = read_json_object(path).get("GenMorph") if path.is_file() else None
    made = made if isinstance(made, dict) else {}
    return {
        "simulated": bool(made.get("Simulated", False)),
        "data_label": made.get("DataLabel", ""),
    }
