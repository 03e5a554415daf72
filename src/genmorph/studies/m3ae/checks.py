"""P1's printed numbers checked against each other.

Numbers of Table 1 come from `reported.csv`; those of the running text stand here, each with its
place in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from genmorph.publish.checks import (
    IMPLIES,
    Check,
    consistent,
    read_reported,
    rounding_interval,
)

STUDY = "m3ae"
REPORTED = Path(__file__).with_name("reported.csv")
TABLE = "table1"
MODELS = ("alpha_wgan", "beta_vae", "m3ae")
OURS = "m3ae"
FLOOR = "held_out"  # validation against test scans
FID = ("fid_axial", "fid_coronal", "fid_sagittal")
# reconstruction measures, and whether the greater is the better
MEASURES = {"l2": False, "ssim": True, "psnr": True}

GRID = (80, 96, 80)  # section 3
SLICES = (30, 40, 50, 60)  # section 3
TRAINING_VOLUMES, TRAINING_PEOPLE = 4789, 992  # section 3
TEST_VOLUMES, TEST_PEOPLE = 2592, 526  # section 3
BETA_TEXT, BETA_SUPPLEMENT = "3", "6.0"  # section 3; supplement B
LATENTS, DECODERS = 512, 2  # supplement B
BOTTLENECK = (128, 5, 6, 5)  # supplement B: channels, then voxels
CHANNELS = (128, 64, 32, 16)  # supplement B: one up-sampling block each

# The range this study measures with (`measures:` of spec.yaml); a test holds the two together.
DATA_RANGE = 1.5

Rows = Mapping[str, Mapping[str, str]]
Interval = tuple[float, float]


def checks() -> list[Check]:
    """Every check of this paper, in the order of the table's columns, then of the text."""
    rows = read_reported(REPORTED, TABLE)
    return [
        *fid_floor(rows),
        fid_claim(rows),
        *data_ranges(rows),
        *common_data_range(rows),
        rank_agreement(rows),
        reshaped_latents(),
        halved_grid(),
        slice_positions(),
        beta(),
        volumes_per_person(),
        share_of_people(),
    ]


# -- Table 1: Fréchet distances -------------------------------------------------------------------


def fid_floor(rows: Rows) -> Iterator[Check]:
    """Each model's distances lie above those of validation against test scans."""
    floor = [float(rows[FLOOR][axis]) for axis in FID]
    for model in MODELS:
        ratios = [float(rows[model][axis]) / low for axis, low in zip(FID, floor, strict=True)]
        yield Check(
            STUDY,
            f"FID above its floor: {model}",
            "Real scans of other people are the least distance to expect at that number of scans; "
            "a model below it would have copied or been measured otherwise. The numbers of volumes "
            "behind each distance are not printed, so that nothing finer can be read from it.",
            f"{_values(rows[model], FID)}; validation set {_values(rows[FLOOR], FID)}",
            "times the floor: " + ", ".join(f"{ratio:.1f}" for ratio in ratios),
            consistent(min(ratios) > 1),
        )


def fid_claim(rows: Rows) -> Check:
    """The text's claim that M3AE has the least distance of the models."""
    best = [min(MODELS, key=lambda model: float(rows[model][axis])) for axis in FID]
    return Check(
        STUDY,
        "M3AE has the lowest FID",
        "Whether the table bears out what the text says of it; not whether the difference is more "
        "than chance, as no spread is printed.",
        "; ".join(f"{model} {_values(rows[model], FID)}" for model in MODELS),
        "lowest: " + ", ".join(f"{axis} {model}" for axis, model in zip(FID, best, strict=True)),
        consistent(set(best) == {OURS}),
    )


# -- Table 1: reconstruction ----------------------------------------------------------------------


def implied_range(row: Mapping[str, str]) -> Interval:
    """Data ranges that a row's PSNR and mean squared error allow, given their rounding.

    20 log10 R = PSNR + 10 log10 MSE, with both taken of the same error.
    """
    (psnr_low, psnr_high), (mse_low, mse_high) = (
        rounding_interval(row[key]) for key in ("psnr", "l2")
    )
    return _range(psnr_low, mse_low), _range(psnr_high, mse_high)


