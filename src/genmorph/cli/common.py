"""What all commands share: argument types and parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from genmorph.errors import ConfigError

Parameters = Annotated[
    str,
    typer.Option(
        "--parameters",
        help="JSON, or @FILE with JSON; `genmorph config parameters COMMAND NAME...` prints it.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="What to write.")]
Root = Annotated[Path, typer.Option("--root", help="Folder of the raw scans (only read).")]
Tables = Annotated[
    Path | None,
    typer.Option("--tables", help="Folder of the source's tables; default: below the root."),
]
Withdrawn = Annotated[
    Path | None,
    typer.Option("--withdrawn", help="People who withdrew consent, one id a line."),
]
Workers = Annotated[int, typer.Option("--workers", help="Worker processes.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the run.")]
Manifest = Annotated[Path, typer.Option("--manifest", help="manifest.tsv of the cohort.")]
Participants = Annotated[
    Path, typer.Option("--participants", help="participants.tsv of the cohort, with splits.")
]
StoreIndex = Annotated[Path, typer.Option("--index", help="index.tsv of the preprocessed store.")]
Checkpoint = Annotated[Path | None, typer.Option("--checkpoint", help="model.safetensors.")]
CohortName = Annotated[str, typer.Option("--cohort", help="Name of the cohort.")]
Population = Annotated[str, typer.Option("--population", help="Name of the population.")]


def read_parameters(text: str) -> dict[str, Any]:
    """Parse the value of `--parameters`.

    Raises
    ------
    ConfigError
        When it is not a JSON object.
    """
    try:
        content = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
        values = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"--parameters: not JSON ({error})",
            "genmorph config parameters COMMAND NAME... prints them",
        ) from None
    if not isinstance(values, dict):
        raise ConfigError("--parameters: a JSON object is expected")
    return values
