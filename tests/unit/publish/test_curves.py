"""Training curves: what is read, what counts as a term, how it is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import GenmorphError
from genmorph.publish.curves import (
    draw_training_curves,
    headline,
    loss_terms,
    read_training_metrics,
)

SEEN = np.array([10.0, 20.0, 30.0])


def table(**columns):
    return {"epoch": SEEN / 10, "volumes_seen": SEEN} | {
        name: np.asarray(values, dtype=float) for name, values in columns.items()
    }


def test_metrics_are_read_and_gaps_are_not_zero(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("volumes_seen,total,validation_total\n4,2.5,\n8,1.5,2\n")
    read = read_training_metrics(file)
    np.testing.assert_array_equal(read["total"], [2.5, 1.5])
    assert np.isnan(read["validation_total"][0]) and read["validation_total"][1] == 2


@pytest.mark.parametrize("text", ["", "volumes_seen,total\n", "volumes_seen\nmany\n", "total\n1\n"])
def test_a_table_that_cannot_be_read_is_named(tmp_path, text):
    file = tmp_path / "metrics.csv"
    file.write_text(text)
    with pytest.raises(GenmorphError, match=r"metrics\.csv.*\n.*cure"):
        read_training_metrics(file)


def test_terms_are_what_a_loss_is_made_of():
    terms = loss_terms(
        table(
            beta=[1, 2, 3],  # a weight that follows a schedule
            kl=[1, 1, 1],
            validation_kl=[2, 2, 2],
            smoothness_1=[1, 2, 3],
            smoothness_2=[10, 20, 30],
            validation_smoothness_1=[0, 0, 0],
            generator_adversarial=[-1, 0, 1],
            generator_gradient_norm=[5, 5, 5],
            generator_total=[5, 5, 5],
            learning_rate=[1, 1, 1],
            total=[9, 9, 9],
            validation_total=[9, 9, 9],
        )
    )
    assert list(terms) == ["generator_adversarial", "kl", "smoothness"]
    np.testing.assert_array_equal(terms["smoothness"], [11, 22, 33])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("total", "validation_total", "reconstruction"), "total"),
        (("total", "reconstruction", "validation_reconstruction"), "reconstruction"),
        (("total", "reconstruction"), "total"),
        (("reconstruction",), "reconstruction"),
    ],
)
def test_the_loss_shown_is_one_that_is_validated(columns, expected):
    assert headline(table(**dict.fromkeys(columns, SEEN))) == expected


def test_a_table_without_a_loss_is_refused():
    with pytest.raises(GenmorphError, match="without total and reconstruction"):
        draw_training_curves({"m": table(kl=SEEN)})
    with pytest.raises(GenmorphError, match="of no model"):
        draw_training_curves({})


def test_a_column_a_model_and_scales_that_fit():
    positive = table(total=SEEN, validation_total=2 * SEEN, kl=[0, 1, 20], validation_kl=SEEN)
    signed = table(total=[-1, 0, 3], generator_real=[-4, 1, 2])
    figure = draw_training_curves({"vae": positive, "gan": signed}, footer="small print")
    above, below, gan_above, gan_below = figure.axes
    assert (above.get_title(), gan_above.get_title()) == ("vae\ntotal", "gan\ntotal")
    assert (above.get_yscale(), below.get_yscale()) == ("linear", "log")
    assert gan_above.get_yscale() == gan_below.get_yscale() == "symlog"
    training, validation = above.lines
    np.testing.assert_array_equal(training.get_xydata(), np.stack([SEEN, SEEN], axis=1))
    np.testing.assert_array_equal(validation.get_ydata(), 2 * SEEN)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["generator real", "kl"]
    assert any(text.get_text() == "small print" for text in figure.texts)


def test_a_term_has_one_look_in_all_columns():
    tables = {
        "one": table(total=SEEN, kl=SEEN, validation_kl=SEEN, edge_a=SEEN),
        "two": table(total=SEEN, kl=SEEN, validation_kl=SEEN),
    }
    figure = draw_training_curves(tables)
    colours = [
        line.get_color()
        for axes in figure.axes[1::2]
        for line in axes.lines
        if line.get_label() == "kl"
    ]
    assert len(colours) == 2 and colours[0] == colours[1]
