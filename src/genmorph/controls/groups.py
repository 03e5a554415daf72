"""The groups of controls, each a job of its own."""

from __future__ import annotations

# module of each group in this package; the longest first, so that two cores end together
GROUPS = ("chain", "effects", "overlap", "memorisation", "distances")


def module_of_group(group: str) -> str:
    """Dotted name of a group's module."""
    return f"genmorph.controls.{group}"
