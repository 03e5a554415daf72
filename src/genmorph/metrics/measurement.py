"""What a measure gives: values with their spread, counts and every setting of the estimator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from genmorph.errors import MeasurementError


@dataclass(frozen=True)
class Measurement:
    """Values of one measure on one pair of sets of volumes.

    Attributes
    ----------
    measure : str
        Name: 'frechet', 'reconstruction', ...
    values : dict of str to float
        Finite values. One that is not defined is absent, with its reason in `notes`.
    spread : dict of str to float
        Standard deviation of a value; what it is taken over stands in `settings['spread_over']`.
    n : dict of str to int
        Counts on each side: scans, and people where ids tell them.
    settings : dict
        Every setting of the estimator. It holds no counts: values of equal settings may share a
        column of a table.
    data_label : str
        What must be said of the data (that they are simulated, say); '' when nothing.
    notes : tuple of str
        What a reader of the values has to know.
    per_scan : dict of str to dict
        Values of each scan, by scan id, for measures that have them.

    Raises
    ------
    MeasurementError
        When a value is not a finite number.
    """

    measure: str
    values: dict[str, float]
    n: dict[str, int]
    settings: dict[str, Any]
    spread: dict[str, float] = field(default_factory=dict)
    data_label: str = ""
    notes: tuple[str, ...] = ()
    per_scan: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tables = {"values": self.values, "spread": self.spread, **self.per_scan}
        for table, numbers in tables.items():
            for key, value in numbers.items():
                if not math.isfinite(value):
                    raise MeasurementError(f"{self.measure}: {key} of {table} is {value}")

    def to_json(self) -> dict[str, Any]:
        """The measurement as JSON values."""
        return asdict(self) | {"notes": list(self.notes)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Measurement:
        """Read what `to_json` wrote.

        Raises
        ------
        MeasurementError
            When it is not a measurement.
        """
        if not isinstance(content, Mapping):
            raise MeasurementError("not a measurement: keys and values are expected at the top")
        known = {entry.name for entry in fields(cls)}
        unknown = set(content) - known
        missing = {"measure", "values", "n", "settings"} - set(content)
        if unknown or missing:
            raise MeasurementError(
                f"not a measurement: unknown {sorted(unknown)}, missing {sorted(missing)}"
            )
        for key in ("values", "n", "settings"):
            if not isinstance(content[key], Mapping):
                raise MeasurementError(f"not a measurement: {key} holds no keys and values")
        notes = content.get("notes", ())
        if not isinstance(notes, list | tuple):
            raise MeasurementError("not a measurement: its notes are no list")
        return cls(**{**content, "notes": tuple(notes)})


def person(scan_id: str) -> str | None:
    """The person a scan id names, or None when it names none.

    Examples
    --------
    >>> person("sub-01_ses-1"), person("sample-00000")
    ('sub-01', None)
    """
    entity = scan_id.split("_")[0]
    return entity if entity.startswith("sub-") else None


def people(scan_ids: Iterable[str]) -> int | None:
    """Number of people behind scan ids, or None when the ids do not name people.

    Examples
    --------
    >>> people(["sub-01_ses-1", "sub-01_ses-2", "sub-02"])
    2
    >>> people(["sample-00000"]) is None
    True
    """
    named = {person(scan_id) for scan_id in scan_ids}
    return None if None in named else len(named)


def counts(**sides: list[str]) -> dict[str, int]:
    """Scans, and people where ids name them, on each side of a measure.

    Examples
    --------
    >>> counts(generated=["sample-0"], reference=["sub-1_ses-1", "sub-1_ses-2"])
    {'generated_scans': 1, 'reference_scans': 2, 'reference_people': 1}
    """
    result = {}
    for side, scan_ids in sides.items():
        result[f"{side}_scans"] = len(scan_ids)
        named = people(scan_ids)
        if named is not None:
            result[f"{side}_people"] = named
    return result
