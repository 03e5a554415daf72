"""P5's printed numbers checked against each other.

Numbers of both tables come from `reported.csv`; those of the running text stand here, each with its
place in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from genmorph.metrics.tissue_volumes import PAPER_FAMILY_ALPHA
from genmorph.publish.checks import (
    IMPLIES,
    Check,
    consistent,
    read_reported,
    rounding_interval,
)
from genmorph.studies.autoregressive.table2 import (
    BASELINE,
    OURS,
    REPORTED,
    SD_OF_ZERO,
    Cells,
    agreement,
    marks_kept,
    read_cells,
)

STUDY = "autoregressive"
FID = ("fid_axial", "fid_coronal", "fid_sagittal")

# Section 6.4: training and test scans of each population, and of both data sets
VENTRICLES = {"small_ventricles": (6388, 108), "big_ventricles": (6321, 156)}
AGES = {"young": (6633, 113), "old": (5137, 106)}
DIAGNOSES = {"CN": (118, 29), "AD": (151, 36)}
UKB = {**AGES, **VENTRICLES}
UKB_SCANS = (31740, 3970)
ADNI_SCANS = (648, 82)
PARTS = 5  # section 3.2: first and last of five quantiles

PRINTED_LEVEL = "2.083e-05"  # section 4.2
GRID = (160, 224, 160)  # section 6.4
DOWNSAMPLINGS = 4  # section 6.1, each by two
REDUCTION, TOKENS = 4096, 1400  # section 3.1

# The number of generated volumes is not printed: what is tried, and what is asked of the marks.
MOST_GENERATED = 2000
EXPECTED_GENERATED = range(100, 501)
SHOWN_GENERATED = (50, 100, 150, 200, 300, 400, 500)
OTHER_SDS_OF_ZERO = (0.0, 0.1, 0.2, 0.4, 0.5)

Rows = Mapping[str, Mapping[str, str]]


def checks() -> list[Check]:
    """Every check of this paper: Table 2, Table 1, then the text."""
    table1 = read_reported(REPORTED, "table1")
    cells = read_cells({name: test for name, (_, test) in {**UKB, **DIAGNOSES}.items()})
    return [
        level(cells),
        welch_pattern(cells),
        pooled_pattern(cells),
        print_rounding(cells),
        *claims_on_volumes(cells),
        equal_distances(table1),
        order_of_magnitude(table1),
        fifths("ventricular volume", VENTRICLES),
        fifths("age", AGES),
        population_test_sets(),
        shares_of_test(),
        tokens(),
    ]


# -- Table 2: which cells are bold ----------------------------------------------------------------


def level(cells: Cells) -> Check:
    """Which number of tests the printed level belongs to."""
    low, high = rounding_interval(PRINTED_LEVEL)
    tests = {
        alpha: list(range(math.ceil(alpha / high), math.floor(alpha / low) + 1))
        for alpha in (0.001, 0.01, 0.05)
    }
    own = len(cells.names)
    return Check(
        STUDY,
        "Table 2: level of a test",
        "Which level and number of tests give the printed one by Bonferroni; that the family was "
        "meant to be this table cannot be told from the quotient alone.",
        f"{PRINTED_LEVEL}; {own} tested cells",
        "; ".join(f"{alpha:g} / {', '.join(map(str, n))}" for alpha, n in tests.items()),
        f"{IMPLIES}{PAPER_FAMILY_ALPHA:g} over the table's {own} cells"
        if own in tests[PAPER_FAMILY_ALPHA]
        else f"{IMPLIES}another family than the table's {own} cells",
    )


def welch_pattern(cells: Cells) -> Check:
    """Whether Welch's test gives the bold marks, and for which numbers of generated volumes."""
    total, tried = len(cells.names), range(2, MOST_GENERATED + 1)
    everywhere = agreement(cells, tried).all(axis=1)
    least = agreement(cells, EXPECTED_GENERATED).sum(axis=1).min()
    others = min(
        agreement(cells, EXPECTED_GENERATED, sd_of_zero=sd).sum(axis=1).min()
        for sd in OTHER_SDS_OF_ZERO
    )
    few = total - agreement(cells, SHOWN_GENERATED[:1]).sum()
    return Check(
        STUDY,
        "Table 2: bold marks by Welch's test",
        "Whether unequal variances, this level and the test sets' sizes can have made the marks. "
        "The number of generated volumes is not printed and taken as one for all rows; that a "
        "range of it fits does not tell which it was, nor that volumes are equal.",
        f"means and SDs; {int(cells.bold.sum())} of {total} cells bold; level {PRINTED_LEVEL}",
        f"with {EXPECTED_GENERATED[0]} to {EXPECTED_GENERATED[-1]} generated volumes {least} of "
        f"{total} cells agree at the least (an SD printed as 0 taken as {SD_OF_ZERO:g}; with "
        f"{', '.join(f'{sd:g}' for sd in OTHER_SDS_OF_ZERO)} {others}); of 2 to {MOST_GENERATED} "
        f"all agree at {_spans(_where(tried, everywhere))}; at {SHOWN_GENERATED[0]} {few} differ",
        consistent(least == total),
    )


