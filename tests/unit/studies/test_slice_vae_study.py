"""P2's specification and tables: every size, every reported number, every trivial generator."""

from __future__ import annotations

import csv

import pytest

from genmorph.config import SCALES, Config
from genmorph.errors import ConfigError
from genmorph.plan import Plan
from genmorph.studies import load_spec
from genmorph.studies.slice_vae.tables import REPORTED, SIZES, TABLES


def plan(**values) -> Plan:
    return Plan(Config().model_dump() | {"results": "nowhere"} | values)


def test_at_scale_paper_a_name_carries_the_grid():
    room = plan(scale="paper").study("slice_vae")
    for run in (*room.models, *room.references):
        size = int(run.rpartition("-")[2])
        assert room.grid_of(run) == (size, size, size), run


@pytest.mark.parametrize("scale", SCALES)
def test_grids_rise_with_the_papers_sizes(scale):
    room = plan(scale=scale).study("slice_vae")
    edges = [room.grid_of(f"slice_vae-{size}")[0] for size in SIZES]
    assert edges == sorted(set(edges))


def test_the_demo_uses_the_promised_grids():
    room = plan().study("slice_vae")
    assert [room.grid_of(f"slice_vae-{size}")[0] for size in SIZES] == [16, 32, 64]


def test_every_reported_number_has_a_cell():
    table = TABLES["table1"]
    with REPORTED.open(newline="", encoding="utf-8") as stream:
        printed = {(line["row"], line["column"]) for line in csv.DictReader(stream)}
    assert len(printed) == 25
    rows = {row.reported for row in table.rows}
    columns = {column.reported for column in table.columns}
    assert printed <= {(row, column) for row in rows for column in columns}


@pytest.mark.parametrize("name", ["table1", "beyond", "anatomy"])
def test_every_run_has_a_row(name):
    spec, table = load_spec("slice_vae"), TABLES[name]
    shown = {run for row in table.rows for run in table.runs_of(row)}
    assert {*spec.models, *spec.references} <= shown


def test_each_size_has_its_own_batch_and_number_of_tests():
    measures = plan(scale="paper").study("slice_vae").measures
    for size, (batch, repeats) in SIZES.items():
        options = measures[f"mmd_{size}"]
        assert (options["batch_size"], options["repeats"]) == (batch, repeats)
        assert (options["convention"], options["split"]) == ("biased", "train")
    assert measures["ms_ssim"]["mode"] == "kwon"


def test_a_measure_of_one_size_is_taken_of_its_runs():
    room = plan().study("slice_vae")
    assert set(room.measured_runs("mmd_256")) == {
        run for run in room.runs if room.recipe_of[run] == "slice_vae"
    }
    likely = {run for run in room.measured_runs("latent_likelihood") if run in room.models}
    assert likely == {"slice_vae-64", "slice_vae-128", "slice_vae-256"}


def test_coarser_grids_come_from_the_store_of_the_finest():
    made = plan()
    assert made.coarser_recipes == {"slice_vae_128": "slice_vae", "slice_vae_64": "slice_vae"}
    assert "slice_vae_64" not in made.own_recipes
    assert made.parameters("resample", "slice_vae_64")["from"]["recipe"] == "slice_vae"
    assert (
        made.finer_shard("shard_table", "simulated_hcp", "slice_vae_64", "0003")
        == "nowhere/preprocessed/simulated_hcp/slice_vae/shard-0003.tsv"
    )


def test_the_sweep_takes_the_papers_rates_at_each_size():
    room = plan(scale="paper").study("slice_vae")
    assert len(room.variants) == 9
    rates = {
        (room.grid_of(name)[0], round(parameters["training"]["learning_rate"], 9))
        for name, parameters in room.variants.items()
    }
    assert rates == {(size, rate) for size in SIZES for rate in (1e-3, 1e-4, 1e-5)}


def test_extremes_of_t_whose_sign_may_differ_from_seed_to_seed_are_not_averaged():
    shown = {column.key: column.title for column in TABLES["anatomy"].columns}
    assert "peak_t" not in shown
    for extreme in ("greatest", "least"):
        assert shown[f"{extreme}_t"] == f"{extreme} t of gray matter at {{grid}}"


def test_large_scales_measure_anatomy_unasked():
    assert "nowhere/tables/slice_vae_anatomy.csv" in plan(scale="paper").tables("slice_vae")
    assert "nowhere/tables/slice_vae_anatomy.csv" not in plan().tables("slice_vae")


def test_a_cohort_without_labels_has_all_but_the_atlas_score():
    made = plan(
        cohorts={"real": {"layout": "hcp", "root": "/nowhere"}},
        studies={"slice_vae": {"cohort": "real"}},
    )
    figures = made.figures("slice_vae")
    assert "nowhere/figures/slice_vae_samples.png" in figures
    assert "nowhere/figures/slice_vae_atlas_scores.png" not in figures
    assert not any("atlas_score" in file for file in made.measurements("slice_vae", "beyond"))
    absent = made.parameters("table", "slice_vae", "beyond")["absent"]
    assert "cohorts.real.labels" in absent[0]
    assert plan().parameters("table", "slice_vae", "beyond")["absent"] == []


def test_a_segmenter_is_set_by_recipe():
    def of(**segmenters):
        roles = {"cohort": "simulated_hcp", "segmenters": segmenters}
        return plan(studies={"slice_vae": roles})

    made = of(slice_vae={"epochs": 9})
    assert made.parameters("segmenter", "simulated_hcp", "slice_vae")["epochs"] == 9
    other = made.parameters("segmenter", "simulated_hcp", "slice_vae_64")["epochs"]
    assert other == plan().parameters("segmenter", "simulated_hcp", "slice_vae_64")["epochs"]
    with pytest.raises(ConfigError, match="no recipe 'slice_va'"):
        of(slice_va={})
