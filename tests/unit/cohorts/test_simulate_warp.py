"""Warps: exponentials against closed forms, Jacobians against linear algebra."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.cohorts.simulate.grids import Grid
from genmorph.cohorts.simulate.warp import (
    checked_minimum_jacobian,
    exponential,
    minimum_jacobian,
    mirror,
    random_velocity,
    smooth_noise,
    velocity_of_growth,
)
from genmorph.errors import GenmorphError

SHAPE = (22, 26, 24)
SPACING = 4.0
GRID = Grid((-42.0, -50.0, -46.0), SPACING, SHAPE)
INNER = (slice(None), slice(6, -6), slice(6, -6), slice(6, -6))


def test_grid_samples_a_linear_volume_exactly_in_millimetres():
    x, y, z = GRID.axes()
    volume = (0.5 * x - 2.0 * y + 0.25 * z).astype(np.float32)
    points = np.array([[1.3, -20.0], [7.0, 3.3], [-11.9, 0.4]])
    expected = 0.5 * points[0] - 2.0 * points[1] + 0.25 * points[2]
    assert GRID.sample(volume, points) == pytest.approx(expected, abs=1e-3)
    assert GRID.sample(volume, np.array([[500.0], [0.0], [0.0]]), outside=7.0) == [7.0]


def test_grid_over_reaches_the_far_corner_at_any_spacing():
    for spacing in (1.0, 3.0, 3.7):
        grid = Grid.over((-80.0, -10.0, 0.0), (80.0, 5.0, 7.0), spacing)
        last = np.asarray(grid.origin_mm) + spacing * (np.asarray(grid.shape) - 1)
        assert np.all(last >= [80.0, 5.0, 7.0]) and np.all(last < np.array([80, 5, 7]) + spacing)


def test_constant_velocity_is_a_translation():
    velocity = np.broadcast_to(np.float32([3.0, -1.0, 2.0])[:, None, None, None], (3, *SHAPE))
    assert np.allclose(exponential(velocity, SPACING), velocity, atol=1e-4)


def test_linear_velocity_gives_the_matrix_exponential():
    from scipy.linalg import expm

    matrix = np.array([[0.05, 0.12, 0.0], [-0.10, -0.03, 0.06], [0.02, 0.0, 0.04]])
    points = GRID.points()
    velocity = np.einsum("ij,jxyz->ixyz", matrix, points).astype(np.float32)
    expected = np.einsum("ij,jxyz->ixyz", expm(matrix) - np.eye(3), points)
    displacement = exponential(velocity, SPACING)
    assert np.abs(displacement - expected)[INNER].max() < 0.02
    inner = displacement[INNER]
    assert minimum_jacobian(inner, SPACING) == pytest.approx(np.exp(np.trace(matrix)), rel=5e-3)


def test_the_negative_velocity_is_the_inverse_warp():
    rng = np.random.default_rng(3)
    velocity = random_velocity(rng, GRID, correlation_mm=25.0, amplitude_mm=3.0)
    forward, backward = exponential(velocity, SPACING), exponential(-velocity, SPACING)
    there = GRID.points() + forward
    back = there + np.stack([GRID.sample(component, there) for component in backward])
    error = np.abs(back - GRID.points())[INNER].max()
    assert np.abs(forward[INNER]).max() > 4.0
    assert error < 0.1 * SPACING  # what trilinear sampling leaves


def test_velocity_of_growth_has_the_wanted_divergence_and_no_curl():
    x, y, z = GRID.axes()
    ball = np.exp(-((x - 6) ** 2 + y**2 + (z + 4) ** 2) / (2 * 12.0**2))
    growth = ball - ball.mean()
    velocity = velocity_of_growth(growth, SPACING)
    slopes = [np.gradient(component, SPACING) for component in velocity]
    divergence = sum(slopes[axis][axis] for axis in range(3))
    assert np.abs(divergence - growth)[INNER[1:]].max() < 0.06
    assert np.abs(slopes[0][1] - slopes[1][0]).max() < 1e-3


def test_growth_enlarges_what_it_names():
    x, y, z = GRID.axes()
    ball = 1.0 / (1.0 + np.exp((np.sqrt(x**2 + y**2 + z**2) - 16.0) / 2.0))
    shell = 1.0 / (1.0 + np.exp((np.sqrt(x**2 + y**2 + z**2) - 34.0) / 2.0)) - ball
    growth = ball - shell * ball.sum() / shell.sum()
    displacement = exponential(-0.3 * velocity_of_growth(growth, SPACING), SPACING)
    moved = GRID.sample(ball.astype(np.float32), GRID.points() + displacement)
    assert 1.15 < moved.sum() / ball.sum() < np.exp(0.3)


def test_a_fold_is_seen_and_named():
    displacement = np.zeros((3, 6, 5, 7), np.float32)
    displacement[0, 3, 2, 4] = 1.7 * SPACING  # passes its neighbour
    assert minimum_jacobian(np.zeros((3, 6, 5, 7)), SPACING) == pytest.approx(1.0)
    away, there = np.zeros((2, 6, 5, 7), bool)
    away[0], there[3, 2, 4] = True, True
    assert minimum_jacobian(displacement, SPACING, away) == pytest.approx(1.0)
    assert minimum_jacobian(displacement, SPACING, there) < 0.0
    with pytest.raises(GenmorphError, match="sub-0007"):
        checked_minimum_jacobian(displacement, SPACING, "sub-0007")


def test_smooth_noise_has_unit_variance_and_the_stated_correlation():
    field = smooth_noise(np.random.default_rng(0), (80, 70, 60), 2.0)
    assert field.std() == pytest.approx(1.0, rel=0.06)
    lag = 4  # twice sigma
    correlation = np.mean(field[lag:] * field[:-lag]) / field.var()
    assert correlation == pytest.approx(np.exp(-1.0), abs=0.06)


def test_the_mirror_image_moves_the_other_way():
    velocity = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
    mirrored = mirror(velocity)
    assert np.array_equal(mirrored[0, 0], -velocity[0, -1])
    assert np.array_equal(mirrored[2, 1], velocity[2, -2])
    assert np.array_equal(mirror(mirrored), velocity)