def pooled_pattern(cells: Cells) -> Check:
    """The same with one variance for both sides."""
    tried = range(2, MOST_GENERATED + 1)
    agree = agreement(cells, tried, pooled=True)
    wrong = (~agree).sum(axis=1)
    shown = (~agreement(cells, SHOWN_GENERATED, pooled=True)).sum(axis=1)
    mended = (marks_kept(cells, tried, pooled=True) >= 0).all(axis=1)
    fitting = {
        name: numbers
        for name, own in _rows(cells, agree).items()
        if (numbers := _where(tried, own))
    }
    low = max(fitting, key=lambda name: fitting[name][0])
    high = min(fitting, key=lambda name: fitting[name][-1])
    return Check(
        STUDY,
        "Table 2: bold marks by a pooled variance",
        "Whether Student's test, with one variance for both sides, can have made the marks with "
        "one number of generated volumes for all rows. Had the rows numbers of their own, it "
        "cannot be ruled out where each fits by itself.",
        f"means and SDs; {int(cells.bold.sum())} of {len(cells.names)} cells bold",
        "cells that differ: "
        + ", ".join(f"{number} at {n}" for n, number in zip(SHOWN_GENERATED, shown, strict=True))
        + f" generated volumes; of 2 to {MOST_GENERATED} at the least {wrong.min()}, at "
        f"{_spans(_where(tried, wrong == wrong.min()))}; rounding could mend all of them at "
        f"{_spans(_where(tried, mended))}; by itself {len(fitting)} of {len(_rows(cells, agree))} "
        f"rows fit: {low} from {fitting[low][0]}, {high} up to {fitting[high][-1]}",
        consistent(wrong.min() == 0),
    )


def print_rounding(cells: Cells) -> Check:
    """How many marks hang on digits that are not printed."""
    sizes = [n for n in SHOWN_GENERATED if n in EXPECTED_GENERATED]
    loose = marks_kept(cells, sizes) == 0
    counted = loose.sum(axis=1)
    fewest = int(counted.argmin())
    tried = range(2, MOST_GENERATED + 1)
    possible = (marks_kept(cells, tried) >= 0).all(axis=1)
    names = [name for name, one in zip(cells.names, loose[fewest], strict=True) if one]
    span = " to ".join(map(str, dict.fromkeys((counted.min(), counted.max()))))
    return Check(
        STUDY,
        "Table 2: marks that rounding could turn",
        "How many marks would be bold or not depending on what was rounded away: half a unit of "
        "the last digit of both means and both SDs, each cell by itself, by Welch's test. These "
        "marks prove nothing of the test; nor does it follow which of them did turn.",
        "means and SDs in whole ml",
        "cells that could turn: "
        + ", ".join(f"{number} at {n}" for n, number in zip(sizes, counted, strict=True))
        + f" generated volumes; at {sizes[fewest]}: {', '.join(names)}; within rounding every mark "
        f"can be had at {_spans(_where(tried, possible))} of 2 to {MOST_GENERATED}",
        f"{IMPLIES}{span} of {len(cells.names)} marks hang on digits not printed",
    )


