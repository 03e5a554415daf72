"""Densities of latent stacks against scipy, and their expectations against draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from genmorph.errors import MeasurementError
from genmorph.metrics.latent_densities import DiagonalGaussian, NoisyGaussian

COMPONENTS, SLICES = 3, 5


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def mean():
    return 2 + numbers(COMPONENTS, SLICES)


@pytest.fixture
def noise():
    return 0.1 + numbers(COMPONENTS, SLICES, seed=1).square()


@pytest.mark.parametrize("rank", [2, 5])
@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_noise_on_a_gaussian_over_slices_is_scipys(mean, noise, rank, at_once, monkeypatch):
    monkeypatch.setattr("genmorph.metrics.latent_densities.COMPONENTS_AT_ONCE", at_once)
    matrix = numbers(COMPONENTS, SLICES, rank, seed=2)
    asked = mean + numbers(4, COMPONENTS, SLICES, seed=3)
    expected = np.zeros(4)
    for component in range(COMPONENTS):
        root = matrix[component].double().numpy()
        covariance = root @ root.T + np.diag(noise[component].double().numpy())
        normal = multivariate_normal(mean[component].double().numpy(), covariance)
        expected += normal.logpdf(asked[:, component].double().numpy())
    found = NoisyGaussian(mean, matrix, noise).log_density(asked)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_independent_numbers_are_scipys(mean, noise):
    asked = mean + numbers(4, COMPONENTS, SLICES, seed=3)
    normal = multivariate_normal(
        mean.double().numpy().ravel(), np.diag(noise.double().numpy().ravel())
    )
    found = DiagonalGaussian(mean, noise).log_density(asked)
    np.testing.assert_allclose(
        found.numpy(), normal.logpdf(asked.flatten(1).double().numpy()), rtol=1e-6
    )


@pytest.mark.parametrize("kind", ["independent", "noisy"])
def test_expectations_are_means_over_draws(mean, noise, kind):
    matrix = numbers(COMPONENTS, SLICES, 2, seed=2)
    density = (
        DiagonalGaussian(mean, noise) if kind == "independent"
        else NoisyGaussian(mean, matrix, noise)
    )  # fmt: skip
    at, deviation = mean[None] + 0.3, 0.2 + numbers(1, COMPONENTS, SLICES, seed=4).abs()
    draws = numbers(20_000, COMPONENTS, SLICES, seed=5)
    drawn = density.log_density(at + deviation * torch.cat([draws, -draws]))
    fall = float(density.log_density(at) - drawn.mean())
    found = float(density.log_density(at) - density.expected_log_density(at, deviation))
    assert fall > 1 and found == pytest.approx(fall, rel=0.03)


def test_numbers_that_never_vary_have_no_density(mean, noise):
    noise[1, 2] = 0.0
    with pytest.raises(MeasurementError, match="1 numbers of the codes are the same"):
        DiagonalGaussian(mean, noise).log_density(mean[None])


def test_noise_too_weak_for_the_rank_is_told(mean, noise):
    noise[1] = 0.0
    matrix = numbers(COMPONENTS, SLICES, 2, seed=2)
    with pytest.raises(MeasurementError, match="1 components of the codes hardly vary"):
        NoisyGaussian(mean, matrix, noise)
