"""The manifest: one row a scan, the same columns for every layout."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from genmorph.errors import CohortError
from genmorph.files import digest, read_tsv, write_tsv
from genmorph.splits import assign_splits

LEDGER_COLUMNS = ("kind", "id", "value")


@dataclass(frozen=True)
class Scan:
    """One raw image with its row of metadata.

    Attributes
    ----------
    scan_id : str
        BIDS entities that name it in this study: `sub-0001_ses-1`.
    participant_id, session : str
    source_id : str or None
        The person's id as the source spells it; it stays in the cohort's folder.
    path : str
        Below the cohort's root: a file, `archive.zip!member`, or a folder of DICOM slices.
    format : {'nifti', 'analyze-ASL', 'analyze-LAS', ..., 'dicom'}
        That of Analyze images says which way their axes run.
    size : int
        Bytes, as found at ingest: of a zip member unpacked, of a pair or folder in all.
    crc32 : str or None
        Of a zip member, as its archive states it.
    skull_stripped : bool
    visit : int or None
        1 for the person's first scan by date or session, 2 for the next, ...
    acquisition_date : str or None
        ISO 8601.
    age_years, sex, diagnosis
        Of the person at this scan; None when not known.
    age_precision : {'exact', 'bin'} or None
        A bin's middle is no age to condition a model on.
    site, scanner : str or None
    field_strength_tesla : float or None
    family_id : str or None
        People of one family never stand on two sides of a split.
    ventricle_ml, brain_ml : float or None
        Volumes that the source measured.
    ventricle_normalised_ml, brain_normalised_ml : float or None
        The same, normalised for head size.
    shard : int or None
        Job that preprocesses it; None when the scan is left out.
    excluded_at : {'matched', 'selected', 'kept'} or None
        First stage that the scan does not pass.
    exclude_reason : str or None
    """

    scan_id: str
    participant_id: str
    session: str | None
    path: str
    size: int
    skull_stripped: bool
    source_id: str | None = None
    format: str = "nifti"
    crc32: str | None = None
    visit: int | None = None
    acquisition_date: str | None = None
    age_years: float | None = None
    age_precision: str | None = None
    sex: str | None = None
    diagnosis: str | None = None
    site: str | None = None
    scanner: str | None = None
    field_strength_tesla: float | None = None
    family_id: str | None = None
    ventricle_ml: float | None = None
    ventricle_normalised_ml: float | None = None
    brain_ml: float | None = None
    brain_normalised_ml: float | None = None
    shard: int | None = None
    excluded_at: str | None = None
    exclude_reason: str | None = None

    @property
    def public_name(self) -> str:
        """What records call the raw scan: its path, or its id where the path tells the person."""
        source_id = (self.source_id or "").replace("_", "")  # as BIDS labels spell it
        pseudonymous = source_id not in self.participant_id
        return self.scan_id if pseudonymous and self.source_id in self.path else self.path

    @classmethod
    def from_row(cls, row: Mapping[str, str | None]) -> Scan:
        """Read a row of `manifest.tsv`.

        Raises
        ------
        CohortError
            When a value that every scan has is missing, or is not of its column's kind.
        """
        values: dict[str, Any] = dict(row)
        absent = [column for column in _ALWAYS if values[column] is None]
        if absent:
            raise CohortError(f"scan {values['scan_id']}: no value in column {', '.join(absent)}")
        for column, read in _READ.items():
            if values[column] is not None:
                try:
                    values[column] = read(values[column])
                except ValueError:
                    raise CohortError(
                        f"scan {values['scan_id']}: {column} is '{values[column]}'"
                    ) from None
        return cls(**{column: values[column] for column in MANIFEST_COLUMNS})

    def row(self) -> dict[str, object]:
        """The scan as a row of `manifest.tsv`."""
        return asdict(self) | {"skull_stripped": "true" if self.skull_stripped else "false"}


# columns that hold numbers with a unit
NUMBERS = (
    "age_years",
    "field_strength_tesla",
    "ventricle_ml",
    "ventricle_normalised_ml",
    "brain_ml",
    "brain_normalised_ml",
)
_READ: dict[str, Callable[[str], Any]] = {
    "size": int,
    "visit": int,
    "shard": int,
    "skull_stripped": lambda text: text == "true",
    **dict.fromkeys(NUMBERS, float),
}
MANIFEST_COLUMNS = tuple(field.name for field in fields(Scan))
_ALWAYS = ("scan_id", "participant_id", "path", "size", "skull_stripped", "format")


def read_manifest(path: Path | str) -> list[Scan]:
    """Scans of a cohort, in manifest order.

    Raises
    ------
    CohortError
        When a row is no scan's.
    """
    try:
        return [Scan.from_row(row) for row in read_tsv(path, MANIFEST_COLUMNS)]
    except CohortError as error:
        raise CohortError(f"{path}: {error.message}", "ingest the cohort again") from None


def write_manifest(path: Path, scans: Iterable[Scan]) -> None:
    """Write `manifest.tsv`, sorted by shard, then by id; left-out scans last."""
    ordered = sorted(scans, key=lambda scan: (scan.shard is None, scan.shard or 0, scan.scan_id))
    write_tsv(path, MANIFEST_COLUMNS, (scan.row() for scan in ordered))


def shards(scans: Iterable[Scan]) -> list[int]:
    """The cohort's shard numbers."""
    return sorted({scan.shard for scan in scans if scan.shard is not None})


