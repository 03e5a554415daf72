"""Options of the commands that read label maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from genmorph.preprocessing.label_maps import LabelMaps, LabelSource
    from genmorph.provenance.record import Record

Grouping = Annotated[
    str,
    typer.Option(
        "--grouping",
        help="Whose numbers the labels are: freesurfer_aseg, neuromorphometrics or simulated.",
    ),
]
Space = Annotated[
    str,
    typer.Option(
        "--space",
        help="What the labels lie on: preprocessed (volumes of the store), or scan (raw scans).",
    ),
]
LabelsFile = Annotated[
    str,
    typer.Option(
        "--labels-file",
        help="Pattern of a label map's path below the folder; {words} are the manifest's columns.",
    ),
]
LabelsNames = Annotated[
    Path | None,
    typer.Option(
        "--labels-names",
        help="Table with a column `path` (of the raw scan) whose columns are the words instead.",
    ),
]
Status = Annotated[
    Path | None,
    typer.Option("--status", help="status.tsv of the store: the way to the scans (space: scan)."),
]


def label_files(source: LabelSource) -> list[Path]:
    """Tables of the study that tell where a source's maps belong; `names` comes with the maps."""
    return [path for path in (source.status, source.manifest) if path is not None]


def record_maps(record: Record, maps: LabelMaps) -> None:
    """Name the label maps that were read, and the table they were found by."""
    folder, names = maps.source.folder, maps.source.names
    cohort = maps.store.description.source.get("cohort")
    for path in maps.files.values():
        name = path.relative_to(folder).as_posix()
        if cohort is None:
            record.add_input(path, base="external")
        else:
            record.add_input(path, base=f"labels:{cohort}", name=name)
    if names is not None:  # it comes with the maps
        record.add_input(names, base="external")
