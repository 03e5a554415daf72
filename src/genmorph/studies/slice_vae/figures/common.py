"""What P2's figures share: runs by model and grid, and the words under a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph.errors import GenmorphError
from genmorph.publish.figures import grid_words, small_print
from genmorph.publish.views import voxel_sizes
from genmorph.studies.slice_vae.tables import ROWS

if TYPE_CHECKING:
    from genmorph.store import Store

Files = Mapping[str, Path]
Values = Mapping[str, Any]
Grid = tuple[int, int, int]

# as the table has them, but for what would not fit beside a picture
TITLES = {row.run: row.title.removeprefix("3D ") for row in ROWS} | {"vae3d": "3D VAE"}
REAL = "training_scans"  # the trivial reference whose samples are scans
REAL_TITLE = "scans"


@dataclass(frozen=True)
class Run:
    """A run of the study: a model at one of its sizes.

    Attributes
    ----------
    name : str
        As the study has it: `slice_vae-64`.
    model : str
        Without the size: `slice_vae`.
    grid : tuple of int
        Voxels that it really has, whatever its name says.
    recipe : str
    """

    name: str
    model: str
    grid: Grid
    recipe: str

    @property
    def title(self) -> str:
        """The model in words."""
        return REAL_TITLE if self.model == REAL else TITLES.get(self.model, self.model)


def runs_of(values: Values, names: Iterable[str]) -> list[Run]:
    """The runs of a figure: scans first, then the models in their order, coarse grids first.

    Raises
    ------
    GenmorphError
        When a run is not described, or a model comes twice on one grid.
    """
    described, found = values["runs"], {}
    for name in dict.fromkeys(names):
        if name not in described:
            raise GenmorphError(f"figure: nothing is known of run {name}", "name it in `runs`")
        base, _, size = name.rpartition("-")
        model = base if base and size.isdigit() else name
        grid = tuple(int(voxels) for voxels in described[name]["grid"])
        if (model, grid) in found:
            raise GenmorphError(
                f"figure: {name} and {found[model, grid].name} are one model on one grid",
                "show one of them",
            )
        found[model, grid] = Run(name, model, grid, described[name]["recipe"])
    runs = list(found.values())
    models = list(dict.fromkeys(run.model for run in runs))
    return sorted(
        runs, key=lambda run: (run.model != REAL, models.index(run.model), _size(run.grid))
    )


def grids_of(runs: Iterable[Run]) -> list[Grid]:
    """Grids of some runs, coarse ones first."""
    return sorted({run.grid for run in runs}, key=_size)


def _size(grid: Grid) -> tuple[int, Grid]:
    return grid[0] * grid[1] * grid[2], grid


def open_samples(files: Files, runs: Sequence[Run]) -> dict[str, Store]:
    """The samples of each run by its name.

    Raises
    ------
    GenmorphError
        When a store has another grid than its run.
    """
    from genmorph.store import Store

    stores = {run.name: Store(files[f"samples:{run.name}"].parent) for run in runs}
    for run in runs:
        if (shape := stores[run.name].shape) != run.grid:
            raise GenmorphError(
                f"{stores[run.name].folder}: samples of {shape}, the run is on {run.grid}",
                "sample that run again",
            )
    return stores


def grid_title(store: Store) -> str:
    """The grid that a store really has, in words."""
    return grid_words(store.shape, voxel_sizes(store.affine))


def words_below(
    labels: Iterable[str], values: Values, notes: Sequence[str], *, sides: bool = True
) -> str:
    """Small print of a figure of several runs; `labels` say what must be said of the data."""
    labels = dict.fromkeys(label for label in labels if label)
    return small_print(
        data_label="; ".join(labels), scale=values["scale"], notes=notes, sides=sides
    )
