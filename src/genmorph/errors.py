"""Errors a user can act on: what is wrong, where, and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GenmorphError(Exception):
    """Base of every error that the command line prints without a traceback.

    Parameters
    ----------
    message : str
        What is wrong, naming the file, key or scan.
    cure : str, optional
        What the user can do about it.

    Attributes
    ----------
    exit_code : int
        Of a command that ends with it.
    """

    exit_code = 2

    def __init__(self, message: str, cure: str = "") -> None:
        self.message = message
        self.cure = cure
        super().__init__(f"{message}\n  cure: {cure}" if cure else message)

    def __reduce__(self) -> tuple[type[GenmorphError], tuple[str, str]]:
        # an error crosses process boundaries with message and cure apart
        return type(self), (self.message, self.cure)


class ConfigError(GenmorphError):
    """A configuration or specification value is wrong."""


class CohortError(GenmorphError):
    """A cohort's raw tree or tables cannot be read as the layout says."""


class ScanError(GenmorphError):
    """One scan cannot be used; the rest of its cohort goes on."""


class EngineError(GenmorphError):
    """A preprocessing engine is not installed, or cannot carry out a step."""


class StoreError(GenmorphError):
    """A store is missing, incomplete, or not what its index says."""


class WeightsError(GenmorphError):
    """A file of weights is missing, damaged, or not the one expected."""


class TrainingError(GenmorphError):
    """A training run cannot start or cannot go on."""


class MeasurementError(GenmorphError):
    """A measure is not defined on the data given to it."""


class ControlError(GenmorphError):
    """A measure did not give what it has to on data whose answer is known."""


class AuditError(GenmorphError):
    """The records of a results root cannot be read."""


class NotebookError(GenmorphError):
    """A notebook cannot be read or executed."""


class BusyError(GenmorphError):
    """Another live process is working on the same output."""


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """Name the closest allowed word, then all of them.

    Examples
    --------
    >>> did_you_mean("deno", ["smoke", "demo"])
    "did you mean 'demo'? allowed: demo, smoke"
    """
    allowed = sorted(allowed)
    close = difflib.get_close_matches(found, allowed, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"
