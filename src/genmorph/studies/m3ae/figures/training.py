"""How P1's models were trained."""

from __future__ import annotations

from pathlib import Path

from genmorph.publish.curves import draw_training_curves, read_training_metrics
from genmorph.publish.figures import save_figure, style
from genmorph.studies.m3ae.figures.common import Files, Values, words_below


def training_curves(files: Files, values: Values, out: Path) -> None:
    """Loss and its terms over the volumes seen, a column a model.

    Parameters
    ----------
    files : mapping of str to Path
        `metrics:MODEL` (a metrics.csv) for each model, and `store`, which tells what must be said
        of the data.
    values : mapping
        `scale` and `seed`.
    out : Path
        The PNG; the SVG goes beside it.
    """
    from genmorph.store import Store

    tables = {
        need.removeprefix("metrics:"): read_training_metrics(path)
        for need, path in files.items()
        if need.startswith("metrics:")
    }
    notes = (f"Seed {values['seed']}. Terms of several levels are summed.",)
    store = Store(files["store"].parent)
    with style():
        figure = draw_training_curves(tables, footer=words_below(store, values, notes, sides=False))
    save_figure(figure, out.with_suffix(""))
