"""`genmorph measure`: stores become a measurement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmorph.cli.common import (
    Manifest,
    Out,
    Parameters,
    Participants,
    read_parameters,
)
from genmorph.cli.selection import scan_ids
from genmorph.errors import StoreError

if TYPE_CHECKING:
    from genmorph.metrics.measurement import Measurement
    from genmorph.store import Store


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("measure")(measure)


def measure(
    generated: Annotated[Path, typer.Option("--generated", help="index.tsv of the run's store.")],
    reference: Annotated[Path, typer.Option("--reference", help="index.tsv of the real store.")],
    manifest: Manifest,
    participants: Participants,
    out: Out,
    parameters: Parameters,
    feature_weights: Annotated[
        Path | None, typer.Option("--feature-weights", help="The FID Inception file.")
    ] = None,
) -> None:
    """Measure samples or reconstructions against held-out scans, with every setting beside it."""
    values = read_parameters(parameters)
    from genmorph.processes import limit_threads

    limit_threads(values["numerical_threads"])
    from genmorph.files import locked, write_json
    from genmorph.provenance.record import recording
    from genmorph.store import Store

    real, made = Store(reference.parent), Store(generated.parent)
    ids = scan_ids(real, manifest, participants, values["split"], values["population"])
    stores = [generated, generated.with_name("store.json"), reference]
    weights = feature_weights.read_bytes() if feature_weights else None
    with (
        locked(out),
        recording(
            "measure", out=out, parameters=values, inputs=[*stores, manifest, participants]
        ) as record,
    ):
        if feature_weights is not None:
            record.add_input(feature_weights, base="external")
        measurement = MEASURES[values["kind"]](made, real, ids, values, weights)
        write_json(out, placed(measurement, real, made, values["split"]))
    typer.echo(f"{out}: {measurement.values}")


def _frechet(
    made: Store, real: Store, ids: list[str], values: dict[str, Any], weights: bytes | None
) -> Measurement:
    from genmorph.metrics.features import load_extractor
    from genmorph.metrics.frechet import slice_frechet

    return slice_frechet(
        ((name, made.read(name)) for name in made.ids),
        ((scan_id, real.read(scan_id)) for scan_id in ids),
        extractor=load_extractor(values["extractor"], weights),
        positions=values["positions"],
        reference_shape=values["reference_grid"],
        half_sample_repeats=values["half_sample_repeats"],
        half_sample_seed=values["half_sample_seed"],
    )


def _diversity(
    made: Store, real: Store, ids: list[str], values: dict[str, Any], weights: bytes | None
) -> Measurement:
    from genmorph.metrics.diversity import measure_diversity

    return measure_diversity(
        ((name, made.read(name)) for name in made.ids),
        data_range=values["data_range"],
        max_pairs=values["max_pairs"],
    )


def _reconstruction(
    made: Store, real: Store, ids: list[str], values: dict[str, Any], weights: bytes | None
) -> Measurement:
    from genmorph.metrics.reconstruction import measure_reconstruction

    return measure_reconstruction(
        ((scan_id, real.read(scan_id), made.read(scan_id)) for scan_id in ids),
        data_range=values["data_range"],
    )


MEASURES = {"frechet": _frechet, "diversity": _diversity, "reconstruction": _reconstruction}


def placed(measurement: Measurement, real: Store, made: Store, split: str) -> dict[str, Any]:
    """The measurement as JSON, with the run it is of and what must be said of the data.

    Raises
    ------
    StoreError
        When the real store does not say what kind of data it holds.
    """
    content = measurement.to_json()
    content["data_label"] = real.description.data_label
    source = real.description.source
    if "layout" not in source:
        raise StoreError(
            f"{real.folder}: its store.json does not name the layout of its scans",
            "make its index again with `genmorph index`",
        )
    content["settings"] |= {
        "run": made.description.source,
        "cohort": made.description.source["cohort"],
        "data": "simulated" if source["simulated"] else source["layout"],
        "grid": list(real.shape),
        "reference_split": split,
    }
    return content
