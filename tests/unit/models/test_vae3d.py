"""The 3D VAE: reversible layers keep less and give the same gradients; a step at P2's size."""

from __future__ import annotations

import copy

import pytest
import torch

from genmorph.errors import ConfigError
from genmorph.models import build
from genmorph.models.blocks import kl_divergence
from genmorph.models.interface import Progress
from genmorph.models.options.vae3d import VAE3DOptions
from genmorph.models.vae3d import ReversibleLayer

THIN = {"width": 4, "latent_size": 6, "halvings": 2}
SHAPE = (12, 8, 9)
START = Progress(0, 0.0, 1.0)


def generators(n):
    return [torch.Generator().manual_seed(number) for number in range(n)]


@pytest.fixture
def volumes():
    return torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))


def layer(memory, width=8, seed=0):
    torch.manual_seed(seed)
    return ReversibleLayer(VAE3DOptions(width=width, memory=memory))


@pytest.mark.parametrize("training", [True, False])
def test_the_inverse_gives_the_input_back(training):
    one = layer("recompute").train(training)
    features = torch.randn(2, 8, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        made = one(features)
    assert (made - features).abs().max() > 0.1
    torch.testing.assert_close(one.inverse(made), features, rtol=0, atol=1e-5)


def test_gradients_and_running_statistics_are_those_of_kept_activations():
    features = torch.randn(2, 8, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(2, 8, 6, 5, 4, generator=torch.Generator().manual_seed(2))
    found = {}
    for memory in ("recompute", "store"):
        one, own = layer(memory), features.clone().requires_grad_(True)
        (one(own) * weights).sum().backward()
        found[memory] = [own.grad, *(weight.grad for weight in one.parameters())]
        found[memory] += [buffer.float() for buffer in one.buffers()]
    assert len(found["store"]) > 20
    for recomputed, stored in zip(*found.values(), strict=True):
        torch.testing.assert_close(recomputed, stored, rtol=1e-3, atol=1e-4)


def kept_bytes(compute, parts):
    """Bytes of activations kept for the way back, each storage once."""
    weights = {weight.untyped_storage().data_ptr() for weight in parts.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # alive: no address twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        compute()
    return sum(size for size, _ in kept.values())


def test_reversible_layers_keep_their_output_alone():
    features = torch.randn(1, 8, 12, 12, 12)
    kept = {}
    for memory in ("recompute", "store"):
        layers = torch.nn.Sequential(*(layer(memory) for _ in range(4)))
        kept[memory] = kept_bytes(lambda layers=layers: layers(features), layers)
    assert kept["recompute"] == 4 * features.nbytes
    assert kept["store"] > 5 * kept["recompute"]


def test_a_step_of_the_model_keeps_less(volumes):
    few, many = (
        kept_bytes(
            lambda model=model: model.losses(volumes, progress=START, generators=generators(2)),
            model,
        )
        for model in (
            build("vae3d", {**THIN, "memory": memory}, SHAPE) for memory in ("recompute", "store")
        )
    )
    assert few < 0.8 * many


def test_a_phase_of_frozen_weights_still_goes_through():
    one = layer("recompute")
    for weight in one.first.parameters():
        weight.requires_grad_(False)
    one(torch.randn(2, 8, 4, 4, 4)).square().sum().backward()
    assert all(weight.grad is None for weight in one.first.parameters())
    assert all(weight.grad is not None for weight in one.second.parameters())


def test_terms_of_the_loss_by_hand(volumes):
    model = build("vae3d", {**THIN, "kl_weight": 2.0}, SHAPE).eval()
    with torch.no_grad():
        terms = model.losses(volumes, progress=START, generators=generators(2))
        mean, log_variance = model.encode(volumes)
        noise = torch.stack([torch.randn(6, generator=one) for one in generators(2)])
        made = model.decode(mean + noise * log_variance.exp().sqrt())
    torch.testing.assert_close(terms["reconstruction"], (volumes - made).square().sum() / 2)
    torch.testing.assert_close(terms["kl"], 2 * kl_divergence(mean, log_variance).mean())
    assert model.sample(generators(2)).shape == model.reconstruct(volumes).shape == (2, *SHAPE)


def test_steps_lower_the_loss_alike_with_and_without_recomputing(volumes):
    losses = {}
    start = build("vae3d", THIN, SHAPE, seed=1)
    for memory in ("recompute", "store"):
        model = copy.deepcopy(start)
        for part in model.modules():
            if isinstance(part, ReversibleLayer):
                part.recomputes = memory == "recompute"
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses[memory] = []
        for _ in range(8):
            loss = sum(model.losses(volumes, progress=START, generators=generators(2)).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[memory].append(loss.item())
    assert losses["recompute"][-1] < 0.9 * losses["recompute"][0]
    assert losses["recompute"] == pytest.approx(losses["store"], rel=1e-2)


def test_a_small_grid_is_refused():
    with pytest.raises(ConfigError, match="32 voxels"):
        build("vae3d", {}, (31, 40, 40))


def paper_parameter_count(halvings, latent, last):
    """By hand: convolutions without bias in front of normalisation; two functions a layer."""
    reversible = 2 * 3 * (27 * 8 * 8 + 2 * 8)
    code = 16 * 4**3
    layers = halvings - 1 + last
    encoder = 27 * 16 + 2 * 16 + layers * reversible + 2 * (code * latent + latent)
    decoder = latent * code + code + layers * reversible
    return encoder + decoder + 27 * 16 * 16 + 2 * 16 + 27 * 16 + 1


PAPER = {
    64: {},
    128: {"latent_size": 1024, "halvings": 5, "last_reversible": False},
}


@pytest.mark.parametrize("size", PAPER)
def test_parameters_at_the_papers_sizes(size):
    with torch.device("meta"):
        model = build("vae3d", PAPER[size], (size,) * 3)
    options = model.options
    assert sum(weights.numel() for weights in model.parameters()) == paper_parameter_count(
        options.halvings, options.latent_size, options.last_reversible
    )
    with torch.no_grad():
        made = model.eval().decode(torch.empty(1, options.latent_size, device="meta"))
    assert made.shape == (1, size, size, size)


def test_one_step_at_the_papers_size():
    shape = (64, 64, 64)
    model = build("vae3d", {}, shape)
    volumes = torch.rand(1, *shape, generator=torch.Generator().manual_seed(2))
    terms = model.losses(volumes, progress=START, generators=generators(1))
    assert all(torch.isfinite(term) and term > 0 for term in terms.values())
    sum(terms.values()).backward()
    for name, weights in model.named_parameters():
        assert torch.isfinite(weights.grad).all() and weights.grad.abs().max() > 0, name
    before = [weights.detach().clone() for weights in model.parameters()]
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    assert not any(map(torch.equal, before, model.parameters()))
