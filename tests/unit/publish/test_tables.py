"""Tables: reported beside measured, honest about what may be compared."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.cells import printed
from genmorph.metrics.vbm import measure_vbm
from genmorph.provenance.audit.cells import check_cells
from genmorph.publish.tables import (
    Column,
    Row,
    Table,
    read_measurements,
    read_trainings,
    write_table,
)

LABEL = "simulated: no ranking may be read from it"
PARAMETERS = {"scale": "demo", "grids": {}, "caption": "A caption."}


@pytest.fixture
def table(tmp_path):
    reported = tmp_path / "reported.csv"
    reported.write_text(
        "table,row,column,value,spread\nt,a,fid,82.2,\nt,a,l2,0.047,0.001\nother,a,l2,9,\n"
    )
    return Table(
        name="t",
        rows=(Row("A", "a", "a"), Row("B & co", "b"), Row("mean", "mean")),
        columns=(
            Column(
                "{label} axial",
                "frechet",
                "axial",
                ".1f",
                "fid",
                "FID axial",
                paper={"extractor": "inception-fid"},
            ),
            Column("{label} axial, half-sample SD", "frechet", "axial", ".1f", part="spread"),
            Column("kernel distance ({extractor})", "frechet", "kid_axial", ".4f"),
            Column("L2", "reconstruction", "l2", ".3f", "l2", "L2"),
            Column("L2 in brain", "reconstruction", "l2_brain", ".3f"),
        ),
        reported=reported,
        paper={"data": "adni", "scale": "paper", "grid": "4x4x4", "n": 6},
        yardsticks=(("mean", "reconstruction", "l2", "no better than the mean"),),
    )


@pytest.fixture
def measure(tmp_path):
    files = []

    def write(run, name, values, seed=0, spread=None, n=6, notes=(), counts=None, **settings):
        run_folder = tmp_path / "runs" / run / f"seed-{seed}"
        run_folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "run": {"model": run, "seed": seed},
            "data": "simulated",
            "grid": [4, 4, 4],
            "spread_over": "halves",
        } | settings
        if name == "frechet":
            settings = {"label": "FD (Net)", "extractor": "net", "feature_dimension": 3} | settings
        content = {
            "measure": name,
            "values": values,
            "spread": spread or {},
            "settings": settings,
            "n": counts or {"generated_scans": 4, "reference_scans": n},
            "data_label": LABEL,
            "notes": list(notes),
        }
        file = run_folder / f"{name}.json"
        file.write_text(json.dumps(content))
        files.append(file)

    write.files = files
    return write


@pytest.fixture
def train(tmp_path):
    files = []

    def write(run, seed=0, **content):
        file = tmp_path / "runs" / run / f"seed-{seed}" / "training.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps(
                {
                    "run": {"model": run, "seed": seed},
                    "parameters": 1471641,
                    "steps": 150,
                    "volumes_seen": 300,
                    "device": "cpu",
                    "seconds": 44.668,
                }
                | content
            )
        )
        files.append(file)

    write.files = files
    return write


def written(table, measure, tmp_path, trainings=(), **parameters):
    out = tmp_path / "tables" / "t.csv"
    write_table(
        table,
        read_measurements(measure.files, tmp_path),
        read_trainings(trainings, tmp_path),
        PARAMETERS | parameters,
        out,
    )
    with out.open(newline="") as stream:
        rows = {line["row"]: line for line in csv.DictReader(stream)}
    with out.with_name("t_cells.csv").open(newline="") as stream:
        cells = {(line["row"], line["column"]): line for line in csv.DictReader(stream)}
    return rows, cells, out


def test_reported_stands_beside_measured_and_never_for_it(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.26})
    rows, cells, _ = written(table, measure, tmp_path)
    assert rows["A"]["FID axial, reported"] == "82.2"
    assert rows["A"]["FD (Net) axial, measured"] == "91.3"
    assert rows["A"]["L2, reported"] == "0.047 ± 0.001"
    assert rows["A"]["L2, measured"] == "n/a"
    assert rows["B & co"]["FID axial, reported"] == "n/a"
    assert cells["A", "L2, reported"]["measurement"] == ""
    assert not any(title.startswith("FID") and "measured" in title for title in rows["A"])


def test_a_cell_says_where_it_comes_from_and_what_differs(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.26})
    _, cells, _ = written(table, measure, tmp_path)
    cell = cells["A", "FD (Net) axial, measured"]
    assert cell["measurement"] == "runs/a/seed-0/frechet.json"
    assert (cell["key"], cell["format"], cell["value"]) == ("values.axial", ".1f", "91.26")
    assert cell["comparable"].startswith("no: ")
    for word in ("data (simulated, paper adni)", "scale (demo", "extractor (net"):
        assert word in cell["comparable"]
    assert cell["difference"] == ""


PAPERS = {"data": "adni", "extractor": "inception-fid"}


def test_a_difference_is_computed_where_nothing_differs(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.0}, seed=0, **PAPERS)
    measure("a", "frechet", {"axial": 93.0}, seed=1, **PAPERS)
    _, cells, _ = written(table, measure, tmp_path, scale="paper")
    cell = cells["A", "FD (Net) axial, measured"]
    assert (cell["comparable"], cell["reported"]) == ("yes", "82.2")
    assert float(cell["difference"]) == pytest.approx(92.0 - 82.2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": "bids"}, "no: data (bids, paper adni)"),
        ({"extractor": "net"}, "no: extractor (net, paper inception-fid)"),
        ({"grid": [2, 2, 2]}, "no: grid (2x2x2, paper 4x4x4)"),
        ({"grid": []}, "no: grid (not known, paper 4x4x4)"),
        ({"n": 5}, "no: n (5, paper 6)"),
        ({"n": 5, "data": "bids"}, "no: data (bids, paper adni); n (5, paper 6)"),
    ],
)
def test_everything_that_differs_is_listed_and_no_difference_computed(
    table, measure, tmp_path, change, said
):
    measure("a", "frechet", {"axial": 91.0}, **(PAPERS | change))
    _, cells, _ = written(table, measure, tmp_path, scale="paper")
    cell = cells["A", "FD (Net) axial, measured"]
    assert (cell["comparable"], cell["difference"]) == (said, "")


def test_a_seed_with_another_n_is_not_comparable(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.0}, seed=0, n=6, **PAPERS)
    measure("a", "frechet", {"axial": 93.0}, seed=1, n=7, **PAPERS)
    _, cells, _ = written(table, measure, tmp_path, scale="paper")
    assert cells["A", "FD (Net) axial, measured"]["comparable"] == "no: n (6 / 7, paper 6)"


def test_a_row_without_a_reported_number_has_nothing_to_compare(table, measure, tmp_path):
    measure("b", "frechet", {"axial": 91.0}, **PAPERS)
    _, cells, _ = written(table, measure, tmp_path, scale="paper")
    cell = cells["B & co", "FD (Net) axial, measured"]
    assert (cell["comparable"], cell["difference"]) == ("not reported", "")


# -- uncertainty -----------------------------------------------------------------------------------


def test_half_sample_sd_has_a_column_of_its_own(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.26}, spread={"axial": 2.04})
    measure("b", "frechet", {"axial": 80.0}, notes=["Too few people."])
    rows, cells, out = written(table, measure, tmp_path)
    assert rows["A"]["FD (Net) axial, measured"] == "91.3"
    assert rows["A"]["FD (Net) axial, half-sample SD, measured"] == "2.0"
    assert rows["B & co"]["FD (Net) axial, half-sample SD, measured"] == "n/a"
    assert "- Too few people. Rows: B & co." in out.with_suffix(".md").read_text()
    cell = cells["A", "FD (Net) axial, measured"]
    assert (cell["spread"], cell["spread_over"]) == ("2.04", "halves")
    assert cells["A", "FD (Net) axial, half-sample SD, measured"]["key"] == "spread.axial"


def test_two_kinds_of_spread_never_stand_in_one_cell(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 80.0}, seed=0, spread={"axial": 2.0})
    measure("a", "frechet", {"axial": 82.0}, seed=1, spread={"axial": 3.0})
    rows, cells, out = written(table, measure, tmp_path)
    assert rows["A"]["FD (Net) axial, measured"] == "81.0 ± 1.4"
    assert rows["A"]["FD (Net) axial, half-sample SD, measured"] == "2.5"
    assert cells["A", "FD (Net) axial, measured"]["spread_over"] == "seeds"
    assert "Mean ± SD over 2 seeds" in out.with_suffix(".md").read_text()


def test_the_kernel_distance_is_named_after_its_features(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.0, "kid_axial": -0.00004})
    rows, _, _ = written(table, measure, tmp_path)
    assert rows["A"]["kernel distance (net), measured"] == "-0.0000"


@pytest.mark.parametrize(("dimension", "biased"), [(3, False), (4, True), (6, True)])
def test_the_label_says_when_the_value_is_biased_by_n(table, measure, tmp_path, dimension, biased):
    """Four generated volumes against six; also when only one row of the column is biased."""
    measure("a", "frechet", {"axial": 91.0}, n=6, feature_dimension=dimension)
    rows, _, out = written(table, measure, tmp_path)
    title = "FD (Net) [biased by n: compare at equal n] axial, measured"
    assert (title in rows["A"]) == biased
    assert ("biased by n" in out.with_suffix(".tex").read_text()) == biased


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"generated_scans": 4, "reference_scans": 6, "reference_people": 5}, "4 vs 6 (5 people)"),
        ({"scans": 4, "pairs": 6}, "4"),
        (
            {"reference_scans": 6, "reference_people": 6, "training_scans": 15},
            "6 (6 people), fitted on 15",
        ),
        ({"generated_scans": 4, "training_scans": 15}, "4"),
    ],
)
def test_n_says_what_was_counted_and_no_more(table, measure, tmp_path, counts, said):
    measure("a", "likelihood", {}, counts=counts)
    rows, _, _ = written(table, measure, tmp_path)
    assert rows["A"]["n"] == f"likelihood {said}"


def test_rows_of_different_n_share_a_column(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.0}, n=6)
    measure("b", "frechet", {"axial": 80.0}, n=2)
    rows, _, _ = written(table, measure, tmp_path)
    title = "FD (Net) [biased by n: compare at equal n] axial, measured"
    assert (rows["A"][title], rows["B & co"][title]) == ("91.0", "80.0")


# -- what a training took --------------------------------------------------------------------------


def test_each_row_states_what_its_training_took(table, measure, train, tmp_path):
    train("a", seed=0)
    train("a", seed=1, seconds=50.0, device="cuda (a GPU)")
    train("b")
    measure("mean", "reconstruction", {"l2": 0.05})
    rows, cells, _ = written(table, measure, tmp_path, train.files)
    facts = ("parameters", "steps", "volumes seen", "seconds", "device")
    assert [rows["A"][fact] for fact in facts] == [
        "1471641",
        "150",
        "300",
        "45 (cpu) / 50 (cuda (a GPU))",
        "cpu / cuda (a GPU)",
    ]
    assert [rows["B & co"][fact] for fact in facts[-2:]] == ["45", "cpu"]
    assert {rows["mean"][fact] for fact in facts} == {"n/a"}
    cell = cells["B & co", "steps"]
    assert cell["measurement"] == "runs/b/seed-0/training.json"
    assert (cell["source"], cell["key"]) == ("training", "steps")


def test_a_training_that_does_not_name_its_run_is_an_error(table, measure, tmp_path):
    file = tmp_path / "training.json"
    file.write_text('{"steps": 3}')
    with pytest.raises(MeasurementError, match=r"training.json: does not say which run"):
        written(table, measure, tmp_path, [file])


def test_cells_over_seeds_are_mean_and_sd(table, measure, tmp_path):
    measure("a", "reconstruction", {"l2": 0.04, "l2_brain": 0.1}, seed=0)
    measure("a", "reconstruction", {"l2": 0.06, "l2_brain": 0.2}, seed=1)
    rows, cells, _ = written(table, measure, tmp_path)
    assert rows["A"]["L2, measured"] == "0.050 ± 0.014"
    assert cells["A", "L2 in brain, measured"]["comparable"] == "not reported"
    assert len(cells["A", "L2, measured"]["measurement"].split()) == 2
    assert printed([0.04, 0.06], ".3f") == "0.050 ± 0.014"


def test_a_value_that_a_seed_lacks_is_told_and_audited(table, measure, tmp_path):
    for seed, values in enumerate(({"l2": 0.04}, {"l2_brain": 0.1}, {"l2": 0.06})):
        measure("a", "reconstruction", values, seed=seed)
    rows, cells, _ = written(table, measure, tmp_path)
    assert rows["A"]["L2, measured"] == "0.050 ± 0.014 (2 of 3 seeds)"
    assert rows["A"]["L2 in brain, measured"] == "0.100 (1 of 3 seeds)"
    assert len(cells["A", "L2, measured"]["measurement"].split()) == 3
    assert cells["A", "L2, measured"]["value"] == "0.04 0.06"

    def failed():
        found = check_cells(tmp_path, {"outputs": [{"path": "tables/t.csv"}]})
        return [finding.message for finding in found if finding.status == "fail"]

    assert failed() == []
    content = json.loads(measure.files[0].read_text())
    del content["values"]["l2"]
    measure.files[0].write_text(json.dumps(content))
    (message,) = failed()
    assert "measured printed 0.060 (1 of 3 seeds), cell 0.050 ± 0.014 (2 of 3 seeds)" in message


def test_a_row_that_does_not_beat_the_mean_says_so(table, measure, tmp_path):
    measure("mean", "reconstruction", {"l2": 0.05})
    measure("a", "reconstruction", {"l2": 0.04})
    measure("b", "reconstruction", {"l2": 0.05})
    rows, _, _ = written(table, measure, tmp_path)
    remarks = {name: row["remark"] for name, row in rows.items()}
    assert remarks == {"A": "", "B & co": "no better than the mean", "mean": ""}


def test_a_search_has_a_row_a_run_and_marks_the_best(table, measure, tmp_path):
    for run, l2, axial in (("a", 0.04, 3.0), ("a-beta_x2", 0.03, 5.0)):
        measure(run, "reconstruction", {"l2": l2})
        measure(run, "frechet", {"axial": axial})
    search = replace(
        table,
        rows=(),
        yardsticks=(),
        best=(("frechet", "axial", "least distance"), ("reconstruction", "l2", "least L2")),
    )
    rows, _, _ = written(search, measure, tmp_path, rows=["a", "a-beta_x2"])
    assert [row["remark"] for row in rows.values()] == ["least distance", "least L2"]


def test_what_must_be_said_of_the_data_is_in_every_form(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.26}, notes=["n < feature dimension"])
    rows, _, out = written(table, measure, tmp_path)
    assert rows["A"]["data"] == LABEL
    for suffix in (".md", ".tex"):
        text = out.with_suffix(suffix).read_text()
        assert LABEL in text and "n < feature dimension" in text
    assert r"B \& co" in out.with_suffix(".tex").read_text()


def test_different_settings_never_share_a_column(table, measure, tmp_path):
    measure("a", "reconstruction", {"l2": 0.04}, data_range=1.5)
    measure("b", "reconstruction", {"l2": 0.04}, data_range=1.0)
    with pytest.raises(MeasurementError, match="differ in data_range"):
        written(table, measure, tmp_path)
    assert not (tmp_path / "tables").exists()


def gray_matter(side, seed):
    """Maps of four scans, each voxel's mean its own."""
    random = np.random.default_rng(seed)
    mean = random.random((4, 4, 4))
    return {f"{side}-{n}": mean + 0.1 * random.standard_normal(mean.shape) for n in range(4)}


