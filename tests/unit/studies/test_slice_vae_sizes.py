"""The entries of P2's study at scale paper: shapes of each model at its size, without numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genmorph.config import Config
from genmorph.models import build
from genmorph.studies import resolve_study

CONFIG = Config(scale="paper", studies={"slice_vae": {"cohort": "simulated"}})
ROOM = resolve_study("slice_vae", CONFIG)
WITHOUT_ENCODER = "wgan_gp"


def built(name):
    entry = ROOM.models[name]
    with torch.device("meta"):
        model = build(entry["architecture"], entry["options"], ROOM.grid_of(name))
    return model.eval()


@pytest.mark.parametrize("name", ROOM.models)
def test_volumes_of_the_papers_size_go_in_and_come_out(name):
    size = int(name.rpartition("-")[2])
    model = built(name)
    assert model.shape == (size,) * 3
    volumes = torch.empty(1, size, size, size, device="meta")
    with torch.no_grad():
        if model.architecture != WITHOUT_ENCODER:
            assert model.reconstruct(volumes).shape == volumes.shape
        if model.architecture == "slice_vae":
            assert model.code_shape == (256, 2, 2)
            assert model.gaussian.axes.shape == (1024, size, size)
            stack = torch.empty(1, 1024, size, device="meta")
            assert [part.shape for part in model.posterior(volumes)] == [stack.shape] * 2
            assert model.decode(stack).shape == volumes.shape
        else:
            assert model.sample([torch.Generator()]).shape == volumes.shape


def test_sizes_are_those_of_table_1():
    sizes = {}
    for name in ROOM.models:
        architecture, _, size = name.rpartition("-")
        sizes.setdefault(architecture, set()).add(int(size))
    assert sizes.pop("slice_vae") == sizes.pop("alpha_wgan") == {64, 128, 256}
    assert sizes.pop("vae3d") == {64, 128}
    assert sizes == {name: {64} for name in ("wgan_gp", "vae_gan", "alpha_gan")}


def test_the_3d_vae_takes_a_volume_that_the_paper_has_no_network_for():
    """ "Did not converge" at 256 and is not printed; one halving more is what 128 has to 64."""
    options = {"latent_size": 1024, "halvings": 6, "last_reversible": False}
    with torch.device("meta"):
        model = build("vae3d", options, (256,) * 3).eval()
    with torch.no_grad():
        volumes = torch.empty(1, 256, 256, 256, device="meta")
        assert model.reconstruct(volumes).shape == volumes.shape


def kinds(part):
    return {type(layer) for layer in part.modules()}


@pytest.mark.parametrize("name", ["alpha_wgan-64", "alpha_wgan-128", "alpha_wgan-256"])
def test_batch_normalisation_gives_way_at_256(name):
    """Printed under α-GAN, which has no row at 256; one volume makes no batch."""
    model = built(name)
    found = kinds(model)
    if name == "alpha_wgan-256":
        assert nn.InstanceNorm3d in found
        assert not found & {nn.BatchNorm1d, nn.BatchNorm3d}
        assert nn.InstanceNorm3d in kinds(model.critic)
    else:
        assert nn.BatchNorm3d in found and nn.BatchNorm1d in kinds(model.code_critic)
        assert nn.InstanceNorm3d not in found
