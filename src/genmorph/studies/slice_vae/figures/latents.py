"""What the slice VAE's latents hold: the way from one person's stack of codes to another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import GenmorphError
from genmorph.publish.figures import save_figure, style
from genmorph.publish.interpolation import (
    draw_interpolation,
    ends_in_words,
    way_between,
    youngest_and_oldest,
)
from genmorph.publish.views import voxel_sizes
from genmorph.publish.words import words_below
from genmorph.studies.figure_files import Files, Values, model_of_run, scans_of


def interpolation(files: Files, values: Values, out: Path) -> None:
    """The straight way in the codes of all slices from the youngest to the oldest test person.

    It is not in the paper. The codes of a slice move with those of its neighbours, so a way
    through volumes that hold together shows that the stack of codes does.

    Parameters
    ----------
    files : mapping of str to Path
        `checkpoint` of a slice VAE, `store`, `manifest`, `participants`.
    values : mapping
        `model`, `seed`, `scale`, `population`.
    out : Path
        The PNG; the SVG goes beside it.

    Raises
    ------
    GenmorphError
        When the model encodes no slices, or the test split has not two people.
    """
    from genmorph.store import Store

    store = Store(files["store"].parent)
    model = model_of_run(files, store)
    if model.architecture != "slice_vae":
        raise GenmorphError(
            f"{files['checkpoint']}: a {model.architecture} has no codes of slices",
            "give the checkpoint of a slice_vae",
        )
    ends = youngest_and_oldest(scans_of(files, values, store, "test"))
    scans = [store.read(scan.scan_id) for scan in ends]
    decoded = decode(model, way_between(*(slice_codes(model, scan) for scan in scans)))
    notes = (
        f"Model {values['model']}, seed {values['seed']}.",
        f"Grey from 0 to 1. {ends_in_words(ends)} Between them, volumes decoded at equal steps "
        "from the posterior means of one person's coronal slices to those of the other's.",
    )
    with style():
        figure = draw_interpolation(
            ends,
            scans,
            decoded,
            end_title="posterior\nmean",
            voxel_mm=voxel_sizes(store.affine),
            footer=words_below(store, values, notes),
        )
    save_figure(figure, out.with_suffix(""))


def slice_codes(model: Any, volume: np.ndarray) -> np.ndarray:
    """Posterior means of the codes `[L, T]` of a volume `[x, y, z]`."""
    import torch

    with torch.inference_mode():
        return model.encode(torch.from_numpy(volume)[None])[0].numpy().astype(float)


def decode(model: Any, stacks: np.ndarray) -> list[np.ndarray]:
    """Volumes `[x, y, z]` for stacks of codes `[n, L, T]`, one after the other."""
    import torch

    with torch.inference_mode():
        stack = torch.from_numpy(stacks.astype(np.float32))
        return [model.decode(one[None])[0].numpy() for one in stack]
