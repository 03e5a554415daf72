"""The picture of the controls: what each measure answers to what was done to the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from genmorph.controls.rows import FAILED, PASSED, Curve, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {PASSED: "#2a7f3f", FAILED: "#c62828"}
CURVES_A_ROW = 3


def draw_controls(rows: Sequence[Row], curves: Mapping[str, Curve]) -> Figure:
    """Responses as curves, and each control's place in the interval it has to lie in.

    Parameters
    ----------
    rows : sequence of Row
    curves : mapping of str to Curve
        Title to curve.
    """
    from matplotlib.figure import Figure

    held = [row for row in rows if row.verdict in COLOURS]
    lines = math.ceil(len(curves) / CURVES_A_ROW)
    figure = Figure(figsize=(11, 2.6 * lines + 0.27 * len(held) + 1), layout="constrained")
    above, below = figure.subfigures(
        2, 1, height_ratios=[max(2.6 * lines, 0.1), 0.27 * len(held) + 1]
    )
    if curves:
        axes = above.subplots(lines, CURVES_A_ROW, squeeze=False)
        for axis in axes.flat[len(curves) :]:
            axis.set_axis_off()
        for axis, (title, curve) in zip(axes.flat, curves.items(), strict=False):
            _draw_curve(axis, title, curve)
    _draw_intervals(below.subplots(), held)
    return figure


def _draw_curve(axis: Axes, title: str, curve: Curve) -> None:
    spread = curve.spread or None
    axis.errorbar(curve.x, curve.y, yerr=spread, marker="o", ms=3, lw=1.2, capsize=2, color="#333")
    axis.set_title(title, fontsize=8)
    axis.set_xlabel(curve.x_label, fontsize=7)
    axis.set_ylabel(curve.y_label, fontsize=7)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_intervals(axis: Axes, rows: Sequence[Row]) -> None:
    """Each control on a scale of its own: the interval it has to lie in is from 0 to 1."""
    axis.axvspan(0, 1, color="#e8f0e8", lw=0)
    for place, row in enumerate(reversed(rows)):
        x = _place(row)
        axis.plot(x, place, "o", ms=5, color=COLOURS[row.verdict])
        axis.annotate(
            f"{row.measured:.3g}", (x, place), (5, 0), textcoords="offset points",
            va="center", fontsize=6,
        )  # fmt: skip
    axis.set_yticks(range(len(rows)), [_title(row) for row in reversed(rows)], fontsize=6)
    axis.set_xlim(-0.6, 1.6)
    axis.set_xticks([0, 1], ["least", "most"], fontsize=7)
    axis.set_xlabel("place of the measured value in its expected interval", fontsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _title(row: Row) -> str:
    low = "" if row.low is None else f"{row.low:.3g}"
    high = "" if row.high is None else f"{row.high:.3g}"
    return f"{row.control} [{low}, {high}]"


def _place(row: Row) -> float:
    """0 at the least value allowed, 1 at the most; beyond the picture at its edge."""
    if math.isnan(row.measured):
        return -0.5
    low = row.low if row.low is not None else min(row.measured, row.high) - 1
    high = row.high if row.high is not None else max(row.measured, row.low) + 1
    if high == low:
        return 0.5 if row.measured == low else math.copysign(1.0, row.measured - low) + 0.5
    return min(max((row.measured - low) / (high - low), -0.5), 1.5)
