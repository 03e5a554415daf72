"""Likelihood of scans under a slice VAE: a linear model whose every density is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from genmorph.errors import MeasurementError
from genmorph.metrics.latent_likelihood import measure_latent_likelihood
from genmorph.models.slice_gaussian import SliceGaussian

SLICES, FITTED = 4, 12
GAIN, VARIANCE = 0.8, 0.02  # V = GAIN y + noise of this variance
MEAN = np.array([0.5, 0.6, 0.4, 0.55])
ALONE = np.diag([0.01, 0.02, 0.03, 0.015])
TOGETHER = np.sqrt(np.diag(ALONE))[:, None] * np.sqrt(np.diag(ALONE))[None] * 0.9 + 0.1 * ALONE


class LinearModel:
    """A number a slice: for independent slices, the encoder's posterior is the true one."""

    def __init__(self, covariance=ALONE, volumes=FITTED):
        values, vectors = np.linalg.eigh(covariance)
        self.gaussian = SliceGaussian(1, SLICES)
        self.gaussian.mean[0] = torch.tensor(MEAN)
        self.gaussian.variances[0] = torch.tensor(values)
        self.gaussian.axes[0] = torch.tensor(vectors)
        self.gaussian.modelled_axes.fill_(SLICES)
        self.gaussian.volumes.fill_(volumes)
        self.variance = torch.tensor(
            1 / (1 / np.diag(covariance) + GAIN**2 / VARIANCE), dtype=torch.float32
        )
        self.weight = self.variance * GAIN / VARIANCE

    def posterior(self, volumes):
        mean = self.gaussian.mean[0]
        codes = mean + self.weight * (volumes.flatten(1) - GAIN * mean)
        return codes[:, None], self.variance.sqrt().log().expand(len(codes), 1, SLICES)

    def decode(self, codes):
        return (GAIN * codes[:, 0]).unflatten(1, (1, SLICES, 1))


def scans(n, covariance=ALONE, seed=0, centred=False):
    """Volumes of the linear model, `[1, SLICES, 1]`."""
    rng = np.random.default_rng(seed)
    codes = rng.multivariate_normal(MEAN, covariance, n)
    values = GAIN * codes + math.sqrt(VARIANCE) * rng.standard_normal(codes.shape)
    if centred:  # exactly, so that their codes have the fitted mean
        values += GAIN * MEAN - values.mean(0)
    return {f"sub-{seed}{k:03d}": row.reshape(1, SLICES, 1) for k, row in enumerate(values)}


def fit_on(model, training):
    seen = torch.tensor(np.stack(list(training.values())), dtype=torch.float32)
    model.gaussian.fit([model.posterior(seen)[0]])


def likelihood_of_volumes(volumes, covariance):
    normal = multivariate_normal(GAIN * MEAN, GAIN**2 * covariance + VARIANCE * np.eye(SLICES))
    return {name: normal.logpdf(volume.ravel()) for name, volume in volumes.items()}


def measured(model, held_out, training, **options):
    options = {"encoder": "abc", "decoder_variance": VARIANCE, "draws": 2000, **options}
    return measure_latent_likelihood(model, held_out, training, **options)


def test_the_bound_is_log_p_of_the_volume_where_the_posterior_is_the_true_one():
    held_out, training = scans(3, seed=1), scans(FITTED, centred=True)
    found = measured(LinearModel(), held_out, training)
    expected = likelihood_of_volumes(held_out, ALONE)
    for name, value in expected.items():
        assert found.per_scan[name]["elbo_gaussian_over_slices"] == pytest.approx(value, abs=0.15)
    mean = np.mean(list(expected.values()))
    assert found.values["elbo_gaussian_over_slices"] == pytest.approx(mean, abs=0.1)
    assert found.values["elbo_gaussian_over_slices_bits"] == pytest.approx(
        -found.values["elbo_gaussian_over_slices"] / (SLICES * math.log(2))
    )
    assert found.n == {
        "reference_scans": 3,
        "reference_people": 3,
        "training_scans": FITTED,
        "training_people": FITTED,
    }


def test_the_bound_is_below_log_p_where_the_posterior_is_not():
    held_out, training = scans(8, TOGETHER, seed=1), scans(FITTED, TOGETHER, centred=True)
    found = measured(LinearModel(TOGETHER), held_out, training)
    for name, value in likelihood_of_volumes(held_out, TOGETHER).items():
        assert found.per_scan[name]["elbo_gaussian_over_slices"] < value


