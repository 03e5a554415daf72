"""Label groupings: sums, unknown numbers, and agreement with the tissues of a real data set."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.label_groups import (
    GROUPINGS,
    GROUPS,
    STRUCTURES,
    group_labels,
    group_names,
    missing_groups,
    read_grouping,
    structures_of,
)

# P2's groups as its released code makes them of FreeSurfer's numbers
P2 = {
    0: [0],
    1: [8, 47],
    2: [7, 46],
    3: [3, 42, 26, 58, *range(1000, 3000)],
    4: [2, 41, 251, 252, 253, 254, 255, 5, 44, 30, 62, 77, 80, 85],
    5: [10, 49],
    6: [17, 53],
    7: [18, 54],
    8: [4, 43, 14, 15, 72, 31, 63],
    9: [11, 50],
    10: [12, 51],
    11: [13, 52],
    12: [28, 60],
    13: [24],
    14: [16],
}
TISSUE_OF_GROUP = {
    "GM": {1, 3, 5, 6, 7, 9, 10, 11},
    "WM": {2, 4, 12, 14},
    "CSF": {8, 13},
}


def test_freesurfer_groups_are_those_of_the_paper():
    numbers = np.array([number for of_group in P2.values() for number in of_group])
    expected = [group for group, of_group in P2.items() for _ in of_group]
    assert group_labels(numbers, "freesurfer_aseg").tolist() == expected


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_voxels_of_a_group_are_the_sum_of_its_numbers(grouping):
    ranges = read_grouping(grouping)
    rng = np.random.default_rng(0)
    source = rng.choice([entry.first for entry in ranges], size=(12, 13, 14)).astype(np.int32)
    grouped = group_labels(source, grouping)
    assert grouped.shape == source.shape and grouped.dtype == np.uint8
    for group in range(len(group_names(grouping))):
        of_group = sum((source == e.first).sum() for e in ranges if e.group == group)
        assert (grouped == group).sum() == of_group > 0


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_tables_are_sound(grouping):
    ranges = sorted(read_grouping(grouping), key=lambda entry: entry.first)
    for entry, following in itertools.pairwise(ranges):
        assert entry.first <= entry.last < following.first, "a number in two rows"
    names = group_names(grouping)
    assert {entry.group for entry in ranges} == set(range(len(names)))
    assert len(set(names)) == len(names) and names[0] == "background"
    assert all(entry.name and entry.group_name == names[entry.group] for entry in ranges)
    assert structures_of(grouping) == dict(enumerate(names[1:], start=1))


@pytest.mark.parametrize("grouping", ["freesurfer_aseg", "neuromorphometrics"])
def test_both_sources_make_every_group_of_the_paper(grouping):
    assert group_names(grouping) == GROUPS and missing_groups(grouping) == []
    assert len(STRUCTURES) == 14 and 0 not in STRUCTURES


def test_simulated_labels_are_those_the_simulator_writes():
    from genmorph.cohorts.simulate.trees.truth import STRUCTURES as WRITTEN

    known = {entry.name: entry.first for entry in read_grouping("simulated") if entry.first}
    assert known == WRITTEN
    assert "hippocampus" in missing_groups("simulated")


@pytest.mark.parametrize(
    ("values", "grouping", "named"),
    [
        ([0, 3000, 17], "freesurfer_aseg", "3000"),
        ([0, -1], "freesurfer_aseg", "-1"),
        ([0, 2, 97], "neuromorphometrics", "2, 97"),
        ([0.0, 0.5], "freesurfer_aseg", "whole number"),
        ([0.0, np.nan], "freesurfer_aseg", "whole number"),
        (list(range(300, 320)), "neuromorphometrics", "and 10 more"),
        ([0], "freesurfer", "freesurfer_aseg"),
    ],
)
def test_what_cannot_be_grouped_is_named(values, grouping, named):
    with pytest.raises(MeasurementError, match=named):
        group_labels(np.array(values), grouping)


def test_float_maps_of_whole_numbers_are_grouped():
    assert group_labels(np.array([47.0, 48.0]), "neuromorphometrics").tolist() == [6, 6]


def test_real_labels_are_grouped_within_their_tissue(shared_data):
    import nibabel as nib

    reference = shared_data / "oasis-miccai2012" / "derivatives" / "reference"
    with (reference / "desc-neuromorphometrics_dseg.tsv").open() as stream:
        tissue = {
            int(row["index"]): row["tissue"] for row in csv.DictReader(stream, delimiter="\t")
        }
    path = next(reference.rglob("*desc-neuromorphometrics_dseg.nii.gz"))
    labels = np.asarray(nib.load(path).dataobj)
    grouped = group_labels(labels, "neuromorphometrics")
    assert set(np.unique(grouped)) == set(range(len(GROUPS)))
    # P2 counts the inferior lateral ventricles and vessels to the white matter
    kept_by_p2 = {49, 50, 63, 64}
    for number in set(np.unique(labels)) - {0} - kept_by_p2:
        if tissue[int(number)] in TISSUE_OF_GROUP:
            (group,) = np.unique(grouped[labels == number])
            assert group in TISSUE_OF_GROUP[tissue[int(number)]], number
