"""Autoencoders that describe differences from the training mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genmorph.errors import ConfigError
from genmorph.models import build

SHAPE = (16, 12, 16)
MEAN = np.random.default_rng(0).uniform(0.2, 0.8, SHAPE).astype(np.float32)
OPTIONS = {
    "slice_vae": {"latent_channels": 8},
    "vae3d": {"halvings": 1, "latent_size": 4, "width": 4},
}


def model(name, start=MEAN, **options):
    return build(name, OPTIONS[name] | options, SHAPE, start, 0).eval()


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_decoded_is_added_to_the_mean(name):
    plain, around = model(name), model(name, describes="differences_from_mean")
    around.load_state_dict(plain.state_dict(), strict=False)
    volumes = torch.from_numpy(np.stack([MEAN + 0.1, MEAN * 0.5]))
    with torch.inference_mode():
        whole = around.reconstruct(volumes)
        difference = plain.reconstruct(volumes - torch.from_numpy(MEAN))
    assert torch.allclose(whole, difference + torch.from_numpy(MEAN), atol=1e-5)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_mean_is_part_of_the_weights_only_where_it_is_used(name):
    assert "around.mean" not in model(name).state_dict()
    kept = model(name, describes="differences_from_mean").state_dict()["around.mean"]
    assert torch.equal(kept, torch.from_numpy(MEAN))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_mean_of_another_grid_is_refused(name):
    with pytest.raises(ConfigError, match="mean image"):
        model(name, MEAN[:8], describes="differences_from_mean")


def test_the_loss_compares_differences():
    around = model("slice_vae", describes="differences_from_mean")
    generators = [torch.Generator().manual_seed(1)]
    volume = torch.from_numpy(MEAN)[None]
    terms = around.losses(volume, progress=None, generators=generators)
    plain = model("slice_vae")
    plain.load_state_dict(around.state_dict(), strict=False)
    generators = [torch.Generator().manual_seed(1)]
    of_zero = plain.losses(torch.zeros_like(volume), progress=None, generators=generators)
    for term in terms:
        assert torch.allclose(terms[term], of_zero[term], rtol=1e-4)
