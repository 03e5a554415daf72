"""The Gaussian over slices: against numpy, scipy and the identity of section 2.1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from genmorph.errors import MeasurementError, TrainingError, WeightsError
from genmorph.models.slice_gaussian import SliceGaussian, SliceStatistics

COMPONENTS, SLICES = 3, 7


def stacks(volumes, components=COMPONENTS, slices=SLICES, seed=0):
    """Codes `[n, L, T]` with correlated slices and a mean far from zero."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((components, slices, slices))
    noise = rng.standard_normal((volumes, components, slices))
    return torch.tensor(50 + np.einsum("lts,nls->nlt", mixing, noise), dtype=torch.float32)


def fitted(codes, **options):
    model = SliceGaussian(*codes.shape[1:], **options)
    model.fit(codes.split(4))
    return model


def centred_columns(codes, component):
    """Y of the paper: a centred volume a column, `[T, N]`, double precision."""
    values = codes[:, component].double().numpy()
    return (values - values.mean(0)).T


@pytest.mark.parametrize("volumes", [5, 40, 67])
def test_streamed_sums_give_numpys_mean_and_covariance(volumes):
    codes = stacks(volumes)
    statistics = SliceStatistics(COMPONENTS, SLICES)
    for batch in codes.split(3):
        statistics.add(batch)
    assert statistics.volumes == volumes
    values = codes.double().numpy()
    np.testing.assert_allclose(statistics.mean().numpy(), values.mean(0), rtol=1e-12)
    found = torch.cat(list(statistics.covariances())).numpy()
    for component in range(COMPONENTS):
        expected = np.cov(values[:, component], rowvar=False, bias=True)
        np.testing.assert_allclose(found[component], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("volumes", [5, 40])
def test_covariance_of_samples_is_that_of_the_codes(volumes):
    """cov(W z) = W Wᵀ = Y Yᵀ / N, with fewer volumes than slices too."""
    codes = stacks(volumes)
    matrix = fitted(codes).matrix().double().numpy()
    for component in range(COMPONENTS):
        y = centred_columns(codes, component)
        np.testing.assert_allclose(
            matrix[component] @ matrix[component].T, y @ y.T / volumes, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("rank", [None, 2, 99])
def test_w_agrees_with_numpys_svd(rank):
    codes = stacks(20)
    matrix = fitted(codes, rank=rank).matrix().double().numpy()
    kept = min(rank or SLICES, SLICES)
    assert matrix.shape == (COMPONENTS, SLICES, kept)
    for component in range(COMPONENTS):
        u, s, _ = np.linalg.svd(centred_columns(codes, component), full_matrices=False)
        expected = u[:, :kept] * s[:kept] / np.sqrt(20)
        # an axis may point either way
        np.testing.assert_allclose(np.abs(matrix[component]), np.abs(expected), atol=2e-4)


def test_the_printed_square_root_has_another_covariance_and_warns(capsys):
    codes = stacks(20)
    assert "warning" not in capsys.readouterr().err
    model = fitted(codes, factor="paper_sqrt")
    assert "paper_sqrt" in capsys.readouterr().err
    matrix = model.matrix().double().numpy()
    u, s, _ = np.linalg.svd(centred_columns(codes, 0), full_matrices=False)
    expected = u * np.sqrt(s) / np.sqrt(20)
    np.testing.assert_allclose(np.abs(matrix[0]), np.abs(expected), atol=2e-4)
    y = centred_columns(codes, 0)
    assert not np.allclose(matrix[0] @ matrix[0].T, y @ y.T / 20, rtol=0.1)


def test_drawn_codes_have_mean_and_covariance():
    codes = stacks(30)
    model = fitted(codes)
    drawn = model.draw([torch.Generator().manual_seed(k) for k in range(4000)])
    assert drawn.shape == (4000, COMPONENTS, SLICES)
    for component in range(COMPONENTS):
        y = centred_columns(codes, component)
        covariance = y @ y.T / 30
        values = drawn[:, component].double().numpy()
        scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        assert np.abs((np.cov(values, rowvar=False) - covariance) / scale).max() < 0.1
        error = (values.mean(0) - codes[:, component].double().numpy().mean(0)) / np.sqrt(
            np.diag(covariance)
        )
        assert np.abs(error).max() < 0.08


def test_a_draw_depends_on_its_own_generator_alone():
    model = fitted(stacks(10))
    both = model.draw([torch.Generator().manual_seed(k) for k in (1, 2)])
    alone = model.draw([torch.Generator().manual_seed(2)])
    torch.testing.assert_close(both[1], alone[0])
    assert not torch.equal(both[0], both[1])


def test_log_density_at_full_rank_is_scipys():
    codes, asked = stacks(40), stacks(3, seed=9)
    model = fitted(codes)
    assert model.covariance_kind == "sample covariance"
    expected = np.zeros(3)
    for component in range(COMPONENTS):
        values = codes[:, component].double().numpy()
        normal = multivariate_normal(values.mean(0), np.cov(values, rowvar=False, bias=True))
        expected += normal.logpdf(asked[:, component].double().numpy())
    for covariance in ("full_rank", "sample"):
        found = model.log_density(asked, covariance).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize(("volumes", "rank", "modelled"), [(40, 3, 3), (5, None, 2), (5, 3, 3)])
def test_log_density_without_full_rank_is_that_of_probabilistic_pca(volumes, rank, modelled):
    codes, asked = stacks(volumes), stacks(3, seed=9)
    model = fitted(codes, rank=rank)
    assert model.covariance_kind.startswith(f"probabilistic PCA, {modelled} of {SLICES} axes")
    expected = np.zeros(3)
    for component in range(COMPONENTS):
        y = centred_columns(codes, component)
        values, vectors = np.linalg.eigh(y @ y.T / volumes)
        values[: SLICES - modelled] = values[: SLICES - modelled].clip(0).mean()
        normal = multivariate_normal(
            codes[:, component].double().numpy().mean(0), vectors * values @ vectors.T
        )
        expected += normal.logpdf(asked[:, component].double().numpy())
    found = model.log_density(asked).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    with pytest.raises(MeasurementError, match="has no density"):
        model.log_density(asked, "sample")


@pytest.mark.parametrize(("volumes", "rank"), [(40, None), (40, 3), (5, None)])
def test_expected_log_density_is_the_mean_over_draws(volumes, rank):
    """In closed form: log p(m) - ½ tr(Σ⁻¹ diag(s²)), with Σ from draws of log p itself."""
    codes, mean = stacks(volumes), stacks(2, seed=9)
    model = fitted(codes, rank=rank)
    deviation = 0.1 + torch.rand(mean.shape, generator=torch.Generator().manual_seed(0))
    found = model.expected_log_density(mean, deviation)
    noise = torch.randn(20000, *mean.shape[1:], generator=torch.Generator().manual_seed(1))
    noise = torch.cat([noise, -noise])  # the linear term cancels
    for scan in range(2):
        drawn = model.log_density(mean[scan] + deviation[scan] * noise)
        fall = float(model.log_density(mean[scan : scan + 1]) - drawn.mean())
        assert fall > 0
        expected = float(model.log_density(mean[scan : scan + 1]) - found[scan])
        assert expected == pytest.approx(fall, rel=0.03)


def test_log_density_is_finite_for_fourteen_volumes_of_many_slices():
    codes = stacks(14, components=2, slices=64)
    model = fitted(codes)
    assert torch.isfinite(model.log_density(stacks(2, 2, 64, seed=3))).all()
    assert "6 of 64 axes" in model.covariance_kind


def test_codes_that_never_vary_have_no_density():
    codes = stacks(20)
    codes[:, 1] = 3.0
    with pytest.raises(MeasurementError, match="same in all volumes"):
        fitted(codes).log_density(codes[:1])


def test_what_was_never_fitted_is_refused():
    model = SliceGaussian(2, 3)
    for ask in (lambda: model.draw([torch.Generator()]), lambda: model.covariance_kind):
        with pytest.raises(WeightsError, match="never estimated"):
            ask()
    with pytest.raises(TrainingError, match="needs volumes"):
        model.fit([])
