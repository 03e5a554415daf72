"""The cells of P5's Table 2 as printed, tested once more from their means and SDs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from genmorph.metrics.tissue_volumes import PAPER_FAMILY_ALPHA, TISSUES
from genmorph.publish.checks import read_reported

REPORTED = Path(__file__).with_name("reported.csv")
REAL, OURS, BASELINE = "real", "vqvae", "vae"
MODELS = (OURS, BASELINE)

# An SD printed as 0 lies below 0.5; this stands for it.
SD_OF_ZERO = 0.3
# means and SDs are printed in whole ml
ROUNDING = 0.5


@dataclass(frozen=True)
class Cells:
    """Cells of Table 2 that were tested against the real scans.

    Attributes
    ----------
    names : tuple of str
    generated, real : ndarray
        `[cell, 2]`: mean and SD as printed, in ml.
    n_real : ndarray
        Test scans of the cell's population.
    bold : ndarray of bool
        Whether the paper prints the cell in bold: not significant.
    """

    names: tuple[str, ...]
    generated: np.ndarray
    real: np.ndarray
    n_real: np.ndarray
    bold: np.ndarray

    @property
    def level(self) -> float:
        """Level of one test (Bonferroni over the cells)."""
        return PAPER_FAMILY_ALPHA / len(self.names)


def read_cells(n_real: Mapping[str, int]) -> Cells:
    """The tested cells of Table 2 with their bold marks.

    Parameters
    ----------
    n_real : mapping of str to int
        Populations, and the real scans of each.
    """
    means, sds = (read_reported(REPORTED, "table2", part) for part in ("value", "spread"))
    bold = read_reported(REPORTED, "table2_bold")
    keys = list(product(n_real, MODELS, TISSUES))

    def numbers(rows: Iterable[str]) -> np.ndarray:
        return np.array(
            [
                (float(means[row][tissue]), float(sds[row][tissue]))
                for row, (_, _, tissue) in zip(rows, keys, strict=True)
            ]
        )

    return Cells(
        names=tuple(f"{population}-{model} {tissue}" for population, model, tissue in keys),
        generated=numbers(f"{population}-{model}" for population, model, _ in keys),
        real=numbers(f"{population}-{REAL}" for population, _, _ in keys),
        n_real=np.array([n_real[population] for population, _, _ in keys]),
        bold=np.array([bold[f"{name}-{model}"][tissue] == "1" for name, model, tissue in keys]),
    )


def agreement(
    cells: Cells,
    n_generated: Iterable[int],
    *,
    pooled: bool = False,
    sd_of_zero: float = SD_OF_ZERO,
) -> np.ndarray:
    """Cells whose test says what their print says.

    Parameters
    ----------
    cells : Cells
    n_generated : iterable of int
        Generated volumes of each model and population.
    pooled : bool
        Whether both sides are taken to have one variance (Student), or not (Welch).
    sd_of_zero : float
        Stands for an SD printed as 0.

    Returns
    -------
    ndarray of bool, shape (len(n_generated), cells)
    """
    mean, sd = cells.generated.T
    difference = np.abs(mean - cells.real[:, 0])
    printed = np.where(sd == 0, sd_of_zero, sd)
    p = _p(difference, printed, _column(n_generated), cells.real[:, 1], cells.n_real, pooled)
    return (p >= cells.level) == cells.bold


def marks_kept(cells: Cells, n_generated: Iterable[int], *, pooled: bool = False) -> np.ndarray:
    """Whether the mark of each cell follows from its print whatever was rounded away.

    Half a unit of the last digit of both means and both SDs, each cell by itself, at the corners of
    what the print allows.

    Returns
    -------
    ndarray of int, shape (len(n_generated), cells)
        1 where the mark follows, -1 where it contradicts the print, 0 where either can be.
    """
    sizes = _column(n_generated)
    difference = np.abs(cells.generated[:, 0] - cells.real[:, 0])
    agree = [
        (
            _p(
                np.maximum(difference + apart, 0),
                np.maximum(cells.generated[:, 1] + own, 0),
                sizes,
                cells.real[:, 1] + other,
                cells.n_real,
                pooled,
            )
            >= cells.level
        )
        == cells.bold
        for apart, own, other in product(
            (-2 * ROUNDING, 2 * ROUNDING), (-ROUNDING, ROUNDING), (-ROUNDING, ROUNDING)
        )
    ]
    return np.where(np.all(agree, axis=0), 1, np.where(np.any(agree, axis=0), 0, -1))


def _column(numbers: Iterable[int]) -> np.ndarray:
    return np.array(list(numbers))[:, None]


def _p(
    difference: np.ndarray,
    sd_a: np.ndarray,
    n_a: np.ndarray,
    sd_b: np.ndarray,
    n_b: np.ndarray,
    pooled: bool,
) -> np.ndarray:
    """Two-sided p of means that lie `difference` apart."""
    from scipy.stats import ttest_ind_from_stats

    return ttest_ind_from_stats(difference, sd_a, n_a, 0.0, sd_b, n_b, equal_var=pooled).pvalue
