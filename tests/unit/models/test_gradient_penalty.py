"""The gradient penalty of the adversarial models, on critics whose gradient is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genmorph.models import build
from genmorph.models.adversarial import gradient_penalty

N = 5


def generators():
    return [torch.Generator().manual_seed(number) for number in range(N)]


def points_between(one, other):
    """Where the penalty is taken: a random share of the way, from each pair's own generator."""
    shares = torch.stack([torch.rand(1, generator=generator) for generator in generators()])
    shares = shares.view(-1, *[1] * (one.dim() - 1)).to(one)
    return shares * one + (1 - shares) * other


def pairs(*shape, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(2, N, *shape, generator=stream, dtype=torch.float64)


def quadratic(form, shift):
    """f(x) = ½ xᵀ A x + bᵀ x, whose gradient is ½ (A + Aᵀ) x + b."""

    def critic(points):
        flat = points.flatten(1)
        return (0.5 * (flat @ form) * flat).sum(1, keepdim=True) + flat @ shift[:, None]

    return critic


@pytest.fixture
def form():
    return torch.randn(24, 24, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


@pytest.fixture
def shift():
    return torch.randn(24, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def test_penalty_of_a_quadratic_critic_is_known(form, shift):
    one, other = pairs(3, 2, 2, 2)
    points = points_between(one, other)
    gradients = 0.5 * points.flatten(1) @ (form + form.T) + shift
    whole = (gradients.norm(dim=1) - 1).square().mean()
    found = gradient_penalty(quadratic(form, shift), one, other, generators())
    torch.testing.assert_close(found, whole)
    each = (gradients.view_as(points).norm(dim=1) - 1).square().mean()
    found = gradient_penalty(quadratic(form, shift), one, other, generators(), norm="voxel")
    torch.testing.assert_close(found, each)
    assert abs(float(whole - each)) > 0.1


def test_a_critic_may_learn_from_its_penalty(form, shift):
    """The penalty's own gradient, with respect to the critic's weights, against differences."""
    one, other = pairs(3, 2, 2, 2)

    def penalty(weights, bias):
        return gradient_penalty(quadratic(weights, bias), one, other, generators())

    weights, bias = (part.clone().requires_grad_(True) for part in (form, shift))
    assert torch.autograd.gradcheck(penalty, (weights, bias))


def test_nothing_but_the_critic_learns_from_it(form, shift):
    one, other = (side.requires_grad_(True) for side in pairs(24))
    weights = form.clone().requires_grad_(True)
    gradient_penalty(quadratic(weights, shift), one, other, generators()).backward()
    assert weights.grad is not None and one.grad is None and other.grad is None


def test_penalty_of_a_networks_critic_is_that_of_its_jacobian():
    model = build("wgan_gp", {"channels": (2, 3, 4), "latent_size": 4}, (16, 16, 16), seed=1)
    critic = model.critic.double().eval()
    one, other = pairs(1, 16, 16, 16)
    points = points_between(one, other)
    rows = torch.autograd.functional.jacobian(lambda x: critic(x).sum(), points)
    lengths = rows.flatten(1).norm(dim=1).numpy()
    found = gradient_penalty(critic, one, other, generators()).item()
    assert found == pytest.approx(np.mean((lengths - 1) ** 2), rel=1e-10)
    # along its gradient a score rises by the gradient's length
    step = 1e-5 * rows / rows.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
    with torch.no_grad():
        rise = (critic(points + step) - critic(points - step)).sum(1).numpy() / 2e-5
    np.testing.assert_allclose(rise, lengths, rtol=1e-3)
