"""Typed values whose errors name the key, what was found and what is allowed."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from genmorph.errors import ConfigError, did_you_mean

ModelT = TypeVar("ModelT", bound=BaseModel)


class Options(BaseModel):
    """Base of everything a user may set: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def validate(model: type[ModelT], values: Mapping[str, Any], where: str) -> ModelT:
    """Type `values` as `model`, with an error that names key, finding and what is allowed.

    Raises
    ------
    ConfigError
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, problem) for problem in error.errors()]
        raise ConfigError(f"{where}: " + "; ".join(lines), "correct that key") from None


def _explain(model: type[BaseModel], problem: Mapping[str, Any]) -> str:
    location = [part for part in problem["loc"] if not str(part).startswith("function-")]
    key = ".".join(map(str, location)) or "(whole)"
    if problem["type"] == "extra_forbidden":
        allowed = _keys_at(model, location[:-1])
        return f"unknown key '{key}'; {did_you_mean(str(location[-1]), allowed)}"
    if problem["type"] == "literal_error":
        expected = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
        return f"{key}: found {problem['input']!r}; {did_you_mean(str(problem['input']), expected)}"
    message = problem["msg"].removeprefix("Value error, ")
    found = (
        ""
        if isinstance(problem["input"], Mapping | BaseModel)
        else f" (found {problem['input']!r})"
    )
    return f"{key}: {message}{found}"


def _keys_at(model: Any, location: list[Any]) -> list[str]:
    """Keys allowed at a place of a nested model; empty when it cannot be told."""
    for part in location:
        model = _step_into(model, part)
    return list(getattr(model, "model_fields", {}))


def _step_into(annotation: Any, part: Any) -> Any:
    fields = getattr(annotation, "model_fields", None)
    inner = fields[part].annotation if fields and part in fields else annotation
    origin = typing.get_origin(inner)
    if origin is dict and not fields:
        return typing.get_args(inner)[1]
    if origin in (typing.Union, types.UnionType):
        return next(choice for choice in typing.get_args(inner) if choice is not type(None))
    return inner
