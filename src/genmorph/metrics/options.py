"""What may be set of each measure: typed, with the defaults that a study starts from.

A study's `measures:` and the command `genmorph evaluate` read their options here. A measure is an
entry of `MEASURES`; its key is also the name of its command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from genmorph.errors import ConfigError, did_you_mean
from genmorph.validation import Options, validate


class MeasureOptions(Options):
    """What every measure has: whose volumes it looks at, and beside which."""

    kind: str = Field("", description="key of the measure; '' means that the entry is named so")
    store: Literal["samples", "reconstructions", "validation_reconstructions"] = Field(
        "samples", description="volumes of the run that are measured"
    )
    split: Literal["train", "validation", "test"] = Field(
        "test", description="real scans they are compared with"
    )


class FrechetOptions(MeasureOptions):
    """Fréchet and kernel distance of slices."""

    extractor: str = Field("efficientnet-lite0", description="network whose features are compared")
    positions: tuple[int, ...] | Literal["middle"] = Field(
        (30, 40, 50, 60), description="slices along each axis (P1), or the middle one (P5)"
    )
    reference_grid: tuple[int, int, int] = Field(
        (80, 96, 80), description="grid the positions are meant on, scaled in proportion on others"
    )
    half_sample_repeats: PositiveInt = Field(20, description="draws of half of the people")
    half_sample_seed: int = 0


class DiversityOptions(MeasureOptions):
    """SSIM between pairs of generated volumes."""

    data_range: PositiveFloat = 1.0
    max_pairs: PositiveInt | None = Field(None, description="null compares all pairs")


class MsSsimOptions(MeasureOptions):
    """MS-SSIM of pairs of samples, or of scans and their reconstructions."""

    mode: Literal["wang", "kwon"] = Field(
        "kwon", description="kwon: as the code behind the numbers of P2 and P3 computes it"
    )
    data_range: PositiveFloat = Field(1.0, description="decides the constants")
    intensity_range: tuple[float, float] = Field(
        (-1.0, 1.0), description="what 0 and 1 of a volume become first"
    )
    coarsest_power: Literal[1, 4] | None = Field(
        None, description="null: 4 in mode kwon, as its code has it; 1 is the definition"
    )
    max_pairs: PositiveInt | None = Field(1000, description="null compares all pairs")
    seed: int = 0
    volumes_in_memory: int = Field(8, ge=2)


class MmdOptions(MeasureOptions):
    """Squared maximum mean discrepancy with the dot product as kernel."""

    convention: Literal["biased", "biased_per_voxel", "unbiased"] = Field(
        "biased", description="P2 and P3: biased; P5: biased_per_voxel"
    )
    batch_size: PositiveInt = 8
    repeats: PositiveInt = 100
    paired: bool = Field(False, description="scans and their reconstructions (P3)")
    natural_log: bool = Field(False, description="the logarithm too (P3)")
    intensity_range: tuple[float, float] = Field(
        (-1.0, 1.0), description="what 0 and 1 of a volume become first"
    )
    seed: int = 0


class SliceConsistencyOptions(MeasureOptions):
    """Differences of neighbouring slices."""

    background: float = Field(
        0.05, ge=0, lt=1, description="two voxels that are both no brighter are not compared"
    )


class LatentLikelihoodOptions(MeasureOptions):
    """Likelihood of scans under a slice VAE."""

    decoder_variance: PositiveFloat = Field(
        0.5,
        description="of the noise around the decoder's volume: 1/2 as the sum of squares implies; "
        "half of kl_weight makes the training loss a multiple of the bound",
    )
    draws: PositiveInt = Field(4, description="from the posterior, for the reconstruction term")
    seed: int = 0


class ReconstructionOptions(MeasureOptions):
    """Differences between scans and their reconstructions."""

    store: Literal["reconstructions", "validation_reconstructions"] = "reconstructions"
    data_range: PositiveFloat = Field(1.5, description="of PSNR and SSIM")


class TissueVolumesOptions(MeasureOptions):
    """Volumes of tissues beside those of real scans."""

    comparisons: PositiveInt | None = Field(
        None,
        description="tests of the whole table; null: tissues, times the models of the study",
    )
    family_alpha: float = Field(0.001, gt=0, lt=1, description="level of all tests together")
    equivalence_margin: PositiveFloat = Field(0.05, description="share of the real mean")
    fewest: int = Field(20, ge=2, description="a side with fewer withholds the verdict")
    confidence: float = Field(0.95, gt=0, lt=1, description="of the interval")


class SegmentationOverlapOptions(MeasureOptions):
    """Overlap of tissues between scans and their reconstructions."""

    store: Literal["reconstructions", "validation_reconstructions"] = "reconstructions"
    labels: Literal["hard", "soft"] = "hard"
    brain_threshold: float = Field(0.5, ge=0, lt=1, description="of hard labels")


class VbmOptions(MeasureOptions):
    """Voxel-based morphometry of gray matter."""

    design: Literal["two_sample", "paired"] = "two_sample"
    variance: Literal["unequal", "pooled", "reml"] = "unequal"
    low_variance_fraction: float | None = Field(
        1e-3, ge=0, description="of the greatest variance, added to all (Ridgway 2012); null: none"
    )
    fwhm_mm: float = Field(8.0, ge=0, description="smoothing of the modulated maps")
    mask_threshold: float = Field(0.1, ge=0, description="of the mean map, for the voxels tested")
    correction: Literal["uncorrected", "false discovery rate", "family-wise"] = "uncorrected"
    level: float | None = Field(
        None, gt=0, lt=1, description="null: 0.001 uncorrected, 0.05 otherwise"
    )
    permutations: PositiveInt = Field(1000, description="of the family-wise threshold")
    seed: int = 0


class AtlasScoreOptions(MeasureOptions):
    """Realistic atlas score."""

    generated: PositiveInt = Field(20, description="generated volumes drawn")
    reference_each: PositiveInt = Field(5, description="real scans that each is brought onto")
    real_labels: Literal["network", "manual"] = Field(
        "network", description="whose labels the real side has; manual ones are given"
    )
    least_held_out_dice: float = Field(
        0.7, ge=0, le=1, description="of the segmenter on people it never saw; below it: n/a"
    )
    registration: dict[str, Any] = Field(
        {}, description="{option: value} of the affine registration over its defaults"
    )
    seed: int = 0


class MemorisationOptions(MeasureOptions):
    """Distances to training people beside distances to held-out people."""

    space: Literal["image", "feature"] = Field("image", description="where distances are taken")
    blur_voxels: NonNegativeFloat = Field(1.0, description="SD of the blur of every volume")
    shift_voxels: NonNegativeInt = Field(1, description="shifts compared, in image space")
    mirror: bool = Field(True, description="compare mirror images too")
    extractor: str = Field("efficientnet-lite0", description="network of the feature space")
    positions: tuple[int, ...] = Field((30, 40, 50, 60), description="slices along each axis")
    reference_grid: tuple[int, int, int] = Field(
        (80, 96, 80), description="grid the positions are meant on, scaled in proportion on others"
    )
    averaged_slices: bool = Field(False, description="average features over the slices of an axis")
    people: PositiveInt | None = Field(None, description="a side, at most; null as many as can be")
    draws: PositiveInt | None = Field(None, description="of training people; null takes all in")
    permutations: PositiveInt = Field(1000, description="random relabellings of people")
    alpha: float = Field(0.05, gt=0, lt=1, description="a volume is flagged when its p is at most")
    seed: int = 0
    chunk: PositiveInt = Field(16, description="volumes of a side held in memory at once")


@dataclass(frozen=True)
class Measure:
    """A measure as the command line and the specifications know it.

    Attributes
    ----------
    options : type of MeasureOptions
    papers : str
        Papers of the study that report it.
    summary : str
    of_tissues : bool
        It looks at the segmented tissues of both stores, not at the volumes themselves.
    of_labels : bool
        It needs label maps of the cohort.
    own_rule : bool
        The workflow has a rule for it alone, as it needs or writes more than the others do.
    of_model : str or None
        It looks at the checkpoint of a model of this architecture, not at volumes made by it.
    """

    options: type[MeasureOptions]
    papers: str
    summary: str
    of_tissues: bool = False
    own_rule: bool = False
    of_labels: bool = False
    of_model: str | None = None


MEASURES: dict[str, Measure] = {
    "frechet": Measure(
        FrechetOptions, "P1, P5", "Fréchet distance (and KID) of slices, averaged per axis."
    ),
    "diversity": Measure(DiversityOptions, "not in the papers", "SSIM between pairs of samples."),
    "reconstruction": Measure(
        ReconstructionOptions, "P1", "L1, L2, PSNR and SSIM of reconstructions."
    ),
    "ms_ssim": Measure(
        MsSsimOptions, "P2, P3, P5", "MS-SSIM of pairs of samples, or of reconstructions."
    ),
    "mmd": Measure(MmdOptions, "P2, P3, P5", "Maximum mean discrepancy, with its floor."),
    "slice_consistency": Measure(
        SliceConsistencyOptions,
        "not in the papers",
        "Differences of neighbouring slices along each axis, beside those of real scans.",
    ),
    "tissue_volumes": Measure(
        TissueVolumesOptions,
        "P5",
        "Volumes of tissues, with tests against real scans.",
        of_tissues=True,
    ),
    "segmentation_overlap": Measure(
        SegmentationOverlapOptions,
        "P3",
        "Dice of tissues in scans and reconstructions.",
        of_tissues=True,
    ),
    "vbm": Measure(
        VbmOptions,
        "P3, P5",
        "Voxel-based morphometry: t-map of gray matter.",
        of_tissues=True,
        own_rule=True,
    ),
    "latent_likelihood": Measure(
        LatentLikelihoodOptions,
        "P2, without a number",
        "Density of held-out scans' latent stacks and a bound on that of the scans.",
        own_rule=True,
        of_model="slice_vae",
    ),
    "atlas_score": Measure(
        AtlasScoreOptions,
        "P2",
        "Realistic atlas score: Dice of labels carried to real scans.",
        own_rule=True,
        of_labels=True,
    ),
    "memorisation": Measure(
        MemorisationOptions,
        "not in the papers",
        "Distance to the nearest training person beside that to the nearest held-out person.",
        own_rule=True,
    ),
}


def measure_options(name: str, values: Mapping[str, Any], where: str) -> MeasureOptions:
    """Type a measure's entry.

    Parameters
    ----------
    name : str
        Of the entry; the measure itself when `values` names no `kind`.
    values : mapping
    where : str
        For errors.

    Raises
    ------
    ConfigError
        When there is no such measure, or a value is wrong.
    """
    kind = values.get("kind") or name
    if kind not in MEASURES:
        raise ConfigError(f"{where}: no measure '{kind}'; {did_you_mean(kind, MEASURES)}")
    return validate(MEASURES[kind].options, {**values, "kind": kind}, where)
