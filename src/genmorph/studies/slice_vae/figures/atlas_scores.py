"""Figure 4: the realistic atlas score of each structure and grid, beside real with real scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genmorph.errors import GenmorphError
from genmorph.metrics.measurement import Measurement
from genmorph.publish.curves import COLOURS
from genmorph.publish.figures import (
    INK,
    MM_PER_INCH,
    PAGE_WIDTH_MM,
    POINTS_PER_INCH,
    QUIET,
    SMALL_POINTS,
    TITLE_POINTS,
    line_mm,
    save_figure,
    style,
    wrap,
)
from genmorph.studies.slice_vae.figures.common import (
    REAL,
    REAL_TITLE,
    Files,
    Grid,
    Values,
    grids_of,
    runs_of,
    words_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURE, NEED, MEAN = "atlas_score", "measure:", "mean"
BOUND = "scans on scans"
INSTRUMENT = "segmenter_held_out_dice"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
LEFT_MM, RIGHT_MM, TOP_MM, PANEL_MM, NAMES_MM, LEGEND_MM = 14.0, 2.0, 6.0, 34.0, 9.0, 7.0
LETTER_WIDTH = 0.62  # of its size, the space between two names included
SPAN = 0.72  # of a structure's share of the axis that its marks take


def atlas_scores(files: Files, values: Values, out: Path) -> None:
    """A panel for each grid: score of each structure and model, and the bound by real scans.

    Parameters
    ----------
    files : mapping of str to Path
        `measure:MEASURE:RUN` (JSON) of every run that has an atlas score; real scans carried to
        real scans, the run `training_scans`, are the bound.
    values : mapping
        `models` (runs, in the order of the legend), `runs` (`grid` and `recipe` of each), `scale`.
    out : Path
        The PNG; the SVG goes beside it.

    Raises
    ------
    GenmorphError
        When no file is an atlas score, or a grid's measurements have different settings.
    """
    measured = read_scores(files)
    ordered = [name for name in values["models"] if name in measured]
    runs = runs_of(values, [*ordered, *measured])
    panels = {
        grid: {run.title: measured[run.name] for run in runs if run.grid == grid}
        for grid in grids_of(runs)
    }
    for grid, scores in panels.items():
        _check_one_estimator(grid, scores)
    notes = (
        "Marks: mean over pairs, bars one standard deviation over pairs (pairs share scans). "
        "Line and band: the same of scans carried to scans of other people, what a "
        "perfect model would reach.",
    )
    labels = (one.data_label for one in measured.values())
    with style():
        figure = draw_atlas_scores(panels, footer=words_below(labels, values, notes, sides=False))
    save_figure(figure, out.with_suffix(""))


def read_scores(files: Files) -> dict[str, Measurement]:
    """The atlas score of each run by its name.

    Raises
    ------
    GenmorphError
        When there is none, or a run has two.
    """
    from genmorph.files import read_json

    found: dict[str, Measurement] = {}
    for need, path in files.items():
        if not need.startswith(NEED):
            continue
        run = need.removeprefix(NEED).partition(":")[2]
        measurement = Measurement.from_json(read_json(path))
        if measurement.measure != MEASURE:
            continue
        if run in found:
            raise GenmorphError(f"figure: two atlas scores of run {run}", "show one of them")
        found[run] = measurement
    if not found:
        raise GenmorphError(
            "figure: no atlas score to show", f"need {NEED}MEASURE:RUN of that measure"
        )
    return found


def _check_one_estimator(grid: Grid, scores: Mapping[str, Measurement]) -> None:
    """Marks of a panel may differ by the run alone."""
    ignored = {"run", "segmenters"}
    settings = [
        {key: value for key, value in one.settings.items() if key not in ignored}
        for one in scores.values()
    ]
    for other in settings[1:]:
        for key in sorted({*settings[0], *other}):
            if settings[0].get(key) != other.get(key):
                raise GenmorphError(
                    f"figure: atlas scores on {grid} differ in {key}: {settings[0].get(key)} and "
                    f"{other.get(key)}",
                    "measure all runs of a grid with the same options",
                )


def draw_atlas_scores(
    panels: Mapping[Grid, Mapping[str, Measurement]], *, footer: str = ""
) -> Figure:
    """Scores of the structures for each grid, one panel below the other.

    Parameters
    ----------
    panels : mapping of tuple to mapping of str to Measurement
        By grid, the atlas score of each model; `real scans` is the bound.
    footer : str
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    models = list(
        dict.fromkeys(
            title for scores in panels.values() for title in scores if title != REAL_TITLE
        )
    )
    looks = {
        title: {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        for place, title in enumerate(models)
    }
    width_mm = PAGE_WIDTH_MM - LEFT_MM - RIGHT_MM
    notes = [wrap(" ".join(notes_of(scores)), width_mm) for scores in panels.values()]
    words = wrap(footer, width_mm)
    line = line_mm(SMALL_POINTS)
    heights = [TOP_MM + PANEL_MM + NAMES_MM + line * len(own) + 1.5 for own in notes]
    page_mm = LEGEND_MM + sum(heights) + line * len(words) + 2.5
    figure = Figure(figsize=(PAGE_WIDTH_MM / MM_PER_INCH, page_mm / MM_PER_INCH))
    FigureCanvasAgg(figure)

    def write(y_mm: float, text: str) -> None:
        place = LEFT_MM / PAGE_WIDTH_MM, 1 - y_mm / page_mm
        figure.text(*place, text, size=SMALL_POINTS, color=QUIET, va="baseline")

    top = LEGEND_MM
    for (grid, scores), own, height in zip(panels.items(), notes, heights, strict=True):
        below = top + TOP_MM + PANEL_MM
        place = (
            LEFT_MM / PAGE_WIDTH_MM,
            1 - below / page_mm,
            width_mm / PAGE_WIDTH_MM,
            PANEL_MM / page_mm,
        )
        axes = figure.add_axes(place)
        _panel(axes, scores, models, looks)
        axes.set_title(" × ".join(map(str, grid)) + " voxels", size=TITLE_POINTS, color=INK, pad=3)
        for number, text in enumerate(own, start=1):
            write(below + NAMES_MM + number * line, text)
        top += height
    for number, text in enumerate(words, start=1):
        write(top + number * line, text)
    handles = {
        text: handle
        for axes in figure.axes
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    order = [title for title in (BOUND, *models) if title in handles]
    figure.legend(
        [handles[title] for title in order],
        order,
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - 1.0 / page_mm),
        ncols=len(order),
        frameon=False,
        fontsize=SMALL_POINTS + 0.5,
        borderaxespad=0,
        handletextpad=0.4,
        columnspacing=1.4,
    )
    return figure


def _panel(
    axes: Axes,
    scores: Mapping[str, Measurement],
    models: Sequence[str],
    looks: Mapping[str, Mapping[str, str]],
) -> None:
    structures = next(iter(scores.values())).settings["structures"]
    names = [MEAN, *structures]
    share = SPAN / max(len(models), 1)
    for place, name in enumerate(names):
        bound = scores.get(REAL_TITLE)
        if bound is not None and name in bound.values:
            ends = place - SPAN / 2 - 0.06, place + SPAN / 2 + 0.06
            value, spread = bound.values[name], bound.spread.get(name, 0.0)
            axes.fill_between(ends, value - spread, value + spread, color="#dcdcdc", linewidth=0)
            label = BOUND if place == 0 else None
            axes.plot(ends, (value, value), color=INK, linewidth=1.0, label=label)
        for number, title in enumerate(models):
            one = scores.get(title)
            if one is None or name not in one.values:
                continue
            axes.errorbar(
                place - SPAN / 2 + share * (number + 0.5),
                one.values[name],
                yerr=one.spread.get(name),
                markersize=3.0,
                linestyle="none",
                elinewidth=0.6,
                label=title,
                **looks[title],
            )
    if not any(MEAN in one.values for one in scores.values()):
        place = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "no score", size=SMALL_POINTS + 0.5, color=QUIET, **place)
    axes.axvline(0.5, linewidth=0.4, color=QUIET)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(-0.03, 1.0)  # a mark at 0 is seen whole
    axes.set_xticks(range(len(names)), ["\n".join(_words(name)) for name in names])
    axes.set_ylabel("Dice of carried labels", size=SMALL_POINTS + 0.5, labelpad=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=2, width=0.4, pad=1.5, labelsize=SMALL_POINTS, labelcolor=QUIET)
    axes.tick_params(axis="x", length=0, labelsize=_size_of_names(names))
    axes.grid(axis="y", linewidth=0.25, color="#d8d8d8")
    axes.set_axisbelow(True)


