"""Heads with known truth, made from label maps that no engine and no prior has seen.

A label map of a whole head becomes a T1-weighted scan: tissues take the signal they have at 1.5 T
(bone and air dark, fat and marrow bright, muscle in between), edges get partial volume, a smooth
bias field multiplies them and Rician noise covers them. What goes in is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import (
    affine_transform,
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
)

from genmorph.preprocessing.raw import Image

# Numbers of the brain are FreeSurfer's; those from 500 on were identified by where they lie.
CEREBRAL_WHITE, CEREBELLAR_WHITE = (2, 41), (7, 46)
CORTEX, CEREBELLAR_CORTEX = (3, 42), (8, 47)
CAUDATE_PUTAMEN_ACCUMBENS = (11, 12, 26, 50, 51, 58)
THALAMUS, PALLIDUM = (10, 49), (13, 52)
HIPPOCAMPUS_AMYGDALA = (17, 18, 53, 54)
VENTRICLES = (4, 5, 14, 15, 43, 44, 72)
BRAINSTEM, VENTRAL_DIENCEPHALON = (16,), (28, 60)
LESIONS = (25, 57)
FLUID_OUTSIDE = 24
SOFT_TISSUE, SKIN, BONE, MARROW = 507, 511, 515, 516

DEEP_GRAY = (*CAUDATE_PUTAMEN_ACCUMBENS, *THALAMUS, *PALLIDUM, *HIPPOCAMPUS_AMYGDALA)
GRAY = (*CORTEX, *CEREBELLAR_CORTEX, *DEEP_GRAY)
WHITE = (*CEREBRAL_WHITE, *CEREBELLAR_WHITE, *BRAINSTEM, *VENTRAL_DIENCEPHALON, *LESIONS)

FAT_DEPTH_MM = 4.0  # fat lies below the skin, muscle deeper
FAT, MUSCLE = 1.15, 0.48
# signal relative to white matter
SIGNAL: dict[tuple[int, ...], float] = {
    CEREBRAL_WHITE: 1.0,
    CEREBELLAR_WHITE: 0.97,
    BRAINSTEM: 0.92,
    VENTRAL_DIENCEPHALON: 0.90,
    CORTEX: 0.68,
    CEREBELLAR_CORTEX: 0.66,
    CAUDATE_PUTAMEN_ACCUMBENS: 0.74,
    HIPPOCAMPUS_AMYGDALA: 0.69,
    THALAMUS: 0.82,
    PALLIDUM: 0.90,
    LESIONS: 0.62,
    (*VENTRICLES, FLUID_OUTSIDE): 0.22,
    (30, 62, 502): 0.30,  # vessels
    (85, 136, 137, 163, 164, 530): 0.75,  # optic nerves and chiasm, unnamed small parts
    (512,): 0.90,  # spinal cord
    (506,): 0.25,  # eyes
    (508,): MUSCLE,
    (509,): 0.55,  # mucosa
    (514,): 0.35,  # venous sinuses
    (SKIN,): 0.60,
    (SOFT_TISSUE,): MUSCLE,
    (BONE,): 0.08,
    (MARROW,): 0.85,
}
EDGE_SIGMA_MM = 0.45  # a scanner's point spread at 1 mm
TEXTURE, TEXTURE_MM = 0.02, 3.0
SULCUS_MM = 6


@dataclass(frozen=True)
class MadeHead:
    """A scan with its truth, all on one grid (RAS+).

    Attributes
    ----------
    image : Image
    brain : ndarray of bool
        Brain tissue and ventricles, furrows closed by a ball of `SULCUS_MM`.
    cranial : ndarray of bool
        Brain tissue and all fluid around it.
    tissue_ml : dict
        Volume of `GM`, `WM` and of the deep gray matter `DGM`, from the label map at 1 mm.
    log_bias : ndarray
        Natural logarithm of the field that multiplies the signal.
    """

    image: Image
    brain: np.ndarray
    cranial: np.ndarray
    tissue_ml: dict[str, float]
    log_bias: np.ndarray


def make_head(
    labels: Path,
    seed: int,
    *,
    voxel_mm: int = 1,
    bias: float = 0.2,
    noise: float = 0.025,
    pose: np.ndarray | None = None,
) -> MadeHead:
    """Make a scan from a label map.

    Parameters
    ----------
    labels : Path
        Whole head at 1 mm.
    seed : int
    voxel_mm : {1, 2}
    bias : float
        Largest relative change by the bias field.
    noise : float
        Standard deviation in each channel, relative to white matter.
    pose : ndarray, shape (4, 4), optional
        Moves the head in world space (mm), by resampling; default: as it lies.
    """
    rng = np.random.default_rng(seed)
    source = nib.as_closest_canonical(nib.load(labels))
    ids, affine = np.asarray(source.dataobj).astype(np.int16), np.asarray(source.affine)
    signal = _signal(ids, rng)
    masks = [_brain(ids), _is_in(ids, (*GRAY, *WHITE, *VENTRICLES, FLUID_OUTSIDE))]
    masks = [mask.astype(np.float32) for mask in masks]
    tissue_ml = {
        name: float(_is_in(ids, group).sum()) / 1000.0
        for name, group in (("GM", GRAY), ("WM", WHITE), ("DGM", DEEP_GRAY))
    }
    if pose is not None:
        signal, *masks = (_moved(volume, affine, pose) for volume in (signal, *masks))
    if voxel_mm == 2:
        signal, *masks = (_halved(volume) for volume in (signal, *masks))
        affine = affine @ np.array([[2, 0, 0, 0.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1.0]])
    log_bias = _smooth_field(masks[0] > 0.5, rng) * np.log1p(bias)
    real = signal * np.exp(log_bias) + noise * rng.standard_normal(signal.shape)
    imaginary = noise * rng.standard_normal(signal.shape)
    stored = np.rint(np.hypot(real, imaginary) * 800.0).astype(np.float32)
    brain, cranial = (mask > 0.5 for mask in masks)
    return MadeHead(Image(stored, affine), brain, cranial, tissue_ml, log_bias)


def label_maps(folder: Path) -> list[Path]:
    """The maps of a folder, in order."""
    found = sorted(folder.glob("training_seg_*.nii.gz"))
    if not found:
        raise SystemExit(f"{folder}: no training_seg_*.nii.gz there")
    return found


def _signal(ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    signal = np.zeros(ids.shape, np.float32)
    for group, value in SIGNAL.items():
        signal[_is_in(ids, group)] = value * (1.0 + 0.02 * rng.standard_normal())
    depth_mm = distance_transform_edt(ids > 0)
    signal[(ids == SOFT_TISSUE) & (depth_mm < FAT_DEPTH_MM + 2.0)] = FAT
    texture = gaussian_filter(rng.standard_normal(ids.shape).astype(np.float32), TEXTURE_MM)
    signal *= 1.0 + TEXTURE * texture / texture.std()
    return gaussian_filter(signal, EDGE_SIGMA_MM)


def _is_in(ids: np.ndarray, group: tuple[int, ...]) -> np.ndarray:
    members = np.zeros(ids.max() + 1, bool)
    members[[number for number in group if number < len(members)]] = True
    return members[ids]


def _brain(ids: np.ndarray) -> np.ndarray:
    tissue = _is_in(ids, (*GRAY, *WHITE, *VENTRICLES))
    grown = distance_transform_edt(~tissue) <= SULCUS_MM
    return binary_fill_holes((distance_transform_edt(grown) > SULCUS_MM) | tissue)


def _moved(volume: np.ndarray, affine: np.ndarray, pose: np.ndarray) -> np.ndarray:
    pull = np.linalg.inv(affine) @ np.linalg.inv(pose) @ affine
    return affine_transform(volume, pull[:3, :3], pull[:3, 3], order=1)


def _halved(volume: np.ndarray) -> np.ndarray:
    x, y, z = (size // 2 for size in volume.shape)
    return volume[: 2 * x, : 2 * y, : 2 * z].reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5))


def _smooth_field(brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A cubic polynomial of position that spans -1 to 1 over the brain."""
    where = [np.flatnonzero(brain.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    lines = [
        (np.arange(n) - (at[0] + at[-1]) / 2) * 2 / (at[-1] - at[0])
        for n, at in zip(brain.shape, where, strict=True)
    ]
    x, y, z = np.meshgrid(*lines, indexing="ij", sparse=True)
    powers = [power for power in np.ndindex(4, 4, 4) if 0 < sum(power) <= 3]
    field = sum(rng.standard_normal() * x**i * y**j * z**k for i, j, k in powers)
    low, high = field[brain].min(), field[brain].max()
    # far from the brain a polynomial runs away
    return np.clip(2 * (field - low) / (high - low) - 1, -1.5, 1.5).astype(np.float32)