def data_ranges(rows: Rows) -> Iterator[Check]:
    """The data range behind each row's PSNR, which the paper does not state."""
    for model in MODELS:
        low, high = implied_range(rows[model])
        exact = _range(float(rows[model]["psnr"]), float(rows[model]["l2"]))
        yield Check(
            STUDY,
            f"data range: {model}",
            "PSNR and squared error together give the data range R, by 20 log10 R = PSNR + 10 "
            "log10 MSE, if PSNR was taken of the mean error. If it was averaged over scans, R is "
            "at most this. The range says nothing about the intensities' scale in training.",
            f"PSNR {rows[model]['psnr']}, L2 {rows[model]['l2']}",
            f"R = {exact:.4f}, with rounding {low:.4f} to {high:.4f}",
            f"{IMPLIES}data range {low:.3f} to {high:.3f}",
        )


def common_data_range(rows: Rows) -> Iterator[Check]:
    """Whether one range fits all rows, and whether 1.5 does, for both ways to take PSNR."""
    intervals = {model: implied_range(rows[model]) for model in MODELS}
    low = max(interval[0] for interval in intervals.values())
    high = min(interval[1] for interval in intervals.values())
    printed = "; ".join(
        f"{model} {start:.4f} to {end:.4f}" for model, (start, end) in intervals.items()
    )
    shared = f"{low:.4f} to {high:.4f}" if low <= high else "none"
    yield Check(
        STUDY,
        "one data range for all rows",
        "Whether the rows can have been measured alike, if PSNR was taken of the mean error; not "
        "that they were.",
        f"implied by the rows: {printed}",
        f"in common: {shared}",
        consistent(low <= high),
    )
    outside = [name for name, (start, end) in intervals.items() if not start <= DATA_RANGE <= end]
    yield Check(
        STUDY,
        f"data range {DATA_RANGE}, PSNR of the mean error",
        "Whether this study's data range lies in the interval of every row; it cannot tell which "
        "other range was used.",
        f"implied by the rows: {printed}",
        f"outside: {', '.join(outside) or 'none'}",
        consistent(not outside),
    )
    too_low = [name for name, (_, end) in intervals.items() if end < DATA_RANGE]
    yield Check(
        STUDY,
        f"data range {DATA_RANGE}, PSNR averaged over scans",
        "The mean of PSNRs is no less than the PSNR of the mean error (Jensen), so that a row's "
        "range is then an upper bound; whether this study's range keeps all bounds, not that PSNR "
        "was averaged.",
        "upper bounds: " + "; ".join(f"{model} {end:.4f}" for model, (_, end) in intervals.items()),
        f"bounds below {DATA_RANGE}: {', '.join(too_low) or 'none'}",
        consistent(not too_low),
    )


def rank_agreement(rows: Rows) -> Check:
    """L2, SSIM and PSNR put the models in one order."""
    orders = {
        key: sorted(MODELS, key=lambda model: float(rows[model][key]), reverse=greater)
        for key, greater in MEASURES.items()
    }
    return Check(
        STUDY,
        "reconstruction measures agree on the order",
        "Three measures of one error should rank three models alike; they may differ where models "
        "are close, so that a disagreement would be a question, not a proof.",
        "; ".join(f"{model} {_values(rows[model], MEASURES)}" for model in MODELS),
        "; ".join(f"by {key}: {', '.join(order)}" for key, order in orders.items()),
        consistent(len({tuple(order) for order in orders.values()}) == 1),
    )


# -- the architecture as the supplement states it -------------------------------------------------


def reshaped_latents() -> Check:
    """Whether a decoder's latents fill the shape they are said to be given."""
    each, wanted = LATENTS // DECODERS, math.prod(BOTTLENECK)
    return Check(
        STUDY,
        "latents reshaped for a decoder",
        "A reshape keeps the number of values; where it differs, a layer between is unstated. "
        "Which layer it was cannot be told.",
        f"{LATENTS} latents, {DECODERS} decoders, {_by(BOTTLENECK)}",
        f"{each} values each, {wanted} needed",
        consistent(each == wanted),
    )


