"""What the measures' commands share: two stores in, one measurement with its origin out."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmorph.cli.common import read_parameters
from genmorph.errors import CohortError, StoreError

if TYPE_CHECKING:
    from genmorph.metrics.features import Extractor
    from genmorph.metrics.measurement import Measurement
    from genmorph.provenance.record import Record
    from genmorph.store import Store

Generated = Annotated[
    Path,
    typer.Option(
        "--generated",
        help="What is measured: index.tsv of a store, volumes.tsv of its tissues, or the "
        "model.safetensors of a measure that looks at a model.",
    ),
]
Reference = Annotated[
    Path,
    typer.Option("--reference", help="The same of the real scans: index.tsv or volumes.tsv."),
]
Manifest = Annotated[
    Path | None,
    typer.Option(
        "--manifest", help="manifest.tsv of the real cohort; without it every real volume is used."
    ),
]
Participants = Annotated[
    Path | None, typer.Option("--participants", help="participants.tsv of the real cohort.")
]
Out = Annotated[Path, typer.Option("--out", help="The measurement to write (JSON).")]
Parameters = Annotated[
    str,
    typer.Option(
        "--parameters",
        help="JSON, or @FILE with JSON, of options over their defaults; "
        "`genmorph config parameters evaluate STUDY MEASURE` prints those of a study.",
    ),
]
FeatureWeights = Annotated[
    Path | None, typer.Option("--feature-weights", help="The FID Inception file.")
]
# what the workflow adds to a measure's own options
CONTEXT = ("study", "measure", "population", "numerical_threads")
NO_PARAMETERS = "{}"


@dataclass(frozen=True)
class Comparison:
    """Two stores, the tissues of two stores, or a model and a store, and what to do with them.

    Attributes
    ----------
    made : Store, TissueFolder or TrainedModel
    real : Store or TissueFolder
    options : MeasureOptions
    split_ids : callable
        Ids of a split's scans in the real store; without a manifest all of them.
    record : Record
        Of the command; what a measure reads beside the two sides is added to it.
    beside : list of Path
        What a measure writes beside its measurement; it appends to the list.
    by_splits : bool
        Whether anything says which scans belong to which split.
    manifest : Path or None
        Of the real cohort.
    """

    made: Any
    real: Any
    options: Any
    split_ids: Callable[[str], list[str]]
    record: Record
    beside: list[Path]
    by_splits: bool
    manifest: Path | None = None

    @property
    def real_ids(self) -> list[str]:
        """Ids of the scans that the measured volumes are compared with."""
        return self.split_ids(self.options.split)

    def noted(self, measurement: Measurement) -> Measurement:
        """A measurement of tissues, with what could not be segmented."""
        failed = (
            *self.made.note_of_failures("generated"),
            *self.real.note_of_failures("real"),
        )
        return replace(measurement, notes=(*measurement.notes, *failed))


def command_of(kind: str) -> Callable[..., None]:
    """The command of a measure: the options that all share, then those of its own function.

    Parameters
    ----------
    kind : str
        Name of the measure and of the module here whose `measure(two, *, ...)` gives a
        `Measurement`; its keyword arguments are options of the command. A measure that looks at
        something else than a store or its tissues opens it itself, with `open_made(path, real)`.
    """
    module = importlib.import_module(f"genmorph.cli.evaluate.{kind}")
    shared = inspect.signature(_shared, eval_str=True).parameters
    own = {
        name: parameter
        for name, parameter in inspect.signature(module.measure, eval_str=True).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }

    def evaluate(**values: Any) -> None:
        out = values["out"]
        given = {name: values[name] for name in shared}
        with comparing(kind, **given, open_made=getattr(module, "open_made", None)) as two:
            measurement = module.measure(two, **{name: values[name] for name in own})
            write(out, placed(measurement, two.real, two.made, two.options.split))

    every = [*shared.values(), *own.values()]
    # typer reads both
    evaluate.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    evaluate.__annotations__ = {one.name: one.annotation for one in every}
    evaluate.__doc__ = module.measure.__doc__
    return evaluate


def _shared(
    *,
    generated: Generated,
    reference: Reference,
    out: Out,
    manifest: Manifest = None,
    participants: Participants = None,
    parameters: Parameters = NO_PARAMETERS,
) -> None:
    """Options of every measure."""


@contextmanager
def comparing(
    kind: str,
    generated: Path,
    reference: Path,
    manifest: Path | None,
    participants: Path | None,
    out: Path,
    parameters: str,
    open_made: Callable[[Path, Store], tuple[Any, Path]] | None = None,
) -> Iterator[Comparison]:
    """Open both sides under a lock on `out`, and record the command when the body has ended.

    Parameters
    ----------
    open_made : callable, optional
        Gives the measured side and the file that describes it, when it is no store.

    Raises
    ------
    ConfigError
        When an option is unknown or has a wrong value.
    StoreError
        When a store cannot be read.
    """
    from genmorph.metrics.options import measure_options

    values = read_parameters(parameters)
    own = {key: value for key, value in values.items() if key not in CONTEXT}
    options = measure_options(kind, own, f"evaluate {kind}")
    from genmorph.processes import limit_threads

    limit_threads(values.get("numerical_threads", 1))
    from genmorph.files import locked
    from genmorph.metrics.options import MEASURES
    from genmorph.provenance.record import recording

    if (manifest is None) != (participants is None):
        raise CohortError("--manifest and --participants go together", "give both, or neither")
    real, real_described = opened(reference, MEASURES[kind].of_tissues)
    if open_made is None:
        made, described = opened(generated, MEASURES[kind].of_tissues)
    else:
        made, described = open_made(generated, real)

    def split_ids(split: str) -> list[str]:
        if manifest is None or participants is None:
            return real.ids
        from genmorph.cli.selection import scan_ids

        return scan_ids(real, manifest, participants, split, values.get("population"))

    tables = [file for file in (manifest, participants) if file is not None]
    inputs = [generated, described, reference, real_described, *tables]
    beside: list[Path] = []
    with (
        locked(out),
        recording(
            f"evaluate.{kind}", out=out, parameters=values, inputs=inputs, outputs=beside
        ) as record,
    ):
        by_splits = manifest is not None
        yield Comparison(made, real, options, split_ids, record, beside, by_splits, manifest)


def extractor_of(two: Comparison, weights: Path | None) -> Extractor:
    """The network of the features a measure compares; a file of weights goes into the record."""
    from genmorph.metrics.features import load_extractor

    if weights is None:
        return load_extractor(two.options.extractor, None)
    two.record.add_input(weights, base="external")
    return load_extractor(two.options.extractor, weights.read_bytes())


def opened(path: Path, of_tissues: bool) -> tuple[Any, Path]:
    """A side of a comparison, and the file that describes it.

    Parameters
    ----------
    path : Path
        index.tsv of a store, or volumes.tsv of its tissues.
    of_tissues : bool
        Which of the two the measure looks at.
    """
    if of_tissues:
        from genmorph.cli.evaluate.tissue_folder import TissueFolder

        return TissueFolder(path), path.with_name("anatomy.json")
    from genmorph.store import Store

    return Store(path.parent), path.with_name("store.json")


def write(out: Path, content: Mapping[str, Any]) -> None:
    """Write a measurement and print its values, with what a reader has to know of them."""
    from genmorph.files import write_json

    write_json(out, content)
    typer.echo(f"{out}: {content['values']}")
    for note in content["notes"]:
        typer.echo(f"  {note}")


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
