"""`genmorph export`: volumes of a store as NIfTI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    store: Annotated[Path, typer.Argument(help="Folder of a store (it holds index.tsv).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the images.")],
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only these volumes; may be repeated.")
    ] = None,
) -> None:
    """Write volumes of a store as NIfTI with their affine, one .nii.gz and one .json each.

    Names say the space of the template where scans were registered onto it.

    Example: genmorph export results/preprocessed/simulated/m3ae --id sub-0001 --out nifti
    """
    import nibabel as nib

    from genmorph.errors import StoreError, did_you_mean
    from genmorph.files import atomic_path, write_json
    from genmorph.store import PREPARED, Store

    opened = Store(store)
    for scan_id in ids or []:
        if scan_id not in opened:
            raise StoreError(f"{store}: no volume '{scan_id}'; {did_you_mean(scan_id, opened.ids)}")
    chosen = ids or opened.ids
    source = opened.description.source
    if missing := [key for key in PREPARED if key not in source]:
        raise StoreError(
            f"{store}: its store.json does not say {' and '.join(missing)}",
            "make its index again with `genmorph index`, and the stores of runs after it",
        )
    # trivial references hold real scans or averages of them; preprocessed stores name no model
    synthetic = source.get("model") is not None and source.get("reference") is None
    entity = "synthetic" if synthetic else "preproc"
    space = "space-MNI152NLin2009aSym_" if source["registered"] else ""
    suffix = f"{space}desc-{entity}_T1w"
    stripped = source["skull_stripped"]
    for scan_id in chosen:
        image = nib.Nifti1Image(opened.read(scan_id), opened.affine)
        image.header.set_xyzt_units("mm")
        target = out / f"{scan_id}_{suffix}.nii.gz"
        with atomic_path(target) as temporary:
            image.to_filename(temporary)
        write_json(
            out / f"{scan_id}_{suffix}.json",
            {
                "Description": opened.description.content,
                # left out where it is true of some volumes alone
                **({} if stripped is None else {"SkullStripped": stripped}),
                "Synthetic": synthetic,
                "DataLabel": opened.description.data_label,
                "Source": source,
            },
        )
    typer.echo(f"{out}: {len(chosen)} images")
