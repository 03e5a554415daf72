"""`genmorph compare`: two results of the same measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmorph.cli.evaluate.common import Out
from genmorph.errors import MeasurementError

if TYPE_CHECKING:
    from genmorph.metrics.vbm_statistics import TMap


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Compare two results of one measure.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("t-maps")(t_maps)
    group.command("overlaps")(overlaps)
    app.add_typer(group, name="compare")


def t_maps(
    first: Annotated[Path, typer.Argument(help="NIfTI of t, as `genmorph evaluate vbm` writes.")],
    second: Annotated[Path, typer.Argument(help="Another, on the same grid.")],
    out: Out,
    threshold: Annotated[
        float, typer.Option("--threshold", help="|t| over which voxels are compared.")
    ] = 3.0,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="Label map on that grid, for regional means.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option("--names", help="Its TSV with columns index and name.")
    ] = None,
    source: Annotated[
        str, typer.Option("--region-source", help="What the label map is, with its licence.")
    ] = "",
) -> None:
    """How well two t-maps agree: correlation, overlap over a threshold, mean t of regions.

    Such as AD against CN in real people, and in their reconstructions (P3, figure 3).
    """
    from genmorph.files import locked, read_tsv
    from genmorph.metrics.vbm_agreement import measure_agreement
    from genmorph.preprocessing.anatomy import read_map
    from genmorph.provenance.record import recording

    if (regions is None) != (names is None):
        raise MeasurementError("--regions and --names go together", "give both, or neither")
    inputs = [path for path in (first, second, regions, names) if path is not None]
    values = {"threshold": threshold, "region_source": source}
    with locked(out), recording("compare", out=out, parameters=values, inputs=inputs):
        maps = [_read_t_map(path) for path in (first, second)]
        labelled = None
        if regions is not None and names is not None:
            rows = read_tsv(names, ("index", "name"))
            labels = read_map(regions).data.round().astype(int)
            labelled = labels, {int(row["index"]): row["name"] for row in rows}
        measurement = measure_agreement(
            *maps,
            *(abs(one.t) > threshold for one in maps),
            threshold={"threshold_t": threshold, "sides": "two-sided"},
            regions=labelled,
            region_source=source,
        )
        _write(out, measurement.to_json())


def overlaps(
    first: Annotated[Path, typer.Argument(help="Measurement of segmentation_overlap (JSON).")],
    second: Annotated[Path, typer.Argument(help="That of another model on the same scans.")],
    out: Out,
    alpha: Annotated[float, typer.Option("--alpha", help="Level; P3 has 0.01.")] = 0.01,
) -> None:
    """Whether the tissues of one model's reconstructions overlap better: Wilcoxon's test (P3)."""
    from genmorph.files import locked, read_json
    from genmorph.metrics.measurement import Measurement
    from genmorph.metrics.segmentation_overlap import compare_overlaps
    from genmorph.provenance.record import recording

    with (
        locked(out),
        recording("compare", out=out, parameters={"alpha": alpha}, inputs=[first, second]),
    ):
        sides = [Measurement.from_json(read_json(path)) for path in (first, second)]
        _write(out, compare_overlaps(*sides, alpha=alpha).to_json())


def _read_t_map(path: Path) -> TMap:
    import numpy as np

    from genmorph.metrics.vbm_statistics import TMap
    from genmorph.nifti import open_nifti

    image, values = open_nifti(path, MeasurementError)
    try:
        kind, degrees, _ = image.header.get_intent()
    except Exception:  # nibabel knows not every code that a damaged header can have
        kind = "unknown"
    if kind != "t test":
        raise MeasurementError(
            f"{path}: its header does not say that it is a t-map", "give what evaluate vbm wrote"
        )
    t = values.astype(np.float64)
    nothing = np.full(t.shape, np.nan)
    settings = {"affine": image.affine.tolist()}
    return TMap(t, float(degrees[0]), nothing, np.isfinite(t), settings, {})


def _write(out: Path, content: dict[str, Any]) -> None:
    from genmorph.files import write_json

    write_json(out, content)
    typer.echo(f"{out}: {content['values']}")
    for note in content["notes"]:
        typer.echo(f"  {note}")
