"""From one person to another: who stands at the ends, the way, the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from genmorph.errors import GenmorphError
from genmorph.publish.interpolation import (
    INTERPOLATION_STEPS,
    draw_interpolation,
    ends_in_words,
    way_between,
    youngest_and_oldest,
)


@dataclass
class Person:
    scan_id: str
    participant_id: str
    age_years: float | None = None
    diagnosis: str | None = None
    age_precision: str | None = "exact"


def test_ends_are_the_youngest_and_the_oldest_of_two_people():
    scans = [
        Person("sub-1_ses-1", "sub-1", 60.0),
        Person("sub-1_ses-2", "sub-1", 81.0),
        Person("sub-2", "sub-2", 75.0),
        Person("sub-3", "sub-3"),
    ]
    assert [scan.scan_id for scan in youngest_and_oldest(scans)] == ["sub-1_ses-1", "sub-2"]
    ageless = [Person(name, name) for name in ("sub-3", "sub-1", "sub-2")]
    assert [scan.scan_id for scan in youngest_and_oldest(ageless)] == ["sub-1", "sub-3"]
    with pytest.raises(GenmorphError, match="two test people"):
        youngest_and_oldest(scans[:2])


def test_the_way_is_straight_and_even():
    way = way_between(np.array([0.0, 6.0]), np.array([6.0, 0.0]))
    np.testing.assert_allclose(way, [[step, 6 - step] for step in range(7)])


def test_the_way_has_the_shape_of_the_latents():
    way = way_between(np.zeros((3, 5)), np.ones((3, 5)))
    assert way.shape == (INTERPOLATION_STEPS, 3, 5)
    np.testing.assert_allclose(way[3], 0.5)


def test_scans_stand_outside_of_what_is_decoded_from_them():
    ends = [Person("sub-1", "sub-1", 61.0, "AD"), Person("sub-2", "sub-2", 92.0)]
    scans = [np.full((4, 5, 6), value, np.float32) for value in (0.1, 0.9)]
    decoded = [np.full((4, 5, 6), 0.2 + 0.1 * step, np.float32) for step in range(7)]
    figure = draw_interpolation(
        ends, scans, decoded, end_title="posterior\nmean", voxel_mm=(2, 2, 2), footer="made up"
    )
    first_row = [axes.images[0].get_array()[0, 0] for axes in figure.axes[:9]]
    np.testing.assert_allclose(first_row, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], atol=1e-6)
    said = " ".join(text.get_text() for text in figure.texts)
    assert "61 years" in said and "90+ years" in said and "made up" in said
    assert "3/6" in said and said.count("posterior") == 2
    assert "AD" not in said and "sub-" not in said
    assert "youngest" in ends_in_words(ends)
    binned = Person("sub-3", "sub-3", 24.0, age_precision="bin")
    assert ends_in_words([binned, ends[1]]).endswith("the oldest age group.")
    assert "not known" in ends_in_words([ends[0], Person("sub-3", "sub-3")])
