"""Reading `config.resolved.yaml`, which the workflow writes whenever it has something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from genmorph.config import read_yaml
from genmorph.errors import ConfigError
from genmorph.provenance.record import RESOLVED_CONFIG

CURE = (
    "remove it, and let the workflow do something: with --forcerun draw_flow, where nothing is to "
    "be done, it writes a new one"
)


class ConfigShape(BaseModel):
    """What is asked of the configuration."""

    cohorts: dict[str, dict[str, Any]]


class ResolvedShape(BaseModel):
    """What every reader of a resolved configuration relies on."""

    config: ConfigShape
    parameters: dict[str, list[Any]]


def read_resolved(root: Path) -> dict[str, Any]:
    """The configuration of a results root, and the parameters of each command under it.

    Returns
    -------
    dict
        `config` and `parameters`; each command has a list of the parameters it may be given.

    Raises
    ------
    ConfigError
        When there is none, or it is damaged.
    """
    path = root / RESOLVED_CONFIG
    try:
        content = read_yaml(path)
        ResolvedShape.model_validate(content)
    except ConfigError as error:
        raise ConfigError(error.message, CURE) from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(
            f"{path}: not a resolved configuration ({where or 'the whole'})", CURE
        ) from None
    return content
