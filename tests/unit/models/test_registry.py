"""Models by name, without loading torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from genmorph.errors import ConfigError
from genmorph.models import ARCHITECTURES, build, module_of, options_class
from genmorph.models.options.m3ae import M3AEOptions
from genmorph.training.options import TrainingOptions


def test_names_and_options_come_without_torch():
    code = """
import sys
import genmorph.models, genmorph.training.options, genmorph.training.checkpoints, genmorph.sampling
genmorph.models.options_class("m3ae")()
genmorph.training.options.TrainingOptions()
assert genmorph.models.module_of("m3ae") == "genmorph.models.m3ae"
heavy = {"torch", "safetensors", "lightning_fabric", "zarr"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_answered_with_the_nearest():
    for ask in (options_class, module_of):
        with pytest.raises(ConfigError, match="did you mean 'm3ae'"):
            ask("m3a")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_options_of_models_and_of_training_have_different_names(architecture):
    shared = set(options_class(architecture).model_fields) & set(TrainingOptions.model_fields)
    assert not shared


def test_the_paper_stands_in_the_defaults():
    options = M3AEOptions()
    assert options.latent_size == 512
    assert options.channels == (16, 32, 64, 128)
    assert options.beta == 6.0
    assert options.intermediate_weights == (0.25, 0.25, 0.5)
    assert options.intensity_weights == (0.6, 1.2, 1.2, 2.4)
    for weights in (
        options.smoothness_weights,
        options.divergence_weights,
        options.magnitude_weights,
    ):
        assert weights == (0.6, 1.2, 1.2)


def test_the_preset_gives_beta_unless_it_is_given():
    assert M3AEOptions(preset="text").beta == 3.0
    assert M3AEOptions(preset="text", beta=4.0).beta == 4.0
    again = M3AEOptions.model_validate(M3AEOptions(preset="text").model_dump(mode="json"))
    assert again.beta == 3.0


def test_beta_rises_over_ten_epochs_of_a_long_run():
    options = M3AEOptions()
    assert [options.beta_at(epoch, 30) for epoch in (0, 0.9, 1, 5.5, 10, 29)] == pytest.approx(
        [0, 0, 0.6, 3.0, 6, 6]
    )
    by_step = M3AEOptions(beta_warmup_unit="step")
    assert by_step.beta_at(5.5, 30) == pytest.approx(3.3)


def test_beta_rises_faster_in_a_short_run():
    options = M3AEOptions(beta_warmup_fraction=0.5)
    assert [options.beta_at(epoch, 6) for epoch in (0, 1, 2, 3, 5)] == pytest.approx(
        [0, 2, 4, 6, 6]
    )
    assert M3AEOptions(beta_warmup_fraction=0).beta_at(0, 6) == 6


def test_same_seed_same_weights_and_torch_is_left_alone():
    import torch

    def weights(seed):
        model = build("m3ae", {"channels": (2, 2, 2, 2), "latent_size": 4}, (20, 24, 20), seed=seed)
        return torch.nn.utils.parameters_to_vector(model.parameters())

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.rand(3), expected)


def test_a_wrong_option_is_named():
    with pytest.raises(ConfigError, match="did you mean 'latent_size'"):
        build("m3ae", {"latent_sizes": 4}, (20, 24, 20))