def of_shard(scans: Iterable[Scan], shard: int) -> list[Scan]:
    """Scans that one job preprocesses."""
    return [scan for scan in scans if scan.shard == shard]


def rows_digest(scans: Iterable[Scan]) -> str:
    """Hash of what preprocessing depends on in some manifest rows."""
    return digest(
        [
            [scan.scan_id, scan.path, scan.format, scan.size, scan.crc32, scan.skull_stripped]
            for scan in scans
        ]
    )


_LEDGER_KINDS = {"scan": "shards", "person": "splits", "pseudonym": "pseudonyms"}


class Ledger:
    """What stays as it was when a cohort grows: shards of scans, splits and pseudonyms of people.

    A known scan keeps its shard; new scans fill the last shard or open another. A known person
    keeps the split and the pseudonym; new people go where the shares lack most. The file is state
    of the cohort, not an output of a rule: Snakemake removes outputs before it makes them anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shards: dict[str, int] = {}
        self.splits: dict[str, str] = {}
        self.pseudonyms: dict[str, str] = {}
        for row in read_tsv(path, LEDGER_COLUMNS) if path.is_file() else []:
            kind, key, value = row["kind"], row["id"], row["value"]
            sound = value and (kind != "scan" or re.fullmatch("[0-9]{1,9}", value))
            if kind not in _LEDGER_KINDS or not key or not sound:
                raise CohortError(
                    f"{path}: damaged: '{kind} {key} {value}' is no line of a ledger",
                    "restore it; without it splits and shards are given out anew",
                )
            getattr(self, _LEDGER_KINDS[kind])[key] = int(value) if kind == "scan" else value

    def assign_shards(self, scans: Sequence[Scan], shard_size: int) -> list[Scan]:
        """Scans with their shard; left-out scans have none."""
        last = max(self.shards.values(), default=0)
        filled = sum(shard == last for shard in self.shards.values())
        kept = sorted(scan.scan_id for scan in scans if scan.exclude_reason is None)
        for scan_id in kept:
            if scan_id in self.shards:
                continue
            if filled >= shard_size:
                last, filled = last + 1, 0
            self.shards[scan_id] = last
            filled += 1
        return [
            scan
            if scan.exclude_reason is not None
            else replace(scan, shard=self.shards[scan.scan_id])
            for scan in scans
        ]

    def assign_splits(
        self, people: Iterable[str], shares: Mapping[str, float], seed: int
    ) -> dict[str, str]:
        """Each person's, or family's, split; known ones keep theirs (`genmorph.splits`)."""
        people = set(people)
        self.splits = assign_splits(self.splits, people, shares, seed)
        return {person: self.splits[person] for person in sorted(people)}

    def assign_pseudonyms(self, scans: Sequence[Scan], prefix: str) -> list[Scan]:
        """Scans under names that do not tell the person: `sub-ukb00001` for an id of the source."""
        for source_id in sorted({scan.source_id for scan in scans} - set(self.pseudonyms)):
            self.pseudonyms[source_id] = f"sub-{prefix}{len(self.pseudonyms) + 1:05d}"
        named = []
        for scan in scans:
            person = self.pseudonyms[scan.source_id]
            scan_id = person + scan.scan_id.removeprefix(scan.participant_id)
            named.append(replace(scan, scan_id=scan_id, participant_id=person))
        return named

    def save(self) -> None:
        """Write the ledger atomically."""
        rows = [
            {"kind": kind, "id": key, "value": value}
            for kind, name in _LEDGER_KINDS.items()
            for key, value in getattr(self, name).items()
        ]
        write_tsv(self.path, LEDGER_COLUMNS, rows)