@pytest.mark.parametrize("given", [False, True])
def test_masks_of_the_runs_own_maps_share_a_column_and_other_given_masks_do_not(
    table, measure, tmp_path, given
):
    for seed, run in enumerate(("a", "b")):
        mask = np.arange(64).reshape(4, 4, 4) > seed if given else None
        sides = gray_matter("sample", seed + 1), gray_matter("sub", 0)
        _, found = measure_vbm(*sides, np.eye(4), mask=mask, mask_threshold=0.5)
        measure(run, "vbm", found.values, **found.settings)
    maps = replace(table, columns=(Column("t", "vbm", "greatest_t", ".1f"),), yardsticks=())
    if given:
        with pytest.raises(MeasurementError, match="differ in mask_sha256"):
            written(maps, measure, tmp_path)
    else:
        rows, _, _ = written(maps, measure, tmp_path)
        values = [row["t, measured"] for row in rows.values()]
        assert len(set(values)) == 3 and values[2] == "n/a"


def test_what_the_codes_of_a_run_span_is_no_setting_of_a_column(table, measure, tmp_path):
    for run, kind in (("a", "sample covariance"), ("b", "probabilistic PCA")):
        measure(run, "reconstruction", {"l2": 0.04}, covariance_kind=kind)
    written(table, measure, tmp_path)


