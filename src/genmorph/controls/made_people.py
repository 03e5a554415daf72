"""Brains with known labels, made in a blink: true tissue fractions, deformed, with noise.

Each person has tissues of its own (cortical thickness, ventricles, patches, lesions) by the
simulator, and a shape of its own by a smooth random deformation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from genmorph.cohorts.simulate.person import BIDS_POPULATION
from genmorph.cohorts.simulate.tissue import scatter
from genmorph.cohorts.simulate.truth_maps import template_space, true_maps
from genmorph.controls.cohorts import people
from genmorph.controls.deformations import deform_labels, deform_volume, random_displacement
from genmorph.seeds import derive_seed

SIGNAL = {"gray": 0.7, "white": 1.0, "csf": 0.25}
STRUCTURES = {1: "gray matter", 2: "white matter", 3: "CSF", 4: "ventricles"}
SHAPE_MM = 4.0  # rms of a person's own deformation
NOISE = 0.02


class Brain(NamedTuple):
    """A brain and its labels.

    Attributes
    ----------
    volume : ndarray `[x, y, z]`, float32, in [0, 1]
    labels : ndarray `[x, y, z]`, uint8
        `STRUCTURES`; 0 outside.
    """

    volume: np.ndarray
    labels: np.ndarray


def made_people(n: int, seed: int, voxel_mm: float) -> dict[str, Brain]:
    """Brains of `n` people by id (`sub-s0p001`); two seeds give different people."""
    space = template_space(float(voxel_mm))
    made = {}
    for number, visit in enumerate(people(n, seed, BIDS_POPULATION)):
        tissues = true_maps(space, visit, seed).tissues
        fractions = {name: scatter(getattr(tissues, name), tissues.brain) for name in SIGNAL}
        ventricles = scatter(tissues.ventricles, tissues.brain)
        own = derive_seed(seed, "controls", "shape", number)
        move = random_displacement(tissues.brain, voxel_mm, SHAPE_MM, own)
        signal = sum(SIGNAL[name] * fraction for name, fraction in fractions.items())
        noise = NOISE * np.random.default_rng(own).standard_normal(signal.shape)
        moved = deform_volume(signal, move, voxel_mm)
        volume = np.where(moved > 0, np.clip(moved + noise, 0, 1), 0).astype(np.float32)
        hard = 1 + np.argmax(np.stack(list(fractions.values())), axis=0)
        hard[ventricles > 0.5] = 4
        hard[~tissues.brain] = 0
        labels = deform_labels(hard.astype(np.uint8), move, voxel_mm)
        made[f"sub-s{seed}p{number:03d}"] = Brain(volume, labels)
    return made
