"""Training curves: a column a model, the loss above, its terms below.

Same input, same bytes, as for all figures.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.figures import (
    INK,
    MM_PER_INCH,
    PAGE_WIDTH_MM,
    QUIET,
    SMALL_POINTS,
    TITLE_POINTS,
    line_mm,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Table = Mapping[str, np.ndarray]

HORIZONTAL = "volumes_seen"
TOTAL, RECONSTRUCTION, VALIDATION = "total", "reconstruction", "validation_"
# columns that are no terms of a loss, alone or at the end of a longer name
BOOKKEEPING = ("epoch", "step", HORIZONTAL, "learning_rate", "gradient_norm", TOTAL)

# told apart also by those who see no red or no green (Okabe and Ito)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5f5f5f", "#000000")
DASHES = ("-", (0, (4, 1.2)), (0, (1, 1)))  # once the colours are used up

PANEL_HEIGHT_MM, ROW_GAP_MM, COLUMN_GAP_MM = 36.0, 9.0, 11.0
LEFT_MM, RIGHT_MM, TOP_MM = 16.0, 2.0, 9.5
GREATEST_PANEL_MM = 70.0
LEGEND_ENTRY_MM = 36.0
LEGEND_LINE_MM = 3.6
LOGARITHMIC_FROM = 10.0  # times the least value


def read_training_metrics(path: Path | str) -> dict[str, np.ndarray]:
    """The columns of a metrics.csv, `[row]` each; what was not measured in an epoch is NaN.

    Raises
    ------
    GenmorphError
        When it is absent, holds no row, or holds something else than numbers.
    """
    cure = "remove it and run the workflow again"
    try:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        table = {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
    except FileNotFoundError:
        raise GenmorphError(f"{path}: no such file", cure) from None
    except (IndexError, TypeError, ValueError) as error:
        raise GenmorphError(f"{path}: not a table of training metrics ({error})", cure) from None
    if HORIZONTAL not in table:
        raise GenmorphError(f"{path}: column {HORIZONTAL} is missing", cure)
    return table


def headline(table: Table) -> str:
    """The column that stands for the loss: `total`, or `reconstruction` where only that is
    validated or there.

    Raises
    ------
    GenmorphError
        When the table has neither.
    """
    there = [name for name in (TOTAL, RECONSTRUCTION) if name in table]
    validated = [name for name in there if VALIDATION + name in table]
    if not there:
        raise GenmorphError(
            f"training metrics without {TOTAL} and {RECONSTRUCTION}: {', '.join(table)}",
            "let the model's losses name their terms so",
        )
    return (validated or there)[0]


def loss_terms(table: Table) -> dict[str, np.ndarray]:
    """Terms of the loss by name; those that differ by a trailing number alone are summed.

    A term is a column that is validated too, or has a name of several words, as terms of one of
    several networks have (`generator_...`): a weight that the model schedules (`beta`) is neither.

    Examples
    --------
    >>> table = {"kl": [1.0], "validation_kl": [1.0], "beta": [6.0], "volumes_seen": [1]}
    >>> list(loss_terms(table | {"edge_1": [1.0], "edge_2": [2.0]}))
    ['edge', 'kl']
    """
    terms: dict[str, np.ndarray] = {}
    for name, values in table.items():
        if name.startswith(VALIDATION) or name.endswith(BOOKKEEPING):
            continue
        if VALIDATION + name in table or "_" in name:
            whole = re.sub(r"_\d+$", "", name)
            terms[whole] = terms.get(whole, 0.0) + np.asarray(values, dtype=float)
    return dict(sorted(terms.items()))


def draw_training_curves(tables: Mapping[str, Table], *, footer: str = "") -> Figure:
    """Loss of training and validation scans, and the loss's terms, over the volumes seen.

    Parameters
    ----------
    tables : mapping of str to Table
        Training metrics by model.
    footer : str
        Small print below.

    Raises
    ------
    GenmorphError
        When there is no model, or a table names no loss.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not tables:
        raise GenmorphError("figure: training curves of no model", "name a trained model")
    terms = {model: loss_terms(table) for model, table in tables.items()}
    looks = _looks(sorted({name for own in terms.values() for name in own}))
    count = len(tables)
    free = PAGE_WIDTH_MM - LEFT_MM - RIGHT_MM - COLUMN_GAP_MM * (count - 1)
    width = min(GREATEST_PANEL_MM, free / count)
    page = LEFT_MM + RIGHT_MM + COLUMN_GAP_MM * (count - 1) + width * count
    per_line = max(1, int((page - LEFT_MM) / LEGEND_ENTRY_MM))
    legend_mm = LEGEND_LINE_MM * -(-len(looks) // per_line)
    words = wrap(footer, page - LEFT_MM - RIGHT_MM)
    small_mm = len(words) * line_mm(SMALL_POINTS)
    below = 10.5 + legend_mm + small_mm + 1.5
    height = TOP_MM + 2 * PANEL_HEIGHT_MM + ROW_GAP_MM + below
    figure = Figure(figsize=(page / MM_PER_INCH, height / MM_PER_INCH))
    FigureCanvasAgg(figure)

    def panel(column: int, row: int) -> Axes:
        left = LEFT_MM + column * (width + COLUMN_GAP_MM)
        bottom = below + (1 - row) * (PANEL_HEIGHT_MM + ROW_GAP_MM)
        place = left / page, bottom / height, width / page, PANEL_HEIGHT_MM / height
        return _plain(figure.add_axes(place))

    for column, (model, table) in enumerate(tables.items()):
        loss, parts = panel(column, 0), panel(column, 1)
        name = headline(table)
        _loss(loss, table, name)
        for term, values in terms[model].items():
            _line(parts, table, values, **looks[term])
        for axes, shown in ((loss, _columns(table, name)), (parts, list(terms[model].values()))):
            _scale(axes, shown)
        loss.set_title(f"{model}\n{name}", size=TITLE_POINTS, color=INK)
        parts.set_xlabel("volumes seen", size=SMALL_POINTS + 1, color=INK)
        if column == 0:
            loss.set_ylabel("loss", size=SMALL_POINTS + 1, labelpad=2)
            parts.set_ylabel("weighted terms, training", size=SMALL_POINTS + 1, labelpad=2)
    handles = {line.get_label(): line for axes in figure.axes[1::2] for line in axes.lines}
    figure.legend(
        [handles[name] for name in looks],
        [name.replace("_", " ") for name in looks],
        loc="upper left",
        bbox_to_anchor=(LEFT_MM / page, (below - 8.5) / height),
        ncols=per_line,
        borderaxespad=0,
        **_LEGEND,
    )
    for number, line in enumerate(reversed(words)):
        y = 1.6 + number * line_mm(SMALL_POINTS)
        figure.text(LEFT_MM / page, y / height, line, size=SMALL_POINTS, color=QUIET)
    return figure


_LEGEND = {
    "frameon": False,
    "fontsize": SMALL_POINTS + 0.5,
    "handlelength": 1.8,
    "labelspacing": 0.3,
    "columnspacing": 1.2,
}


def _looks(names: Sequence[str]) -> dict[str, dict[str, object]]:
    """A colour, and where there are not enough a dash, for each term: the same in all columns."""
    return {
        name: {
            "label": name,
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
        }
        for number, name in enumerate(names)
    }


def _plain(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    small = {"pad": 1.5, "labelsize": SMALL_POINTS, "labelcolor": QUIET}
    axes.tick_params(which="major", length=2, width=0.4, **small)
    axes.tick_params(which="minor", length=1.2, width=0.3, **small)
    axes.grid(axis="y", linewidth=0.25, color="#d8d8d8")
    axes.set_axisbelow(True)
    return axes


def _columns(table: Table, name: str) -> list[np.ndarray]:
    return [table[column] for column in (name, VALIDATION + name) if column in table]


def _loss(axes: Axes, table: Table, name: str) -> None:
    _line(axes, table, table[name], label="training", color=COLOURS[0])
    if VALIDATION + name in table:
        validation = table[VALIDATION + name]
        _line(axes, table, validation, label="validation", color=COLOURS[1])
    axes.legend(loc="best", **_LEGEND)


def _line(axes: Axes, table: Table, values: np.ndarray, **look: object) -> None:
    measured = np.isfinite(values)
    few = {"marker": "o", "markersize": 1.8} if measured.sum() < 30 else {}
    axes.plot(table[HORIZONTAL][measured], values[measured], linewidth=0.9, **few, **look)


def _scale(axes: Axes, shown: Sequence[np.ndarray]) -> None:
    """Logarithmic where values, all positive, span powers of ten; else linear, near zero at least.

    Zeros are left out of a logarithmic scale.
    """
    values = np.concatenate(shown) if shown else np.zeros(1)
    values = values[np.isfinite(values)]
    if (values < 0).any():
        # a power of ten: labels within the linear part would lie on each other
        usual = float(np.median(np.abs(values))) or 1.0
        axes.set_yscale("symlog", linthresh=10.0 ** np.ceil(np.log10(usual)))
        axes.axhline(0.0, linewidth=0.4, color=QUIET, zorder=0)
    elif (values > 0).any() and values.max() >= LOGARITHMIC_FROM * values[values > 0].min():
        axes.set_yscale("log", nonpositive="mask")
    axes.margins(x=0.03, y=0.08)
