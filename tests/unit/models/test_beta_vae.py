"""βVAE: its loss by hand, its start, and a step at the paper's size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genmorph.errors import ConfigError
from genmorph.models import build
from genmorph.models.blocks import kl_divergence
from genmorph.models.interface import Progress

THIN = {"channels": (2, 3, 4, 5), "latent_size": 6}
SHAPE = (17, 9, 8)
LATE = Progress(100, 20.0, 30.0)


def generators(n):
    return [torch.Generator().manual_seed(number) for number in range(n)]


@pytest.fixture
def volumes():
    return torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_terms_of_the_loss_by_hand(volumes):
    model = build("beta_vae", THIN, SHAPE)
    with torch.no_grad():
        terms = model.losses(volumes, progress=LATE, generators=generators(3))
        mean, log_variance = model.encode(volumes)
        noise = torch.stack([torch.randn(6, generator=one) for one in generators(3)])
        made = model.decode(mean + noise * log_variance.exp().sqrt())
    assert set(terms) == {"reconstruction", "kl"}
    torch.testing.assert_close(terms["reconstruction"], (volumes - made).abs().sum() / 3)
    torch.testing.assert_close(terms["kl"], 3.0 * kl_divergence(mean, log_variance).mean())


def test_squared_differences_when_asked_for(volumes):
    model = build("beta_vae", {**THIN, "pixel_loss": "mse", "reduction": "mean"}, SHAPE)
    with torch.no_grad():
        terms = model.losses(volumes, progress=LATE, generators=generators(3))
        mean, log_variance = model.encode(volumes)
        noise = torch.stack([torch.randn(6, generator=one) for one in generators(3)])
        made = model.decode(mean + noise * log_variance.exp().sqrt())
    torch.testing.assert_close(terms["reconstruction"], (volumes - made).square().mean())


def test_beta_is_the_papers_and_is_not_warmed_up():
    model = build("beta_vae", THIN, SHAPE)
    assert model.scheduled(Progress(0, 0.0, 30.0)) == {"beta": 3.0}


def test_a_model_that_starts_from_the_mean_puts_it_out(volumes):
    mean = volumes.mean(0).numpy()
    options = {**THIN, "output": "difference_from_mean", "encoder_input": "difference_from_mean"}
    model = build("beta_vae", options, SHAPE, mean)
    assert model.options.starts_from_mean
    with torch.no_grad():
        np.testing.assert_allclose(model.reconstruct(volumes)[0].numpy(), mean, atol=0.01)
        seen = model.encode(torch.tensor(mean)[None])[0]
        assert torch.equal(seen, model.encoder(torch.zeros(1, 1, *SHAPE))[0])


def test_a_sigmoid_keeps_intensities_between_0_and_1():
    sample = build("beta_vae", {**THIN, "output": "sigmoid"}, SHAPE).sample(generators(2))
    assert sample.shape == (2, *SHAPE)
    assert sample.min() > 0 and sample.max() < 1


def test_a_sample_depends_on_its_own_generator_alone():
    model = build("beta_vae", THIN, SHAPE)
    with torch.no_grad():
        two, one = model.sample(generators(2)), model.sample(generators(2)[1:])
    torch.testing.assert_close(two[1:], one, rtol=1e-5, atol=1e-6)
    assert not torch.equal(two[0], two[1])


def test_a_mean_of_another_grid_is_refused():
    with pytest.raises(ConfigError, match="mean image"):
        build("beta_vae", THIN, SHAPE, np.zeros((3, 3, 3), np.float32))


def paper_parameter_count():
    """By hand: 3x3x3 convolutions, two a block, without a bias before instance normalisation."""

    def block(incoming, outgoing):
        return 27 * (incoming * outgoing + outgoing * outgoing)

    bottleneck = 128 * 5 * 6 * 5
    encoder = sum(block(*pair) for pair in [(1, 16), (16, 32), (32, 64), (64, 128)])
    encoder += bottleneck * 1024 + 1024
    decoder = 512 * bottleneck + bottleneck
    decoder += sum(block(*pair) for pair in [(128, 128), (128, 64), (64, 32), (32, 16)])
    return encoder + decoder + 16 * 27 + 1


def test_one_step_at_the_papers_size():
    shape = (80, 96, 80)
    model = build("beta_vae", {}, shape)
    assert sum(weights.numel() for weights in model.parameters()) == paper_parameter_count()
    volumes = torch.rand(1, *shape, generator=torch.Generator().manual_seed(2))
    terms = model.losses(volumes, progress=LATE, generators=generators(1))
    sum(terms.values()).backward()
    assert all(torch.isfinite(term) and term > 0 for term in terms.values())
    for name, weights in model.named_parameters():
        assert torch.isfinite(weights.grad).all() and weights.grad.abs().max() > 0, name
    before = [weights.detach().clone() for weights in model.parameters()]
    torch.optim.AdamW(model.parameters(), lr=3e-4).step()
    assert not any(map(torch.equal, before, model.parameters()))
