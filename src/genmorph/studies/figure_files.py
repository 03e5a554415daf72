"""What the studies' figures read: the model of a run, the scans of a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph.errors import GenmorphError

if TYPE_CHECKING:
    from genmorph.cohorts.manifest import Scan
    from genmorph.store import Store

Files = Mapping[str, Path]
Values = Mapping[str, Any]


def model_of_run(files: Files, store: Store) -> Any:
    """The model of the figure's `checkpoint`, on the CPU.

    Raises
    ------
    GenmorphError
        When it was made for another grid than the store's.
    """
    from genmorph.training.checkpoints import load_model

    model = load_model(files["checkpoint"])
    if tuple(model.shape) != tuple(store.shape):
        raise GenmorphError(
            f"{files['checkpoint']}: made for a grid of {tuple(model.shape)}, "
            f"{store.folder} has {tuple(store.shape)}",
            "give the store the model was trained on",
        )
    return model


def scans_of(files: Files, values: Values, store: Store, split: str) -> list[Scan]:
    """Scans of a split that the store holds, in order of scan id."""
    from genmorph.cohorts.manifest import read_manifest
    from genmorph.cohorts.populations import select
    from genmorph.files import read_tsv

    people = read_tsv(files["participants"], ("participant_id", "split"))
    scans = select(
        read_manifest(files["manifest"]), people, split=split, population=values["population"]
    )
    return [scan for scan in scans if scan.scan_id in store]
