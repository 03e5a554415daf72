"""Populations: which of a cohort's scans a model is trained on and compared with.

A population is an expression over the manifest's columns (``diagnosis == 'CN'``), or the people
with the lowest or highest values of a field (the youngest fifth), whose cut-point comes from the
training people. A study's visit rule holds for each of its populations.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from genmorph.cohorts.manifest import MANIFEST_COLUMNS, NUMBERS, Scan
from genmorph.errors import CohortError, did_you_mean
from genmorph.validation import Options, validate


class Population(Options):
    """A rule that picks scans."""

    expression: str | None = Field(None, description="over the manifest's columns (pandas query)")
    field: str | None = Field(None, description="column of which the lowest or highest are taken")
    lowest: float | None = Field(None, gt=0, lt=1, description="share of the people")
    highest: float | None = Field(None, gt=0, lt=1, description="share of the people")
    cut_from: Literal["train", "all"] = Field(
        "train", description="people whose values decide the cut-point"
    )
    visits: Literal["all", "first"] = Field("all", description="first: a person's first scan only")

    @model_validator(mode="after")
    def _one_end_of_a_field(self) -> Population:
        ends = (self.lowest is not None) + (self.highest is not None)
        if ends != (self.field is not None):
            raise ValueError("a field needs one of lowest and highest, and they need a field")
        if self.field is not None and self.field not in NUMBERS:
            hint = did_you_mean(self.field, NUMBERS)
            raise ValueError(f"the manifest has no column of numbers '{self.field}'; {hint}")
        return self

    @model_validator(mode="after")
    def _expression_of_columns(self) -> Population:
        if self.expression is None:
            return self
        try:
            tree = ast.parse(self.expression.strip(), mode="eval")
        except SyntaxError:
            raise ValueError(
                f"'{self.expression}' is no expression, such as \"diagnosis == 'CN'\""
            ) from None
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for name in sorted(names - set(MANIFEST_COLUMNS)):
            hint = did_you_mean(name, MANIFEST_COLUMNS)
            raise ValueError(f"the manifest has no column '{name}'; {hint}")
        return self


def population_of(value: Mapping[str, Any] | str | None, where: str = "population") -> Population:
    """A population as a specification writes it: null, an expression, or a mapping.

    Raises
    ------
    ConfigError
        When it is none of these.
    """
    if value is None or isinstance(value, str):
        value = {"expression": value}
    return validate(Population, dict(value), where)


def select(
    scans: Iterable[Scan],
    participants: Iterable[Mapping[str, str | None]],
    *,
    split: str,
    population: Mapping[str, Any] | str | None = None,
) -> list[Scan]:
    """Kept scans of the people of one split, in order of scan id.

    Parameters
    ----------
    scans : iterable of Scan
        Of the whole cohort: cut-points come from other splits too.
    participants : iterable of mapping
        Rows of `participants.tsv`.
    split : {'train', 'validation', 'test'}
    population : mapping or str, optional
        See `population_of`; None takes all.

    Raises
    ------
    CohortError
        When nothing is left, or no training person has the field.
    """
    rule = population_of(population)
    split_of = {row["participant_id"]: row["split"] for row in participants}
    candidates = _candidates(scans, rule)
    chosen = [scan for scan in candidates if split_of.get(scan.participant_id) == split]
    if rule.field is not None:
        cut = cut_point(candidates, split_of, rule)
        chosen = [scan for scan in chosen if _is_beyond(getattr(scan, rule.field), cut, rule)]
    if rule.expression:
        import pandas as pd

        table = pd.DataFrame([asdict(scan) for scan in chosen], columns=MANIFEST_COLUMNS)
        inside = set(table.query(rule.expression)["scan_id"])
        chosen = [scan for scan in chosen if scan.scan_id in inside]
    if not chosen:
        told = rule.model_dump(exclude_defaults=True)
        raise CohortError(
            f"no scan is left in split '{split}'" + (f" of population {told}" if told else ""),
            "add scans, or change the cohort's splits",
        )
    return sorted(chosen, key=lambda scan: scan.scan_id)


def describe_population(
    scans: Iterable[Scan],
    participants: Iterable[Mapping[str, str | None]],
    population: Mapping[str, Any] | str | None,
) -> dict[str, Any] | None:
    """A population with its cut-point found, as JSON values; None when it is everybody."""
    rule = population_of(population)
    told = rule.model_dump(mode="json", exclude_defaults=True)
    if rule.field is not None:
        split_of = {row["participant_id"]: row["split"] for row in participants}
        told["cut_point"] = cut_point(_candidates(scans, rule), split_of, rule)
    return told or None


def _candidates(scans: Iterable[Scan], rule: Population) -> list[Scan]:
    """Kept scans of the visits that the rule takes."""
    return [
        scan
        for scan in scans
        if scan.exclude_reason is None and (rule.visits == "all" or scan.visit == 1)
    ]


def cut_point(scans: Sequence[Scan], split_of: Mapping[str, str | None], rule: Population) -> float:
    """The value at which the lowest, or highest, share of the people ends.

    Each person counts once, with the first visit. It is a value that somebody has: all who share
    it belong to the population, so that ties (ages in whole years) are never torn apart, and the
    share is met or exceeded.

    Raises
    ------
    CohortError
        When nobody has the field.
    """
    values: dict[str, float] = {}
    for scan in sorted(scans, key=lambda scan: scan.visit or 0, reverse=True):
        value = getattr(scan, rule.field)
        counts = rule.cut_from == "all" or split_of.get(scan.participant_id) == "train"
        if value is not None and counts:
            values[scan.participant_id] = float(value)
    if not values:
        raise CohortError(
            f"population: no {rule.cut_from} person has a {rule.field}",
            "the cohort's tables lack it; see docs/data.md",
        )
    sign = 1.0 if rule.lowest is not None else -1.0
    share = rule.lowest if rule.lowest is not None else rule.highest
    ordered = sign * np.asarray(list(values.values()))
    return float(sign * np.quantile(ordered, share, method="inverted_cdf"))


def _is_beyond(value: float | None, cut: float, rule: Population) -> bool:
    if value is None:
        return False
    return value <= cut if rule.lowest is not None else value >= cut
