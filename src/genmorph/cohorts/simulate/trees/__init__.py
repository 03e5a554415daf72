"""Raw trees of simulated cohorts: one module a layout, and the truth they share.

A layout is a module with

- ``POPULATION``: who is scanned (`person.Population`);
- ``SCANNER``: how its images lie in space (`scanner.Scanner`);
- ``source_id(visit) -> str``: the person's id as the source spells it;
- ``write_raw(root, scan, seed) -> str``: writes a scan, returns its path as in a manifest;
- ``write_tables(root, made)``: writes what accompanies the scans (`common.Made`).
"""

from __future__ import annotations

# module of each layout, loaded when it is asked for
TREES = {
    name: f"genmorph.cohorts.simulate.trees.{name}"
    for name in ("bids", "adni", "hcp", "ukb", "oasis")
}