def _size_of_names(names: Sequence[str]) -> float:
    """Points at which the longest word of all names fits its share of the axis."""
    longest = max(len(line) for name in names for line in _words(name))
    share_mm = (PAGE_WIDTH_MM - LEFT_MM - RIGHT_MM) / (len(names) + 0.2)
    return min(
        SMALL_POINTS - 0.5, share_mm / (longest * LETTER_WIDTH) * POINTS_PER_INCH / MM_PER_INCH
    )


def _words(name: str) -> list[str]:
    """A structure's name in lines of a word or two."""
    lines: list[str] = []
    for word in name.split("_"):
        if lines and len(lines[-1]) + len(word) < 9:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def notes_of(scores: Mapping[str, Measurement]) -> list[str]:
    """What a panel's marks are made of: pairs, who has no score and why, the network's own Dice."""
    counted: list[str] = []
    without: dict[str, list[str]] = {}
    for title, one in scores.items():
        if MEAN not in one.values:
            without.setdefault(" ".join(one.notes) or "No pair was scored.", []).append(title)
            continue
        failed = one.n.get("failed_pairs", 0)
        counted.append(f"{title} {one.n['scored_pairs']}" + (f" ({failed} failed)" * bool(failed)))
    told = [f"Pairs: {', '.join(counted)}."] if counted else []
    told += [f"n/a ({', '.join(titles)}): {reason}" for reason, titles in without.items()]
    own = {round(one.values[INSTRUMENT], 2) for one in scores.values() if INSTRUMENT in one.values}
    if own:
        dice = " and ".join(f"{value:.2f}" for value in sorted(own))
        told.append(f"The network's own Dice on people it never saw: {dice}.")
    if REAL_TITLE not in scores:
        told.append(f"No bound: no run {REAL} on this grid.")
    return told