def halved_grid() -> Check:
    """Whether as many halvings as there are blocks lead from the grid to the smallest volume."""
    halvings = len(CHANNELS)
    smallest = tuple(size / 2**halvings for size in GRID)
    return Check(
        STUDY,
        "grid halved by each block",
        "Whether the number of blocks fits both ends; nothing about what is inside a block.",
        f"{_by(GRID)} voxels, {halvings} blocks, {_by(BOTTLENECK[1:])}",
        f"{_by(GRID)} halved {halvings} times is {'x'.join(f'{size:g}' for size in smallest)}",
        consistent(smallest == BOTTLENECK[1:]),
    )


def slice_positions() -> Check:
    """Whether the four slices exist on every axis."""
    middle = sum(SLICES) / len(SLICES)
    return Check(
        STUDY,
        "slices of the FID lie in the volume",
        "Whether the same four positions exist on each axis; not that they cut the brain alike: "
        "the axes differ in length.",
        f"slices {', '.join(map(str, SLICES))}; {_by(GRID)} voxels",
        f"mean position {middle:g}; middles of the axes "
        + ", ".join(f"{(size - 1) / 2:g}" for size in GRID),
        consistent(min(SLICES) >= 0 and max(SLICES) < min(GRID)),
    )


def beta() -> Check:
    """The weight of the divergence term in the text and in the supplement."""
    return Check(
        STUDY,
        "β in text and supplement",
        "Whether both places give one value; not which of them made the table.",
        f"text {BETA_TEXT}, supplement {BETA_SUPPLEMENT}",
        f"ratio {float(BETA_SUPPLEMENT) / float(BETA_TEXT):g}",
        consistent(float(BETA_TEXT) == float(BETA_SUPPLEMENT)),
    )


# -- the data -------------------------------------------------------------------------------------


def volumes_per_person() -> Check:
    """How many scans a person has on each side."""
    training, test = TRAINING_VOLUMES / TRAINING_PEOPLE, TEST_VOLUMES / TEST_PEOPLE
    return Check(
        STUDY,
        "volumes per person",
        "People with several scans: nearly equal means on both sides are what a split of people "
        "gives. That the split was made by person cannot be proved from counts.",
        f"training {TRAINING_VOLUMES} of {TRAINING_PEOPLE}, test {TEST_VOLUMES} of {TEST_PEOPLE}",
        f"training {training:.3f}, test {test:.3f}, ratio {test / training:.3f}",
        f"{IMPLIES}{training:.1f} and {test:.1f} volumes a person",
    )


def share_of_people() -> Check:
    """What part of the people were kept for the test."""
    together = TRAINING_PEOPLE + TEST_PEOPLE
    share = TEST_PEOPLE / together
    volumes = TEST_VOLUMES / (TRAINING_VOLUMES + TEST_VOLUMES)
    missing = 3 * TEST_PEOPLE - together
    return Check(
        STUDY,
        "share of people in the test set",
        "The share among training and test people. The validation people are not counted in the "
        "paper, so that the share of all people can only be bounded: it is at most this.",
        f"{TEST_PEOPLE} test and {TRAINING_PEOPLE} training people",
        f"{TEST_PEOPLE} / ({TRAINING_PEOPLE} + {TEST_PEOPLE}) = {share:.4f} of people, "
        f"{volumes:.4f} of volumes; a third if {missing} more people validated",
        f"{IMPLIES}at most {100 * share:.1f} % of the people are test people",
    )


def _range(psnr: float, mse: float) -> float:
    return 10 ** ((psnr + 10 * math.log10(mse)) / 20)


def _values(row: Mapping[str, str], keys: Sequence[str] | Mapping[str, bool]) -> str:
    return ", ".join(row[key] for key in keys)


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
