"""The flow of a cohort as a picture, in the manner of a CONSORT diagram."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

from genmorph.publish.figures import style
from genmorph.splits import SPLITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX = {"boxstyle": "square,pad=0.5", "facecolor": "white", "edgecolor": "black", "linewidth": 0.8}
# stages in the order a scan passes them; a JSON file keeps them in the order of the alphabet
MEANINGS = {
    "found": "scans found",
    "matched": "matched with the tables",
    "selected": "selected",
    "kept": "kept",
}


def draw_flow(
    passed: Mapping[str, int],
    left_out: Mapping[str, Mapping[str, int]],
    *,
    title: str,
    people: Mapping[str, int] | None = None,
    footer: str = "",
) -> Figure:
    """Draw boxes for the stages, with what is left out on the way beside the arrows.

    Parameters
    ----------
    passed : mapping
        Scans that passed each stage of `MEANINGS`.
    left_out : mapping
        For each stage, scans that did not pass it by reason.
    title : str
    people : mapping, optional
        People in each split, for a last row of boxes.
    footer : str
        What must be said of the data.
    """
    with style():
        return _draw(passed, left_out, title, people, footer)


def _draw(
    passed: Mapping[str, int],
    left_out: Mapping[str, Mapping[str, int]],
    title: str,
    people: Mapping[str, int] | None,
    footer: str,
) -> Figure:
    from matplotlib.figure import Figure

    rows = len(MEANINGS) + (people is not None)
    figure = Figure(figsize=(7.0, 0.95 * rows + 0.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(-rows + 0.6, 0.4))
    axes.axis("off")
    axes.set_title(title, loc="left", fontsize=11)
    arrow = {"arrowstyle": "-|>", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0, "color": "black"}
    for number, (stage, meaning) in enumerate(MEANINGS.items()):
        label = f"{meaning}\nn = {passed[stage]}"
        axes.text(3, -number, label, ha="center", va="center", bbox=BOX)
        if number == 0:
            continue
        axes.annotate("", (3, -number + 0.26), (3, -number + 0.74), arrowprops=arrow)
        reasons = left_out.get(stage, {})
        if reasons:
            told = [f"left out: {sum(reasons.values())}"]
            for reason, many in reasons.items():
                told += textwrap.wrap(f"{many} × {reason}", 52, subsequent_indent="    ")
            axes.annotate("", (5.1, -number + 0.5), (3, -number + 0.5), arrowprops=arrow)
            axes.text(
                5.2, -number + 0.5, "\n".join(told), va="center", fontsize=7, bbox=BOX, wrap=False
            )
    if people is not None:
        level = -rows + 1
        for place, split in zip((1, 3, 5), SPLITS, strict=True):
            axes.annotate("", (place, level + 0.26), (3, level + 0.74), arrowprops=arrow)
            label = f"{split}\n{people[split]} people"
            axes.text(place, level, label, ha="center", va="center", bbox=BOX)
    if footer:
        told = "\n".join(textwrap.wrap(footer, 110))
        figure.supxlabel(told, fontsize=7, color="0.4", x=0.01, ha="left")
    return figure
