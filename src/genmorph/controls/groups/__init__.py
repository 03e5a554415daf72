"""The groups of controls, each a job of its own and a module with a function `run`."""

from __future__ import annotations

# the longest first, so that two cores end together
GROUPS = ("chain", "effects", "overlap", "memorisation", "distances")


def module_of_group(group: str) -> str:
    """Dotted name of a group's module."""
    return f"{__name__}.{group}"