def claims_on_volumes(cells: Cells) -> Iterator[Check]:
    """What the text says of the populations by ventricular volume (section 4.2)."""
    marks = dict(zip(cells.names, cells.bold, strict=True))
    for tissue, significant in (("CSF", True), ("GM", False)):
        own = {name: marks[f"{name}-{OURS} {tissue}"] for name in VENTRICLES}
        said = "significantly different" if significant else "not significantly different"
        yield Check(
            STUDY,
            f"Table 2: text on {tissue} of both ventricle populations",
            "Whether the marks bear out what the text says of its own model; not which of the two "
            "is right.",
            f"text: {tissue} {said} in both",
            "; ".join(
                f"{name} {'bold (not significant)' if bold else 'not bold (significant)'}"
                for name, bold in own.items()
            ),
            consistent(all(bold != significant for bold in own.values())),
        )


# -- Table 1 --------------------------------------------------------------------------------------


def equal_distances(rows: Rows) -> Check:
    """A row whose axes share a distance to the last digit."""
    equal = [row for row, own in rows.items() if len({own[axis] for axis in FID}) < len(FID)]
    ukb = {axis: ", ".join(rows[f"{name}-{OURS}"][axis] for name in UKB) for axis in FID[1:]}
    return Check(
        STUDY,
        "Table 1: each axis has a distance of its own",
        "Two axes that agree in four digits are a slip of the pen rather than chance. Which of the "
        "two is wrong cannot be proved; the other UK Biobank rows of the column show which of the "
        "two is out of place.",
        "; ".join(f"{row} {_values(rows[row], FID)}" for row in equal) or "no row",
        f"rows with equal distances: {', '.join(equal) or 'none'}; in the order "
        f"{', '.join(UKB)}: " + "; ".join(f"{axis} {values}" for axis, values in ukb.items()),
        consistent(not equal),
    )


def order_of_magnitude(rows: Rows) -> Check:
    """The text's claim of the distance of both models on UK Biobank (section 4.1)."""
    ratios = {
        name: float(rows[f"{name}-{BASELINE}"]["mmd"]) / float(rows[f"{name}-{OURS}"]["mmd"])
        for name in UKB
    }
    return Check(
        STUDY,
        "Table 1: bMMD² an order of magnitude smaller",
        "Whether the ratio of both models is nearer to ten than to one, as the text says of UK "
        "Biobank; not what the distance would be at other batch sizes: its floor is in both.",
        "; ".join(
            f"{name} {rows[f'{name}-{BASELINE}']['mmd']} and {rows[f'{name}-{OURS}']['mmd']}"
            for name in UKB
        ),
        "ratios " + ", ".join(f"{ratio:.2f}" for ratio in ratios.values()),
        consistent(min(ratios.values()) >= math.sqrt(10)),
    )


# -- the data -------------------------------------------------------------------------------------


def expected_fifth() -> tuple[float, float]:
    """Mean and SD of the training scans in a fifth that was cut on all scans of UK Biobank.

    The training set is a random draw without replacement (hypergeometric).
    """
    training, everyone = UKB_SCANS[0], sum(UKB_SCANS)
    share = 1 / PARTS
    variance = training * share * (1 - share) * (everyone - training) / (everyone - 1)
    return training * share, math.sqrt(variance)


def fifths(field: str, populations: Mapping[str, tuple[int, int]]) -> Check:
    """Whether the populations are fifths of the training scans."""
    mean, sd = expected_fifth()
    scores = {name: (training - mean) / sd for name, (training, _) in populations.items()}
    return Check(
        STUDY,
        f"populations by {field} are fifths",
        "Whether the sizes fit fifths that were cut on all scans, training and test, and then "
        "limited to the training scans (within three SD of such a draw). Values that tie, as ages "
        "in whole years do, allow no exact fifths: which rule was used cannot be told.",
        ", ".join(f"{name} {training}" for name, (training, _) in populations.items())
        + f" of {UKB_SCANS[0]}",
        f"a fifth is {mean:.0f}, SD {sd:.0f} by chance; "
        + ", ".join(
            f"{name} {populations[name][0] - mean:+.0f} ({score:+.1f} SD)"
            for name, score in scores.items()
        ),
        consistent(all(abs(score) < 3 for score in scores.values())),
    )


