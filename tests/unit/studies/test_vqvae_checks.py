"""P3's printed numbers against each other; altered numbers must turn the verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.studies import load_spec
from genmorph.studies.vqvae import checks as p3


def test_every_check_says_what_it_can_and_cannot_show():
    found = p3.checks()
    assert len({check.check for check in found}) == len(found)
    for check in found:
        assert check.study == "vqvae"
        assert all((check.shows, check.printed, check.recomputed, check.verdict))
        assert any(word in check.shows for word in ("not", "nothing", "cannot"))


def test_sizes_are_those_of_arrays():
    """Against the bytes of arrays of these shapes."""
    assert load_spec("vqvae").scales["paper"].grid == p3.GRID
    codes = [np.empty((*grid, size), np.uint8) for grid, size in p3.LEVELS]
    indices = [np.empty(grid, np.uint8) for grid, _ in p3.LEVELS]
    volume = np.empty(p3.GRID, np.float32)
    assert sum(code.nbytes for code in codes) == p3.numbers() == 314496
    assert sum(index.nbytes for index in indices) == p3.positions() == 149796
    assert volume.nbytes == 37748736
    assert p3.numbers() / volume.size == pytest.approx(0.03332, abs=1e-5)


def test_compression():
    assert p3.variables().verdict == "consistent"
    assert "= 3.333 %" in p3.variables().recomputed
    assert p3.bits().verdict == "inconsistent"
    assert "= 0.833 %; from the rounded 3.3 % it is 0.825 %" in p3.bits().recomputed
    assert p3.indices().verdict == "implies: 0.397 % with one index a code"


def test_altered_numbers_turn_the_verdicts(monkeypatch):
    monkeypatch.setattr(p3, "VARIABLES_PERCENT", "3.4")
    monkeypatch.setattr(p3, "BITS_PERCENT", "0.833")
    assert p3.variables().verdict == "inconsistent"
    assert p3.bits().verdict == "consistent"
    monkeypatch.setattr(p3, "LEVELS", (((48, 48, 48), 2), ((12, 12, 12), 8), ((3, 3, 3), 32)))
    assert p3.cubes().verdict == "consistent"


def test_levels_are_no_cubes():
    assert p3.cubes().verdict == "inconsistent"
    assert "are 4x4x4, 16x16x16, 64x64x64 times the three grids" in p3.cubes().recomputed


def test_the_logarithm_is_natural(monkeypatch):
    assert p3.logarithm().verdict == "implies: natural logarithm"
    assert "0.681 if natural" in p3.logarithm().recomputed
    monkeypatch.setattr(p3, "LARGEST_LOG_MMD", "6.7")
    assert p3.logarithm().verdict == "implies: no logarithm can be ruled out"
