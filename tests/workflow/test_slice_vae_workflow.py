"""P2 at scale `smoke`, from a simulated tree of the Human Connectome Project to its figures."""

from __future__ import annotations

import csv
import json
import re

import pytest

from genmorph.studies.slice_vae.tables import TABLES
from support import WHOLE, copy_project, run_genmorph, run_snakemake

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A fresh checkout in which the study has run."""
    folder = copy_project(tmp_path_factory.mktemp("slice_vae") / "project")
    done = run_snakemake(*WHOLE, "--", "slice_vae", folder=folder)
    assert done.returncode == 0, done.text[-5000:]
    return folder


def rows(path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as stream:
        return {line["row"]: line for line in csv.DictReader(stream)}


def test_its_tables_and_figures_are_there(finished):
    results = finished / "results"
    for suffix in (".csv", ".md", ".tex"):
        for table in ("table1", "beyond"):
            assert (results / f"tables/slice_vae_{table}{suffix}").is_file()
    for figure in ("samples", "segmentations", "atlas_scores", "interpolation"):
        for suffix in (".png", ".svg"):
            assert (results / f"figures/slice_vae_{figure}{suffix}").stat().st_size > 1000


def test_every_heading_names_its_grid_and_reported_numbers_stand_apart(finished):
    shown = rows(finished / "results/tables/slice_vae_table1.csv")
    titles = list(shown["slice VAE"])
    measured = [title for title in titles if title.endswith(", measured")]
    assert {re.search(r"at (\d+x\d+x\d+)", title)[1] for title in measured} == {
        "16x16x16",
        "24x24x24",
        "32x32x32",
    }
    reported = [title for title in titles if title.endswith(", reported")]
    assert {re.search(r"at (\d+x\d+x\d+)", title)[1] for title in reported} == {
        "64x64x64",
        "128x128x128",
        "256x256x256",
    }
    assert min(map(titles.index, reported)) > max(map(titles.index, measured))
    assert shown["slice VAE"]["MMD at 256x256x256, reported"] == "323233"
    assert shown["3D VAE GAN"]["MMD at 32x32x32, measured"] == "n/a"


def test_every_trained_model_is_measured_on_its_grids(finished):
    shown = rows(finished / "results/tables/slice_vae_table1.csv")
    notes = (finished / "results/tables/slice_vae_table1.md").read_text()
    for name, row in shown.items():
        assert float(row["MMD at 16x16x16, measured"]) >= 0
        similarity = row["MS-SSIM at 16x16x16, measured"]
        if similarity == "n/a":  # two steps of training: noise, whose similarity may be undefined
            assert re.search(rf"MS-SSIM: not defined for .*Rows: .*{re.escape(name)}", notes)
        else:
            assert 0 <= float(similarity) <= 1
    assert sum(row["MS-SSIM at 16x16x16, measured"] != "n/a" for row in shown.values()) >= 7
    beyond = rows(finished / "results/tables/slice_vae_beyond.csv")
    assert float(beyond["slice VAE"]["log p of held-out codes at 32x32x32, measured"])


def test_every_column_names_a_value_that_its_measure_has(finished):
    """Also of the tables of the search, which are not made unasked."""
    run = "results/runs/slice_vae/slice_vae-64/simulated_hcp-all/seed-0/measures"
    done = run_snakemake(*WHOLE, "--", f"{run}/validation_reconstruction.json", folder=finished)
    assert done.returncode == 0, done.text[-5000:]
    measured = [json.loads(path.read_text()) for path in (finished / run).glob("*.json")]
    of_kind = {each["measure"]: each for each in measured}
    # two steps of training make no segmenter that may score, and five people are too few to flag;
    # tissues and maps: test_evaluate_tissues.py
    unmeasured = ("atlas_score", "memorisation", "tissue_volumes", "vbm")
    compared = [
        (of_kind[column.measure][column.part], column)
        for table in TABLES.values()
        for column in table.columns
        if column.measure not in unmeasured
    ]
    assert len(compared) > 30
    for values, column in compared:
        assert column.key in values, (column.title, sorted(values))


def test_the_audit_trusts_its_tables(finished):
    for table in ("table1", "beyond"):
        done = run_genmorph("audit", f"results/tables/slice_vae_{table}.csv", folder=finished)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_done_twice(finished):
    done = run_snakemake(*WHOLE, "-n", "--", "slice_vae", folder=finished)
    assert "Nothing to be done" in done.text