def test_the_same_measurements_give_the_same_bytes_in_any_order(table, measure, tmp_path):
    measure("a", "reconstruction", {"l2": 0.04})
    measure("b", "reconstruction", {"l2": 0.03})
    _, _, out = written(table, measure, tmp_path)
    first = {suffix: out.with_suffix(suffix).read_bytes() for suffix in (".csv", ".md", ".tex")}
    measure.files.reverse()
    written(table, measure, tmp_path)
    assert first == {suffix: out.with_suffix(suffix).read_bytes() for suffix in first}


def on_two_grids(table):
    """The same table with a run of each row on two grids."""
    return replace(
        table,
        rows=(Row("A", "a", "a"), Row("mean", "mean")),
        columns=tuple(
            Column(
                "L2 at {grid}",
                "reconstruction",
                "l2",
                ".3f",
                "l2",
                f"L2 at {grid}",
                paper={"grid": grid},
                runs=f"{{row}}-{size}",
            )
            for size, grid in (("small", "2x2x2"), ("large", "4x4x4"))
        ),
        apart=True,
    )


GRIDS = {
    f"{row}-{size}": [n] * 3 for row in ("a", "mean") for size, n in (("small", 2), ("large", 4))
}


def test_a_row_has_a_run_on_each_grid_and_headings_name_the_grid(table, measure, train, tmp_path):
    measure("a-small", "reconstruction", {"l2": 0.5}, grid=[2, 2, 2])
    measure("mean-small", "reconstruction", {"l2": 0.4}, grid=[2, 2, 2])
    measure("a-large", "reconstruction", {"l2": 0.25}, grid=[4, 4, 4])
    train("a-small")
    train("a-large", seconds=1.0)
    rows, _, _ = written(on_two_grids(table), measure, tmp_path, train.files, grids=GRIDS)
    line, mean = rows["A"], rows["mean"]
    assert line["L2 at 2x2x2, measured"] == "0.500"
    assert line["L2 at 4x4x4, measured"] == "0.250"
    assert mean["L2 at 4x4x4, measured"] == "n/a"
    assert (line["seconds at 2x2x2"], line["seconds at 4x4x4"]) == ("45", "1")
    # the yardstick of the same grid alone
    assert line["remark"] == "no better than the mean at 2x2x2"


