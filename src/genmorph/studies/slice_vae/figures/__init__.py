"""P2's figures: samples, their segmentations, and the realistic atlas score.

The paper's Figure 2 shows samples of each model and size, Figure 3 their segmentations beside a
real scan's, Figure 4 the score of each structure and size beside that of real scans with real
scans. Functions that draw take arrays; those in `FIGURES` read files and call them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from genmorph.studies.slice_vae.figures.atlas_scores import atlas_scores
from genmorph.studies.slice_vae.figures.common import Files, Values
from genmorph.studies.slice_vae.figures.latents import interpolation
from genmorph.studies.slice_vae.figures.samples import samples
from genmorph.studies.slice_vae.figures.segmentations import segmentations

FIGURES: dict[str, Callable[[Files, Values, Path], None]] = {
    "samples": samples,
    "segmentations": segmentations,
    "atlas_scores": atlas_scores,
    "interpolation": interpolation,
}
