"""`genmorph segment`: tissues of a store's volumes; `genmorph import-tissues`: those of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.common import Workers, read_parameters
from genmorph.cli.evaluate.common import NO_PARAMETERS, Manifest, Participants

Parameters = Annotated[
    str,
    typer.Option(
        "--parameters",
        help="JSON, or @FILE with JSON: engine, segmentation, atlas, split.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("segment")(segment)
    app.command("import-tissues")(import_tissues)


def segment(
    index: Annotated[Path, typer.Option("--index", help="index.tsv of a store of any kind.")],
    out: Annotated[
        Path,
        typer.Option("--out", help="volumes.tsv to write; the stores of maps come beside it."),
    ],
    manifest: Manifest = None,
    participants: Participants = None,
    deep_gray_atlas: Annotated[
        Path | None,
        typer.Option("--deep-gray-atlas", help="NIfTI in MNI152 space; without it DGM is n/a."),
    ] = None,
    parameters: Parameters = NO_PARAMETERS,
    workers: Workers = 1,
) -> None:
    """Find gray matter, white matter and fluid in every volume of a store.

    Writes a table of volumes in ml, a store of probabilities for each tissue, and a store of
    modulated gray matter on the template's grid for voxel-based morphometry. A volume that fails is
    a row with its reason. About two minutes a volume of 1 mm on one core.
    """
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(1)
    from genmorph.cli.selection import scan_ids
    from genmorph.config import AtlasSource
    from genmorph.errors import ConfigError
    from genmorph.files import locked
    from genmorph.preprocessing.anatomy import (
        AnatomyOptions,
        read_atlas,
        segment_store,
    )
    from genmorph.preprocessing.engines import ENGINES
    from genmorph.preprocessing.engines.probe import require
    from genmorph.provenance.record import recording
    from genmorph.store import Store
    from genmorph.validation import validate

    own = {key: values[key] for key in AnatomyOptions.model_fields if key in values}
    options = validate(AnatomyOptions, own, "segment")
    if deep_gray_atlas is not None and not values.get("atlas"):
        raise ConfigError(
            f"{deep_gray_atlas}: an atlas without name and licence",
            'give them: --parameters \'{"atlas": {"name": ..., "licence": ..., "labels": [...]}}\'',
        )
    require(options.engine, "tissue_segmentation")
    store = Store(index.parent)
    inputs = [index, index.with_name("store.json")]
    ids = store.ids
    if manifest is not None and participants is not None:
        ids = scan_ids(store, manifest, participants, values.get("split", "test"), None)
        inputs += [manifest, participants]
    made = [out.with_name("anatomy.json")]
    with (
        locked(out.parent),
        recording(
            "segment",
            out=out,
            parameters=values,
            inputs=inputs,
            outputs=made,
            modules=[ENGINES[options.engine]],
        ) as record,
    ):
        atlas = None
        if deep_gray_atlas is not None:
            record.add_input(deep_gray_atlas, base="external")
            atlas = read_atlas(
                deep_gray_atlas, validate(AtlasSource, values["atlas"], "segment.atlas")
            )
        failed = segment_store(
            store, ids, out.parent, options=options, atlas=atlas, workers=workers
        )
        made += sorted(path for path in out.parent.iterdir() if path.is_dir())  # its stores
    typer.echo(f"{out}: {len(ids) - failed} volumes segmented, {failed} failed")


def import_tissues(
    folder: Annotated[
        Path,
        typer.Option(
            "--folder",
            help="SCAN_label-GM_probseg.nii.gz (WM, CSF, DGM), SPM's c1SCAN.nii, "
            "or SCAN_dseg.nii.gz.",
        ),
    ],
    source: Annotated[
        str,
        typer.Option("--source", help="What made them, e.g. 'GIF 3.0': it stands in the table."),
    ],
    index: Annotated[
        Path, typer.Option("--index", help="index.tsv of the store whose volumes they are of.")
    ],
    out: Annotated[Path, typer.Option("--out", help="volumes.tsv to write.")],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="TSV with columns index and tissue, for label maps."),
    ] = None,
) -> None:
    """Take tissue volumes from your own segmentations: GIF, FreeSurfer, SPM or others."""
    from genmorph.files import locked
    from genmorph.preprocessing.own_tissues import import_folder
    from genmorph.provenance.record import recording
    from genmorph.store import Store

    values = {"source": source}
    with (
        locked(out),
        recording(
            "segment",
            out=out,
            parameters=values,
            inputs=[index, index.with_name("store.json")],
            outputs=[out.with_name("anatomy.json")],
        ) as record,
    ):
        for path in import_folder(folder, labels, source, Store(index.parent), out):
            record.add_input(path, base="external")
    typer.echo(f"{out}: written")