def test_a_note_names_the_grid_it_is_about(table, measure, tmp_path):
    for run, edge, notes in (
        ("a-small", 2, ["Few.", "Fewer."]),
        ("mean-small", 2, ["Few."]),
        ("a-large", 4, ["Few.", "Fewest."]),
        ("mean-large", 4, ["Few.", "Fewest."]),
    ):
        measure(run, "reconstruction", {"l2": 0.5}, grid=[edge] * 3, notes=notes)
    _, _, out = written(on_two_grids(table), measure, tmp_path, grids=GRIDS)
    notes = out.with_suffix(".md").read_text().splitlines()[-3:]
    assert sorted(notes) == [
        "- Few.",
        "- Fewer. Rows: A at 2x2x2.",
        "- Fewest. Rows: A, mean at 4x4x4.",
    ]


@pytest.mark.parametrize(("edge", "beside"), [(2, True), (3, False)])
def test_reported_numbers_of_another_grid_stand_apart(table, measure, tmp_path, edge, beside):
    grids = GRIDS | {"a-small": [edge] * 3, "mean-small": [edge] * 3}
    measure("a-small", "reconstruction", {"l2": 0.5}, grid=[edge] * 3)
    rows, _, _ = written(on_two_grids(table), measure, tmp_path, grids=grids)
    titles = list(rows["A"])
    first, second = "L2 at 2x2x2, reported", "L2 at 4x4x4, reported"
    measured = [titles.index(title) for title in titles if title.endswith("measured")]
    if beside:
        assert titles.index(first) < titles.index(second) < max(measured)
    else:
        assert min(titles.index(first), titles.index(second)) > max(measured)
