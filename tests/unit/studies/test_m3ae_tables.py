"""The table of P1 fits its specification and the paper's numbers."""

from __future__ import annotations

import csv

from genmorph.studies import load_spec
from genmorph.studies.m3ae.tables import TABLES

TABLE = TABLES["table1"]


def test_every_run_of_the_study_has_a_row_that_the_audit_can_name():
    spec = load_spec("m3ae")
    assert {row.run for row in TABLE.rows} == {*spec.models, *spec.references}
    # `genmorph audit --cell ROW,COLUMN` splits at the first comma
    assert not any("," in row.title for row in TABLE.rows)


def test_every_reported_number_has_a_cell():
    with TABLE.reported.open(newline="", encoding="utf-8") as stream:
        printed = {(line["row"], line["column"]) for line in csv.DictReader(stream)}
    rows = {row.reported for row in TABLE.rows}
    columns = {column.reported for column in TABLE.columns}
    assert printed <= {(row, column) for row in rows for column in columns}


def test_each_distance_has_its_uncertainty_beside_it():
    distances = [column for column in TABLE.columns if column.measure == "frechet"]
    pairs = zip(distances[::2], distances[1::2], strict=True)
    for value, spread in pairs:
        assert (value.part, spread.part) == ("values", "spread")
        assert spread.title == f"{value.title}, half-sample SD"
        assert (spread.key, spread.form) == (value.key, value.form)
