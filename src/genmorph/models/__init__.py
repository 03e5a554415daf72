"""Models by name. Importing this room imports no torch: a model's module is loaded when built.

A new model is one file beside the others, its options in `options/`, and one entry below.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from genmorph.errors import ConfigError, did_you_mean
from genmorph.validation import Options, validate

if TYPE_CHECKING:
    import numpy as np

    from genmorph.models.interface import GenerativeModel


class Architecture(NamedTuple):
    """Where a model and its options are defined."""

    module: str
    model: str
    options: str


ARCHITECTURES: dict[str, Architecture] = {
    "m3ae": Architecture("genmorph.models.m3ae", "M3AE", "M3AEOptions"),
    "beta_vae": Architecture("genmorph.models.beta_vae", "BetaVAE", "BetaVAEOptions"),
    "alpha_wgan": Architecture("genmorph.models.alpha_wgan", "AlphaWGAN", "AlphaWGANOptions"),
    "alpha_gan": Architecture("genmorph.models.alpha_gan", "AlphaGAN", "AlphaGANOptions"),
    "slice_vae": Architecture("genmorph.models.slice_vae", "SliceVAE", "SliceVAEOptions"),
    "vae3d": Architecture("genmorph.models.vae3d", "VAE3D", "VAE3DOptions"),
    "vae_gan": Architecture("genmorph.models.vae_gan", "VAEGAN", "VAEGANOptions"),
    "wgan_gp": Architecture("genmorph.models.wgan_gp", "WGANGP", "WGANGPOptions"),
}


def _find(architecture: str) -> Architecture:
    if architecture not in ARCHITECTURES:
        hint = did_you_mean(architecture, ARCHITECTURES)
        raise ConfigError(f"architecture: no model '{architecture}'; {hint}")
    return ARCHITECTURES[architecture]


def options_class(architecture: str) -> type[Options]:
    """Class of a model's options.

    Raises
    ------
    ConfigError
        When no model has that name.
    """
    entry = _find(architecture)
    # by name: the code of one model does not count the options of the others
    own = entry.module.replace("genmorph.models.", "genmorph.models.options.")
    return getattr(importlib.import_module(own), entry.options)


def module_of(architecture: str) -> str:
    """Dotted name of the module that defines a model.

    Raises
    ------
    ConfigError
        When no model has that name.
    """
    return _find(architecture).module


def build(
    architecture: str,
    options: Options | Mapping[str, Any],
    shape: Sequence[int],
    start: np.ndarray | None = None,
    seed: int = 0,
) -> GenerativeModel:
    """Make a model with fresh weights.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    options : Options or mapping
        The model's options; a mapping is typed first.
    shape : sequence of int
        Grid `[x, y, z]` of a volume.
    start : ndarray, optional
        Volume `[x, y, z]` a model starts from: the mean image of the training scans when its
        options say `starts_from_mean`, else the template. None leaves a place for weights to come.
    seed : int
        Decides the first weights. Torch's own generator is left as it was.

    Raises
    ------
    ConfigError
        When the name, an option or the grid cannot be used.
    """
    entry = _find(architecture)
    if not isinstance(options, Options):
        options = validate(options_class(architecture), options, f"options of {architecture}")

    import torch

    from genmorph.seeds import derive_seed

    model_class = getattr(importlib.import_module(entry.module), entry.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return model_class(options, tuple(int(size) for size in shape), start)