def population_test_sets() -> Check:
    """Whether the test sets of the populations are fifths of the test scans."""
    fifth = UKB_SCANS[1] / PARTS
    sizes = {name: test for name, (_, test) in UKB.items()}
    return Check(
        STUDY,
        "test sets of the populations are fifths",
        "Whether the populations' test sets hold all test scans of their fifth (half to twice as "
        "many); how others were chosen cannot be told. Their sizes are the real n of Table 2.",
        ", ".join(f"{name} {test}" for name, test in sizes.items()) + f" of {UKB_SCANS[1]}",
        f"a fifth is {fifth:.0f}; shares "
        + ", ".join(f"{test / fifth:.2f}" for test in sizes.values()),
        consistent(all(fifth / 2 < test < 2 * fifth for test in sizes.values())),
    )


def shares_of_test() -> Check:
    """Whether the Transformer's split of ADNI can be the one of the VQ-VAE."""
    training, test = ADNI_SCANS
    everyone = training + test
    own = sum(sum(sizes) for sizes in DIAGNOSES.values())
    own_test = sum(sizes[1] for sizes in DIAGNOSES.values())
    share = test / everyone
    expected = own * share
    sd = math.sqrt(expected * (1 - share) * (everyone - own) / (everyone - 1))
    score = (own_test - expected) / sd
    return Check(
        STUDY,
        "ADNI: one split for both networks",
        "Whether the test scans of both diagnoses fit a random part of the VQ-VAE's test scans "
        "(within three SD). If they do not, scans that the Transformer is tested with may have "
        "trained the VQ-VAE; whether any did cannot be told from counts.",
        f"VQ-VAE {training} and {test}; "
        + ", ".join(f"{name} {sizes[0]} and {sizes[1]}" for name, sizes in DIAGNOSES.items()),
        f"{own_test} test scans among {own}, expected {expected:.1f}, SD {sd:.1f}: "
        f"{score:+.1f} SD; shares {own_test / own:.3f} and {share:.3f}",
        consistent(abs(score) < 3),
    )


def tokens() -> Check:
    """Whether grid, halvings and the length of a sequence fit."""
    sides = [size / 2**DOWNSAMPLINGS for size in GRID]
    each = 2 ** (3 * DOWNSAMPLINGS)
    length = math.prod(GRID) / each
    return Check(
        STUDY,
        "tokens of a volume",
        "Whether grid, halvings, reduction and length fit; nothing about the order of the tokens.",
        f"{'x'.join(map(str, GRID))} voxels, {DOWNSAMPLINGS} halvings, factor {REDUCTION}, "
        f"{TOKENS} tokens",
        f"{' x '.join(f'{side:g}' for side in sides)} = {length:g} tokens, each of {each} voxels",
        consistent(
            each == REDUCTION and length == TOKENS and all(side.is_integer() for side in sides)
        ),
    )


def _values(row: Mapping[str, str], keys: Sequence[str]) -> str:
    return ", ".join(row[key] for key in keys)


def _rows(cells: Cells, agree: np.ndarray) -> dict[str, np.ndarray]:
    """Whether all cells of a row agree, for each number of generated volumes."""
    rows: dict[str, list[int]] = {}
    for cell, name in enumerate(cells.names):
        rows.setdefault(name.split()[0], []).append(cell)
    return {name: agree[:, own].all(axis=1) for name, own in rows.items()}


def _where(numbers: Sequence[int], holds: np.ndarray) -> list[int]:
    return [number for number, one in zip(numbers, holds, strict=True) if one]


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers as spans.

    Examples
    --------
    >>> _spans([3, 4, 5, 9])
    '3 to 5, 9'
    """
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    return ", ".join(" to ".join(map(str, span)) for span in spans) or "no number"
