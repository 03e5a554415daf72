"""P2's printed numbers against each other; altered numbers must turn the verdicts."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from genmorph.publish.checks import read_reported
from genmorph.studies.slice_vae import checks as p2


@pytest.fixture
def rows():
    return copy.deepcopy(read_reported(p2.REPORTED, p2.TABLE))


def test_every_check_says_what_it_can_and_cannot_show():
    found = p2.checks()
    assert len({check.check for check in found}) == len(found)
    for check in found:
        assert check.study == "slice_vae"
        assert all((check.shows, check.printed, check.recomputed, check.verdict))
        assert any(word in check.shows for word in ("not", "nothing", "cannot"))


def test_mmd_a_voxel(rows):
    found = p2.equal_batches(rows)
    assert found.recomputed == "a voxel 0.00914 and 0.00948, ratio 1.04"
    assert found.verdict == "consistent"
    rows[p2.OURS]["mmd_128"] = "25000"
    assert p2.equal_batches(rows).verdict == "inconsistent"


def test_half_the_batch_doubles_the_number(rows):
    found = p2.half_batch(rows, p2.OURS)
    assert "ratio 2.03, by the batch alone 2" in found.recomputed
    assert found.verdict == "implies: the floor would be 103 % of the number at 128³"
    assert p2.half_batch(rows, "alpha_wgan").verdict.endswith("77 % of the number at 128³")


def test_distance_and_floor_come_back_from_simulated_numbers(rows):
    """The biased estimate of drawn volumes in batches of 8 and 4: known distance and floor."""
    rng = np.random.default_rng(0)
    voxels, distance = 64, 0.05

    def estimate(batch):
        first = rng.normal(0, 1, (4000, batch, voxels)).mean(1)
        second = rng.normal(distance**0.5, 1, (4000, batch, voxels)).mean(1)
        return np.square(first - second).sum(1).mean() / voxels

    for size, batch in ((128, 8), (256, 4)):
        rows[p2.OURS][f"mmd_{size}"] = str(estimate(batch) * size**3)
    numbers = (
        p2.half_batch(rows, p2.OURS).recomputed.split("distance ")[1].split(", floor at 128³ ")
    )
    # two sides of variance 1: the floor is 2 / 8
    assert [float(number) for number in numbers] == pytest.approx([0.05, 0.25], abs=0.005)


def test_the_claim_of_the_lowest_mmd(rows):
    assert p2.lowest(rows).verdict == "consistent"
    rows["vae_gan"]["mmd_64"] = "2400"
    assert p2.lowest(rows).verdict == "inconsistent"
