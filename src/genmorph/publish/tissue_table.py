"""P5's Table 2 from measurements of tissue volumes: its shape only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from genmorph.errors import MeasurementError
from genmorph.metrics.cells import NOT_AVAILABLE
from genmorph.metrics.measurement import Measurement
from genmorph.metrics.tissue_volumes import TISSUES, verdict

if TYPE_CHECKING:
    import pandas as pd

REAL = "Real"


def tissue_table(
    measurements: Mapping[tuple[str, str], Measurement], *, details: bool = False
) -> pd.DataFrame:
    """Tissue volumes of each population: a row for the real scans, then one a model.

    Parameters
    ----------
    measurements : mapping of (str, str) to Measurement
        `tissue_volumes` of each population and model, in the order of the table. All models of a
        population were compared with the same real scans.
    details : bool
        Whether two columns stand beside each tissue: the difference (ml; %; interval in ml) and the
        equivalence test.

    Returns
    -------
    DataFrame
        Index `population`, `model`; columns `GM`, `WM`, `CSF`, `DGM` hold mean ± SD in ml as text,
        between `**` where the difference is not significant. A cell whose test was withheld says
        `(underpowered)`.

    Raises
    ------
    MeasurementError
        When there is none, they were made with different settings, or the real scans of one
        population differ between its models.
    """
    import pandas as pd

    _check(measurements)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for (population, model), measurement in measurements.items():
        real = {tissue: _volume(measurement, tissue, "reference") for tissue in TISSUES}
        rows.setdefault((population, REAL), real)
        rows[population, model] = {
            key: text
            for tissue in TISSUES
            for key, text in _cells(measurement, tissue, details).items()
        }
    order = [
        key
        for population in dict.fromkeys(name for name, _ in rows)
        for key in rows
        if key[0] == population
    ]
    index = pd.MultiIndex.from_tuples(order, names=["population", "model"])
    columns = list(rows[next(iter(measurements))])
    return pd.DataFrame([rows[key] for key in order], index=index, columns=columns).fillna("")


def _check(measurements: Mapping[tuple[str, str], Measurement]) -> None:
    if not measurements:
        raise MeasurementError("tissue table: no measurements")
    first_name, first = next(iter(measurements.items()))
    reference: dict[str, tuple[str, Measurement]] = {}
    for (population, model), measurement in measurements.items():
        name = f"{population}, {model}"
        if measurement.measure != "tissue_volumes":
            raise MeasurementError(
                f"tissue table: {name} is a measurement of {measurement.measure}"
            )
        if model == REAL:
            raise MeasurementError(f"tissue table: a model of {population} is called {REAL}")
        differing = [
            key
            for key in first.settings.keys() | measurement.settings.keys()
            if key != "run" and first.settings.get(key) != measurement.settings.get(key)
        ]
        if differing:
            raise MeasurementError(
                f"tissue table: {name} and {', '.join(first_name)} differ in "
                f"{', '.join(sorted(differing))}",
                "measure both with the same settings",
            )
        other, known = reference.setdefault(population, (model, measurement))
        if _real(known) != _real(measurement):
            raise MeasurementError(
                f"tissue table: {model} and {other} of {population} were compared with "
                "different real scans",
                "measure both against the same reference",
            )


def _real(measurement: Measurement) -> dict[str, float]:
    """Everything that a measurement says of its real side."""
    tables = {"": measurement.values, "SD ": measurement.spread, "n ": measurement.n}
    return {
        prefix + key: value
        for prefix, table in tables.items()
        for key, value in table.items()
        if "reference" in key
    }


def _volume(measurement: Measurement, tissue: str, side: str) -> str:
    key = f"{tissue}_{side}_ml"
    if key not in measurement.values:
        return NOT_AVAILABLE
    text = f"{measurement.values[key]:.0f}"
    return f"{text} ± {measurement.spread[key]:.0f}" if key in measurement.spread else text


def _cells(measurement: Measurement, tissue: str, details: bool) -> dict[str, str]:
    text = _volume(measurement, tissue, "generated")
    word = verdict(measurement, tissue).split(", ")[0]
    if word == "not significant":
        text = f"**{text}**"
    elif word == "underpowered":
        text = f"{text} (underpowered)"
    if not details:
        return {tissue: text}
    return {
        tissue: text,
        f"{tissue} difference": _difference(measurement, tissue),
        f"{tissue} equivalence": _equivalence(measurement, tissue),
    }


def _difference(measurement: Measurement, tissue: str) -> str:
    values, key = measurement.values, f"{tissue}_difference"
    if f"{key}_ml" not in values:
        return NOT_AVAILABLE
    text = f"{values[f'{key}_ml']:+.1f} ml; {values[f'{key}_percent']:+.1f} %"
    if f"{key}_ml_low" not in values:
        return text
    return f"{text}; {values[f'{key}_ml_low']:+.1f} to {values[f'{key}_ml_high']:+.1f} ml"


def _equivalence(measurement: Measurement, tissue: str) -> str:
    values = measurement.values
    if f"{tissue}_equivalent" not in values:
        return NOT_AVAILABLE
    shown = "equivalent" if values[f"{tissue}_equivalent"] else "not shown"
    return f"{shown} (p = {values[f'{tissue}_equivalence_p']:.2g})"
