"""Simulated cohorts: whole heads whose anatomy is known."""

from __future__ import annotations

from genmorph.cohorts.simulate.cohort import DATA_LABEL, simulate_cohort

__all__ = ["DATA_LABEL", "simulate_cohort"]
