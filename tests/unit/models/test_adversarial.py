"""WGAN-GP, VAE-GAN, α-GAN: losses by hand, who learns in which phase, P2's sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from genmorph.errors import ConfigError
from genmorph.models import build
from genmorph.models.adversarial import gradient_penalty, judged
from genmorph.models.interface import Progress

SHAPE = (34, 36, 32)
START = Progress(0, 0.0, 30.0)
THIN = {"channels": (2, 3, 4, 5), "latent_size": 6}
MODELS = {
    "wgan_gp": THIN,
    "vae_gan": {**THIN, "head_channels": 7},
    "alpha_gan": {**THIN, "code_channels": 7},
    "alpha_wgan": {**THIN, "code_channels": 7},
}


def generators(n):
    return [torch.Generator().manual_seed(number) for number in range(n)]


@pytest.fixture
def volumes():
    return torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))


def terms_of(model, volumes, phase):
    found = model.losses(volumes, phase=phase, progress=START, generators=generators(2))
    return {name: value.item() for name, value in found.items()}


def entropy(scores, truth):
    """Mean cross-entropy by its definition."""
    said = torch.sigmoid(scores.double())
    return float(-torch.log(said if truth else 1 - said).mean())


def signed(volumes):
    return 2 * volumes[:, None] - 1


def test_judgement_is_a_cross_entropy():
    scores = torch.tensor([[0.3], [-1.2]])
    assert judged(scores, true=True).item() == pytest.approx(entropy(scores, True), rel=1e-5)
    assert judged(scores, true=False).item() == pytest.approx(entropy(scores, False), rel=1e-5)
    assert judged(torch.zeros(2, 1), true=True).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("architecture", MODELS)
def test_a_phase_trains_its_own_part_alone(architecture, volumes):
    model = build(architecture, MODELS[architecture], SHAPE)
    seen = set()
    for phase in model.phases:
        own = set(model.trained_in(phase))
        assert not seen & own
        seen |= own
        losses = model.losses(volumes, phase=phase, progress=START, generators=generators(2))
        gradients = torch.autograd.grad(sum(losses.values()), list(own), allow_unused=True)
        assert all(one is not None and torch.isfinite(one).all() for one in gradients)
    assert seen == set(model.parameters())


def test_terms_of_wgan_gp_by_hand(volumes):
    model = build("wgan_gp", THIN, SHAPE).eval()
    with torch.no_grad():
        codes = torch.stack([torch.randn(6, generator=one) for one in generators(2)])
        drawn = signed(model.decode(codes))
        drawn_score = float(model.critic(drawn).mean())
        real_score = float(model.critic(signed(volumes)).mean())
    assert model.critic(drawn).shape == (2, 1)
    assert terms_of(model, volumes, "generator") == pytest.approx(
        {"adversarial_samples": -drawn_score}, rel=1e-4
    )
    found = terms_of(model, volumes, "critic")
    assert found["critic_real"] == pytest.approx(-real_score, rel=1e-4)
    assert found["critic_samples"] == pytest.approx(drawn_score, rel=1e-4)
    again = generators(2)
    for one in again:
        torch.randn(6, generator=one)
    penalty = gradient_penalty(model.critic, signed(volumes), drawn, again).item()
    assert found["critic_penalty_samples"] == pytest.approx(10 * penalty, rel=1e-3)


def test_terms_of_vae_gan_by_hand(volumes):
    model = build("vae_gan", MODELS["vae_gan"], SHAPE).eval()
    with torch.no_grad():
        # the generators give the random codes first, then the posterior's noise
        streams = generators(2)
        random_codes, noise = (
            torch.stack([torch.randn(6, generator=one) for one in streams]) for _ in range(2)
        )
        mean, log_variance = model.encode(volumes)
        rebuilt = signed(model.decode(mean + noise * log_variance.exp().sqrt()))
        drawn = signed(model.decode(random_codes))
        scores = {
            name: model.critic(one)
            for name, one in (("r", rebuilt), ("s", drawn), ("x", signed(volumes)))
        }
        distance = float((signed(volumes) - rebuilt).square().mean())
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean().item()
    assert terms_of(model, volumes, "encoder") == pytest.approx(
        {"reconstruction": 10 * distance, "kl": kl}, rel=1e-4
    )
    assert terms_of(model, volumes, "generator") == pytest.approx(
        {
            "generator_reconstruction": 20 * distance,
            "adversarial_samples": -entropy(scores["s"], False),
            "adversarial_reconstructions": -entropy(scores["r"], False),
        },
        rel=1e-4,
    )
    assert terms_of(model, volumes, "critic") == pytest.approx(
        {
            "critic_real": entropy(scores["x"], True),
            "critic_samples": entropy(scores["s"], False),
            "critic_reconstructions": entropy(scores["r"], False),
        },
        rel=1e-4,
    )


def test_terms_of_alpha_gan_by_hand(volumes):
    model = build("alpha_gan", MODELS["alpha_gan"], SHAPE).eval()
    with torch.no_grad():
        random_codes = torch.stack([torch.randn(6, generator=one) for one in generators(2)])
        codes = model.encode(volumes)
        rebuilt, drawn = signed(model.decode(codes)), signed(model.decode(random_codes))
        of_rebuilt, of_drawn = model.critic(rebuilt), model.critic(drawn)
        of_real = model.critic(signed(volumes))
        of_codes, of_random = model.code_critic(codes), model.code_critic(random_codes)
    assert terms_of(model, volumes, "autoencoder") == pytest.approx(
        {
            "reconstruction": 10 * float((signed(volumes) - rebuilt).abs().mean()),
            "adversarial_codes": entropy(of_codes, True),
            "adversarial_samples": entropy(of_drawn, True),
            "adversarial_reconstructions": entropy(of_rebuilt, True),
        },
        rel=1e-4,
    )
    assert terms_of(model, volumes, "critic") == pytest.approx(
        {
            "critic_real": 2 * entropy(of_real, True),
            "critic_samples": entropy(of_drawn, False),
            "critic_reconstructions": entropy(of_rebuilt, False),
        },
        rel=1e-4,
    )
    assert terms_of(model, volumes, "code_critic") == pytest.approx(
        {
            "code_critic_random": entropy(of_random, True),
            "code_critic_encoded": entropy(of_codes, False),
        },
        rel=1e-4,
    )


def test_length_of_a_gradient_at_each_voxel():
    """A critic that sums doubled voxels has the gradient 2 at each, of one channel."""
    one, other = torch.rand(2, 3, 1, 4, 4, 4)

    def critic(points):
        return 2 * points.flatten(1).sum(1, keepdim=True)

    penalty = gradient_penalty(critic, one, other, generators(3), norm="voxel")
    assert penalty.item() == pytest.approx((2 - 1) ** 2)
    penalty = gradient_penalty(critic, one, other, generators(3))
    assert penalty.item() == pytest.approx((2 * math.sqrt(64) - 1) ** 2, rel=1e-5)


def test_the_critic_of_wgan_gp_learns_in_every_fifth_step():
    model = build("wgan_gp", THIN, SHAPE)
    steps = [Progress(step, 0.0, 1.0) for step in range(11)]
    assert all(model.acts("generator", step) for step in steps)
    assert [step.step for step in steps if model.acts("critic", step)] == [0, 5, 10]
    text = build("wgan_gp", {**THIN, "generator_every": 5, "critic_every": 1}, SHAPE)
    assert [step.step for step in steps if text.acts("generator", step)] == [0, 5, 10]


def test_wgan_gp_reconstructs_nothing(volumes):
    with pytest.raises(ConfigError, match="no encoder"):
        build("wgan_gp", THIN, SHAPE).reconstruct(volumes)


@pytest.mark.parametrize("architecture", ["vae_gan", "alpha_gan"])
def test_one_volume_cannot_be_normalised_by_its_batch(architecture, volumes):
    model = build(architecture, MODELS[architecture], SHAPE)
    with pytest.raises(ConfigError, match="batch_size"):
        model.losses(volumes[:1], progress=START, generators=generators(1))


@pytest.mark.parametrize("architecture", MODELS)
def test_a_generator_may_start_from_the_mean(architecture, volumes):
    mean = volumes.mean(0).numpy()
    options = {**MODELS[architecture], "generator_start": "training_mean"}
    model = build(architecture, options, SHAPE, mean)
    assert model.options.starts_from_mean
    with torch.no_grad():
        np.testing.assert_allclose(model.sample(generators(2))[1].numpy(), mean, atol=0.01)
    with pytest.raises(ConfigError, match="mean image"):
        build(architecture, options, SHAPE, np.zeros((3, 3, 3), np.float32))


@pytest.mark.parametrize("architecture", MODELS)
def test_a_small_grid_is_refused(architecture):
    edge = 32 if architecture == "wgan_gp" else 16
    with pytest.raises(ConfigError, match=f"{edge} voxels"):
        build(architecture, MODELS[architecture], (edge - 1, 40, 40))


# P2's grids: more layers in front of those of 64 voxels an edge
WIDTHS = {
    64: (64, 128, 256, 512),
    128: (32, 64, 128, 256, 512),
    256: (16, 32, 64, 128, 256, 512),
}


@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("architecture", MODELS)
def test_shapes_at_the_papers_sizes(architecture, size):
    shape = (size,) * 3
    with torch.device("meta"):
        model = build(architecture, {"channels": WIDTHS[size]}, shape).eval()
    assert model.sample(generators(1)).shape == (1, *shape)
    volumes = torch.empty(1, *shape, device="meta")
    # the released critic puts out 2x2x2 scores for 64 voxels an edge
    scores = 8 if architecture == "wgan_gp" else 1
    assert model.critic(volumes[:, None]).shape == (1, scores)
    if architecture != "wgan_gp":
        assert model.reconstruct(volumes).shape == (1, *shape)


@pytest.mark.parametrize("architecture", ["wgan_gp", "vae_gan", "alpha_gan"])
def test_one_step_at_the_papers_size(architecture):
    """All phases on two volumes of 64x64x64, with the options of the released code."""
    shape = (64, 64, 64)
    model = build(architecture, {}, shape)
    volumes = torch.rand(2, *shape, generator=torch.Generator().manual_seed(2))
    for phase in model.phases:
        own = list(model.trained_in(phase))
        for weights in model.parameters():
            weights.requires_grad_(False)
        for weights in own:
            weights.requires_grad_(True)
        terms = model.losses(volumes, phase=phase, progress=START, generators=generators(2))
        assert all(torch.isfinite(term) for term in terms.values())
        sum(terms.values()).backward()
        assert all(torch.isfinite(weights.grad).all() for weights in own)
        before = [weights.detach().clone() for weights in own[:3]]
        torch.optim.Adam(own, lr=2e-4).step()
        assert not any(map(torch.equal, before, own))
        model.zero_grad(set_to_none=True)
