"""αWGAN: losses by hand, who learns in which phase, and a step at the paper's size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genmorph.errors import ConfigError
from genmorph.models import build
from genmorph.models.adversarial import convolved_sizes, gradient_penalty
from genmorph.models.interface import Progress

THIN = {"channels": (2, 3, 4, 5), "latent_size": 6, "code_channels": 7}
SHAPE = (20, 24, 17)
START = Progress(0, 0.0, 30.0)


def generators(n):
    return [torch.Generator().manual_seed(number) for number in range(n)]


@pytest.fixture
def volumes():
    return torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("shape", "coarsest"),
    [((64, 64, 64), (4, 4, 4)), ((80, 96, 80), (5, 6, 5)), ((40, 48, 40), (2, 3, 2))],
)
def test_grids_are_halved_four_times(shape, coarsest):
    assert convolved_sizes(shape, 4)[-1] == coarsest
    model = build("alpha_wgan", THIN, shape)
    assert model.encode(torch.zeros(2, *shape)).shape == (2, 6)
    assert model.sample(generators(2)).shape == (2, *shape)


def test_terms_of_the_phases_by_hand(volumes):
    model = build("alpha_wgan", THIN, SHAPE).eval()

    def terms(phase):
        found = model.losses(volumes, phase=phase, progress=START, generators=generators(2))
        return {name: value.item() for name, value in found.items()}

    with torch.no_grad():
        random_codes = torch.stack([torch.randn(6, generator=one) for one in generators(2)])
        codes = model.encode(volumes)
        drawn, rebuilt = 2 * model.decode(random_codes) - 1, 2 * model.decode(codes) - 1
        drawn_score = float(model.critic(drawn[:, None]).mean())
        rebuilt_score = float(model.critic(rebuilt[:, None]).mean())
        real_score = float(model.critic(2 * volumes[:, None] - 1).mean())
        code_score = float(model.code_critic(codes).mean())
        random_score = float(model.code_critic(random_codes).mean())
    found = terms("autoencoder")
    assert found == pytest.approx(
        {
            "reconstruction": 10 * float((2 * volumes - 1 - rebuilt).abs().mean()),
            "adversarial_codes": -code_score,
            "adversarial_samples": -drawn_score,
            "adversarial_reconstructions": -rebuilt_score,
        },
        rel=1e-5,
        abs=1e-6,
    )
    found = terms("critic")
    assert found["critic_real"] == pytest.approx(-2 * real_score, rel=1e-5)
    assert found["critic_samples"] == pytest.approx(drawn_score, rel=1e-5, abs=1e-6)
    assert found["critic_reconstructions"] == pytest.approx(rebuilt_score, rel=1e-5, abs=1e-6)
    assert found["critic_penalty_samples"] > 0 and found["critic_penalty_reconstructions"] > 0
    found = terms("code_critic")
    assert found["code_critic_random"] == pytest.approx(-random_score, rel=1e-5)
    assert found["code_critic_encoded"] == pytest.approx(code_score, rel=1e-5)
    assert found["code_critic_penalty"] > 0


def test_penalty_of_a_linear_critic_is_known():
    """The gradient of a linear critic is its weights, wherever it is taken."""
    weights = torch.tensor([3.0, 4.0])
    one, other = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(0))
    penalty = gradient_penalty(lambda points: points @ weights[:, None], one, other, generators(5))
    assert penalty.item() == pytest.approx((5 - 1) ** 2, rel=1e-5)


def test_penalty_is_taken_between_the_two():
    """x²/2 has the gradient x, whose length at points on the way from 1 to 3 lies between."""
    one, other = torch.ones(200, 1), torch.full((200, 1), 3.0)
    penalty = gradient_penalty(lambda x: x.square() / 2, one, other, generators(200))
    assert penalty.item() == pytest.approx(4 / 3, rel=0.2)  # mean of (x - 1)² over [1, 3]


def test_a_phase_trains_its_own_part_alone(volumes):
    model = build("alpha_wgan", THIN, SHAPE)
    seen = set()
    for phase in model.phases:
        own = set(model.trained_in(phase))
        assert not seen & own
        seen |= own
        losses = model.losses(volumes, phase=phase, progress=START, generators=generators(2))
        gradients = torch.autograd.grad(sum(losses.values()), list(own), allow_unused=True)
        assert all(
            gradient is not None and torch.isfinite(gradient).all() for gradient in gradients
        )
        if phase != "autoencoder":
            others = [weights for weights in model.parameters() if weights not in own]
            losses = model.losses(volumes, phase=phase, progress=START, generators=generators(2))
            strays = torch.autograd.grad(sum(losses.values()), others, allow_unused=True)
            assert all(stray is None for stray in strays)
    assert seen == set(model.parameters())


def test_a_generator_that_starts_from_the_mean_puts_it_out(volumes):
    mean = volumes.mean(0).numpy()
    model = build("alpha_wgan", {**THIN, "generator_start": "training_mean"}, SHAPE, mean)
    with torch.no_grad():
        np.testing.assert_allclose(model.sample(generators(2))[1].numpy(), mean, atol=0.01)


def test_one_volume_cannot_be_normalised_by_its_batch(volumes):
    model = build("alpha_wgan", THIN, SHAPE)
    with pytest.raises(ConfigError, match="batch_size"):
        model.losses(volumes[:1], progress=START, generators=generators(1))
    free = THIN | dict.fromkeys(
        ("normalisation", "critic_normalisation", "code_normalisation"), "none"
    )
    model = build("alpha_wgan", free, SHAPE)
    model.losses(volumes[:1], progress=START, generators=generators(1))


def test_a_small_grid_is_refused():
    with pytest.raises(ConfigError, match="16 voxels"):
        build("alpha_wgan", THIN, (15, 40, 40))


def paper_parameter_count():
    """By hand: bias in the first and last layers alone, two numbers a normalised channel."""
    volume = 64 * 1 * 64 + 64  # edge 4, first layer with bias
    volume += sum(64 * a * b + 2 * b for a, b in [(64, 128), (128, 256), (256, 512)])
    rest = 512 * 5 * 6 * 5
    generator = 1000 * rest + 2 * (512 + 256 + 128 + 64)
    generator += 27 * (512 * 256 + 256 * 128 + 128 * 64 + 64) + 1
    code = 1000 * 4096 + 4096 + 4096 * 4096 + 4096 + 4 * 4096 + 4096 + 1
    return (volume + rest * 1000) + (volume + rest) + generator + code


def test_one_step_at_the_papers_size():
    """All three phases on two volumes of 80x96x80, with the options of the released code."""
    shape = (80, 96, 80)
    model = build("alpha_wgan", {}, shape)
    assert sum(weights.numel() for weights in model.parameters()) == paper_parameter_count()
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
        torch.optim.Adam(own[:3], lr=2e-4).step()
        assert not any(map(torch.equal, before, own))
        model.zero_grad(set_to_none=True)
