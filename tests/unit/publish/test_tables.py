"""Tables: reported beside measured, honest about what may be compared."""

from __future__ import annotations

import csv
import json

import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.cells import printed
from genmorph.publish.tables import Column, Row, Table, read_measurements, write_table

LABEL = "simulated: no ranking may be read from it"
PARAMETERS = {"scale": "demo", "caption": "A caption."}


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
            Column("{label} axial", "frechet", "axial", ".1f", "fid", "FID axial"),
            Column("L2", "reconstruction", "l2", ".3f", "l2", "L2"),
            Column("L2 in brain", "reconstruction", "l2_brain", ".3f"),
        ),
        reported=reported,
        paper={"data": "ADNI", "scale": "paper", "extractor": "inception-fid"},
        yardstick=("mean", "l2", "no better than the mean"),
    )


@pytest.fixture
def measure(tmp_path):
    files = []

    def write(run, name, values, seed=0, **settings):
        run_folder = tmp_path / "runs" / run / f"seed-{seed}"
        run_folder.mkdir(parents=True, exist_ok=True)
        settings = {"run": {"model": run, "seed": seed}, "cohort": "simulated"} | settings
        if name == "frechet":
            settings |= {"label": "FD (Net)", "extractor": "net"}
        content = {
            "measure": name,
            "values": values,
            "settings": settings,
            "n": {"generated_scans": 4, "reference_scans": 6},
            "data_label": LABEL,
            "notes": ["n < feature dimension"] if name == "frechet" else [],
        }
        file = run_folder / f"{name}.json"
        file.write_text(json.dumps(content))
        files.append(file)

    write.files = files
    return write


def written(table, measure, tmp_path):
    out = tmp_path / "tables" / "t.csv"
    write_table(table, read_measurements(measure.files, tmp_path), PARAMETERS, out)
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
    assert (cell["key"], cell["format"], cell["value"]) == ("axial", ".1f", "91.26")
    assert cell["comparable"].startswith("no: ")
    for word in ("data (simulated, paper ADNI)", "scale (demo", "extractor (net"):
        assert word in cell["comparable"]


def test_cells_over_seeds_are_mean_and_sd(table, measure, tmp_path):
    measure("a", "reconstruction", {"l2": 0.04, "l2_brain": 0.1}, seed=0)
    measure("a", "reconstruction", {"l2": 0.06, "l2_brain": 0.2}, seed=1)
    rows, cells, _ = written(table, measure, tmp_path)
    assert rows["A"]["L2, measured"] == "0.050 ± 0.014"
    assert cells["A", "L2 in brain, measured"]["comparable"] == "not reported"
    assert len(cells["A", "L2, measured"]["measurement"].split()) == 2
    assert printed([0.04, 0.06], ".3f") == "0.050 ± 0.014"


def test_a_row_that_does_not_beat_the_mean_says_so(table, measure, tmp_path):
    measure("mean", "reconstruction", {"l2": 0.05})
    measure("a", "reconstruction", {"l2": 0.04})
    measure("b", "reconstruction", {"l2": 0.05})
    rows, _, _ = written(table, measure, tmp_path)
    remarks = {name: row["remark"] for name, row in rows.items()}
    assert remarks == {"A": "", "B & co": "no better than the mean", "mean": ""}


def test_what_must_be_said_of_the_data_is_in_every_form(table, measure, tmp_path):
    measure("a", "frechet", {"axial": 91.26})
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


def test_the_same_measurements_give_the_same_bytes_in_any_order(table, measure, tmp_path):
    measure("a", "reconstruction", {"l2": 0.04})
    measure("b", "reconstruction", {"l2": 0.03})
    _, _, out = written(table, measure, tmp_path)
    first = {suffix: out.with_suffix(suffix).read_bytes() for suffix in (".csv", ".md", ".tex")}
    measure.files.reverse()
    written(table, measure, tmp_path)
    assert first == {suffix: out.with_suffix(suffix).read_bytes() for suffix in first}
