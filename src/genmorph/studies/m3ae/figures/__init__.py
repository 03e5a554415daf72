"""P1's figures: scans, samples, reconstructions, and what the model has learnt.

The paper shows preprocessed scans and samples of three models (supplement, figures 2 to 5). Its
drawings of the architecture (figures 1 and 6) are schematic and are not made here. Functions that
draw take arrays; those in `FIGURES` read files and call them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genmorph.studies.m3ae.figures.cascade import transforms
from genmorph.studies.m3ae.figures.common import Files, Values
from genmorph.studies.m3ae.figures.latents import interpolation, traversals
from genmorph.studies.m3ae.figures.scans import preprocessed, reconstructions, samples
from genmorph.studies.m3ae.figures.training import training_curves

FIGURES: dict[str, Callable[[Files, Values, Path], None]] = {
    "preprocessed": preprocessed,
    "samples_alpha_wgan": samples,
    "samples_beta_vae": samples,
    "samples_m3ae": samples,
    "reconstructions": reconstructions,
    "transforms": transforms,
    "training_curves": training_curves,
    "traversals": traversals,
    "interpolation": interpolation,
}
