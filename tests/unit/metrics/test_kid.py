"""Kernel distance: against a double loop in higher precision and scikit-learn's kernel."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from genmorph.errors import MeasurementError
from genmorph.metrics import kid
from genmorph.metrics.kid import kernel_distance


def by_double_loop(a, b):
    """The sums as the paper writes them, in 50 digits."""
    with mpmath.workdps(50):

        def kernel(x, y):
            product = sum(
                mpmath.mpf(float(i)) * mpmath.mpf(float(j)) for i, j in zip(x, y, strict=True)
            )
            return (product / len(x) + 1) ** 3

        def within(side):
            others = [
                kernel(x, y) for i, x in enumerate(side) for j, y in enumerate(side) if i != j
            ]
            return sum(others) / len(others)

        between = sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))
        return float(within(a) + within(b) - 2 * between)


@pytest.mark.parametrize(("n", "m", "scale"), [(2, 2, 1.0), (5, 9, 1.0), (8, 3, 30.0)])
def test_equals_the_double_loop(n, m, scale):
    rng = np.random.default_rng(n)
    a, b = scale * rng.normal(size=(n, 7)), scale * rng.normal(size=(m, 7)) + 0.2
    assert kernel_distance(a, b) == pytest.approx(by_double_loop(a, b), rel=1e-9)
    assert kernel_distance(a, b) == pytest.approx(kernel_distance(b, a), rel=1e-9)


@pytest.mark.parametrize("rows", [1024, 4])
def test_equals_the_kernel_of_another_library(rows, monkeypatch):
    """Also when the rows are taken a few at a time."""
    monkeypatch.setattr(kid, "ROWS_AT_A_TIME", rows)
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(30, 12)).astype(np.float32), rng.normal(size=(21, 12)) + 1

    def mean_within(side):
        kernel = polynomial_kernel(side, degree=3, coef0=1)
        np.fill_diagonal(kernel, np.nan)
        return np.nanmean(kernel)

    between = polynomial_kernel(a, b, degree=3, coef0=1).mean()
    expected = mean_within(a.astype(float)) + mean_within(b) - 2 * between
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_has_no_bias_and_may_be_negative():
    rng = np.random.default_rng(0)
    found = [
        kernel_distance(rng.normal(size=(6, 10)), rng.normal(size=(6, 10))) for _ in range(400)
    ]
    standard_error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * standard_error
    assert min(found) < 0


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((1, 3)), np.zeros((4, 3)), "1 row on a side"),
        (np.zeros((2, 3)), np.zeros((2, 4)), "3 features against 4"),
        (np.zeros((2, 3)), np.full((2, 3), np.inf), "not finite"),
    ],
)
def test_undefined_distances_are_errors(a, b, message):
    with pytest.raises(MeasurementError, match=message):
        kernel_distance(a, b)