def test_terms_by_hand():
    held_out, training = scans(1, seed=1), scans(FITTED, centred=True)
    model = LinearModel(TOGETHER)
    found = measured(model, held_out, training).values
    volume = torch.tensor(next(iter(held_out.values())), dtype=torch.float32)[None]
    mean, log_deviation = (part[0, 0].double().numpy() for part in model.posterior(volume))
    deviation = np.exp(log_deviation)
    normal = multivariate_normal(MEAN, TOGETHER)
    assert found["log_density_gaussian_over_slices"] == pytest.approx(normal.logpdf(mean), rel=1e-4)
    assert found["log_density_gaussian_over_slices_bits"] == pytest.approx(
        -normal.logpdf(mean) / (SLICES * math.log(2)), rel=1e-4
    )
    codes = np.stack(
        [
            model.posterior(torch.tensor(one, dtype=torch.float32)[None])[0][0, 0].double().numpy()
            for one in training.values()
        ]
    )
    alone = multivariate_normal(MEAN, np.diag(codes.var(0)))
    assert found["log_density_independent_slices"] == pytest.approx(alone.logpdf(mean), rel=1e-4)
    standard = multivariate_normal(np.zeros(SLICES), np.eye(SLICES))
    assert found["log_density_standard_normal"] == pytest.approx(standard.logpdf(mean), rel=1e-5)
    entropy = multivariate_normal(mean, np.diag(deviation**2)).entropy()
    assert found["entropy"] == pytest.approx(entropy, rel=1e-5)
    # with the standard normal prior it is the bound of every VAE: reconstruction less KL
    normal_q = torch.distributions.Normal(torch.tensor(mean), torch.tensor(deviation))
    kl = torch.distributions.kl_divergence(normal_q, torch.distributions.Normal(0.0, 1.0)).sum()
    bound = found["reconstruction_term"] - float(kl)
    assert found["elbo_standard_normal"] == pytest.approx(bound, rel=1e-5)
    # E_q of the squared differences has a closed form too, as the decoder is linear
    rest = volume.ravel().double().numpy() - GAIN * mean
    squares = (rest**2).sum() + (GAIN**2 * deviation**2).sum()
    assert found["sum_of_squares"] == pytest.approx(squares, rel=0.05)
    assert found["reconstruction_term"] == pytest.approx(
        -found["sum_of_squares"] / (2 * VARIANCE) - SLICES / 2 * math.log(2 * math.pi * VARIANCE)
    )


def test_neighbours_that_go_together_are_worth_knowing():
    held_out, training = scans(20, TOGETHER, seed=1), scans(200, TOGETHER, centred=True)
    model = LinearModel(TOGETHER)
    model.variance = torch.full((SLICES,), 1e-4)  # an encoder that is sure of its codes
    fit_on(model, training)
    found = measured(model, held_out, training, draws=2).values
    for quantity in ("log_density", "elbo"):
        known, alone, standard = (
            found[f"{quantity}_{name}"]
            for name in ("gaussian_over_slices", "independent_slices", "standard_normal")
        )
        assert known > alone > standard
        assert f"{quantity}_gaussian_over_slices_training" in found


def test_a_gaussian_of_posterior_means_may_lose_to_the_standard_normal_in_the_bound():
    """Its variances leave out the posterior's own: what an unsure encoder draws is unlikely."""
    held_out, training = scans(4, TOGETHER, seed=1), scans(200, TOGETHER, centred=True)
    model = LinearModel(TOGETHER)
    model.variance = torch.full((SLICES,), 0.5)
    fit_on(model, training)
    found = measured(model, held_out, training, draws=2).values
    assert found["log_density_gaussian_over_slices"] > found["log_density_standard_normal"]
    assert found["elbo_gaussian_over_slices"] < found["elbo_standard_normal"]
    # with the posterior's variance added it is the best Gaussian for these codes
    best = found["elbo_gaussian_over_slices_with_noise"]
    assert best > found["elbo_standard_normal"]
    assert best > found["elbo_independent_slices_with_noise"] > found["elbo_independent_slices"]


def test_a_scans_draws_are_its_own():
    training = scans(FITTED, centred=True)
    three = scans(3, seed=1)
    one = {"sub-1001": three["sub-1001"]}
    few, many = (measured(LinearModel(), own, training, draws=2).per_scan for own in (one, three))
    assert few["sub-1001"] == many["sub-1001"]
    other = measured(LinearModel(), one, training, draws=2, seed=5).per_scan
    assert other["sub-1001"]["sum_of_squares"] != few["sub-1001"]["sum_of_squares"]


def test_numbers_that_never_vary_leave_a_density_undefined():
    training = scans(FITTED, centred=True)
    for volume in training.values():
        volume[0, 2, 0] = np.float32(GAIN * MEAN[2])
    model = LinearModel()
    model.weight[2] = 0.0
    found = measured(model, scans(2, seed=1), training, draws=1)
    assert "log_density_independent_slices" not in found.values
    assert "elbo_independent_slices" not in found.values
    assert "log_density_gaussian_over_slices" in found.values
    assert any("n/a for independent_slices: 1 numbers" in note for note in found.notes)


def test_the_density_is_told_from_that_of_a_volume_and_its_encoder_is_named():
    found = measured(LinearModel(), scans(1, seed=1), scans(FITTED, centred=True), draws=1)
    assert found.settings["encoder"] == "abc"
    assert found.settings["covariance_kind"] == "sample covariance"
    assert "not log p(V)" in found.notes[0]
    assert "Covariance of log p(y): sample covariance." in found.notes
    assert not found.spread.keys() & {"entropy", "sum_of_squares"}  # of one scan there is no SD
    assert found.spread["sum_of_squares_training"] > 0


@pytest.mark.parametrize(
    ("held_out", "training", "match"),
    [
        ({}, scans(FITTED, centred=True), "no held-out"),
        (scans(1), {}, "no training"),
        (scans(1, seed=1), scans(FITTED - 1, centred=True), "11 training scans are not the 12"),
        (
            scans(1, seed=1),
            {name: volume + 0.1 for name, volume in scans(FITTED, centred=True).items()},
            "are not the 12",
        ),
        ({"sub-x": np.zeros((1, 3, 1))}, scans(FITTED, centred=True), "sub-x is"),
        ({"sub-x": np.full((1, 4, 1), np.inf)}, scans(FITTED, centred=True), "not finite"),
    ],
)
def test_what_cannot_be_measured_is_named(held_out, training, match):
    with pytest.raises(MeasurementError, match=match):
        measured(LinearModel(), held_out, training, draws=1)
