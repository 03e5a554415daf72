"""The whole workflow at scale `smoke`: it runs, repeats, notices, and can be audited.

One finished run serves all tests; each that changes something works on a copy of the results.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import SMOKE, run_genmorph, run_snakemake

pytestmark = pytest.mark.workflow

LOCAL = SMOKE
TABLE = Path("results/tables/m3ae_table1.csv")
BETA = "overrides={m3ae: {m3ae: {beta: 4}}}"
LINKS = (  # of the chain from a scan to the table
    "results/raw/simulated/sub-*/anat/*_T1w.nii.gz",
    "results/preprocessed/simulated/m3ae/shard-0000.zarr/c/0/0/0/0",
    "results/runs/m3ae/m3ae/*/seed-0/checkpoint/model.safetensors",
    "results/runs/m3ae/m3ae/*/seed-0/samples/shard-0000.zarr/c/0/0/0/0",
    "results/runs/m3ae/m3ae/*/seed-0/measures/frechet.json",
    "results/tables/m3ae_table1.csv",
)


@pytest.fixture(scope="module")
def finished(finished_study, tmp_path_factory):
    """The finished checkout, for tests that change no result: Snakemake writes logs and locks."""
    folder = tmp_path_factory.mktemp("finished") / "project"
    return shutil.copytree(finished_study, folder, symlinks=True)


@pytest.fixture
def copy(finished_study, tmp_path):
    """The finished checkout, to be changed: time stamps kept."""
    return shutil.copytree(finished_study, tmp_path / "copy", symlinks=True)


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as stream:
        return {line["row"]: line for line in csv.DictReader(stream)}


def planned(text: str) -> set[str]:
    """Rules that a dry run would run."""
    return set(re.findall(r"^(\w+)\s+\d+$", text, flags=re.M)) - {"total", "all", "job"}


def flip(path: Path) -> None:
    """Change one byte and keep the time stamp."""
    stamp, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_every_promised_file_is_there(finished):
    results = finished / "results"
    for suffix in (".csv", ".md", ".tex"):
        assert (finished / TABLE).with_suffix(suffix).is_file()
    assert (results / "tables/m3ae_table1_cells.csv").is_file()
    for figure in (
        "preprocessed",
        "transforms",
        "samples_alpha_wgan",
        "samples_beta_vae",
        "samples_m3ae",
        "reconstructions",
        "training_curves",
        "traversals",
        "interpolation",
    ):
        for suffix in (".png", ".svg"):
            assert (results / f"figures/m3ae_{figure}{suffix}").stat().st_size > 1000
    notebook = json.loads((results / "notebooks/01_first_look.ipynb").read_text())
    assert any(cell.get("outputs") for cell in notebook["cells"])
    assert "M3AE" in (results / "notebooks/01_first_look.html").read_text()
    mosaics = list((results / "preprocessed/simulated/m3ae/mosaics").rglob("*.png"))
    assert len(mosaics) == 10


def test_the_table_is_measured_labelled_and_complete(finished):
    table = rows(finished / TABLE)
    assert table["M3AE"]["FID axial, reported"] == "82.2"
    assert table["M3AE"]["L2, reported"] == "0.047"
    measured = [key for key in table["M3AE"] if key.endswith("measured")]
    uncertain = [key for key in measured if "half-sample SD" in key]
    assert (len(measured), len(uncertain)) == (19, 6)
    assert all(math.isfinite(float(table["M3AE"][key])) for key in {*measured} - {*uncertain})
    # too few people for half-samples, and the table says so
    assert {table["M3AE"][key] for key in uncertain} == {"n/a"}
    notes = (finished / TABLE).with_suffix(".md").read_text()
    assert "No half-sample SD" in notes and "at least 20 are needed" in notes
    for fact in ("parameters", "steps", "volumes seen"):
        assert int(table["M3AE"][fact]) > 0
    assert table["M3AE"]["device"] == "cpu"
    assert table["reference: training mean image"]["steps"] == "n/a"
    assert "no ranking may be read from it" in table["M3AE"]["data"]
    assert table["βVAE (β = 6)"]["L2, reported"] == "n/a"
    assert table["αWGAN"]["L2, reported"] == "0.137"
    assert not any("FID" in key for key in measured)
    (key,) = (key for key in measured if key.startswith("FD (") and key.endswith("axial, measured"))
    assert "biased by n" in key
    for name in ("Validation set", "reference: voxel-shuffled scans"):
        assert table[name][key] != "n/a"
    # a scan voxel by voxel in disorder is further from scans than other scans are
    shuffled = float(table["reference: voxel-shuffled scans"][key])
    assert float(table["Validation set"][key]) < shuffled


def test_nothing_is_done_twice(finished):
    done = run_snakemake(*LOCAL, "-n", "--", "all", folder=finished)
    assert "Nothing to be done" in done.text, done.text[-3000:]
    # nor after a touch of everything that is not an output
    for path in (finished / "src").rglob("*.py"):
        path.touch()
    done = run_snakemake(*LOCAL, "-n", "--", "all", folder=finished)
    assert "Nothing to be done" in done.text, done.text[-3000:]
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=finished, capture_output=True, text=True
    )
    assert status.stdout == ""


def test_one_hyperparameter_reruns_one_run_and_what_shows_it(finished):
    done = run_snakemake(*LOCAL, BETA, "-n", "--", "all", folder=finished)
    assert planned(done.text) == {
        "train_model",
        "sample_run",
        "reconstruct_run",
        "measure_run",
        "make_table",
        "make_figure",
        "run_notebook",
    }, done.text[-3000:]
    counts = dict(re.findall(r"^(\w+)\s+(\d+)$", done.text, flags=re.M))
    assert counts["train_model"] == counts["sample_run"] == counts["reconstruct_run"] == "1"
    assert (counts["measure_run"], counts["make_table"], counts["make_figure"]) == ("3", "1", "6")


@pytest.mark.xdist_group("second_seed")  # minutes
def test_a_second_seed_adds_its_own_runs_and_the_table_shows_mean_and_sd(copy):
    two = (*LOCAL, "seeds=[0, 1]")
    plan = run_snakemake(*two, "-n", "--", str(TABLE), folder=copy).text
    assert planned(plan) == {
        "train_model",
        "sample_run",
        "reconstruct_run",
        "measure_run",
        "make_table",
    }
    assert set(re.findall(r"wildcards: study=.*seed=(\d+)", plan)) == {"1"}
    first = copy / "results/runs/m3ae/m3ae/simulated-all/seed-0/checkpoint/model.safetensors"
    stamp = first.stat().st_mtime_ns
    done = run_snakemake(*two, "--", str(TABLE), folder=copy)
    assert done.returncode == 0, done.text[-3000:]
    assert first.stat().st_mtime_ns == stamp
    row = rows(copy / TABLE)["M3AE"]
    assert re.fullmatch(r"0\.\d{4} ± 0\.\d{4}", row["L2, measured"])
    assert row["L2, reported"] == "0.047"
    assert "Mean ± SD over 2 seeds" in (copy / TABLE).with_suffix(".md").read_text()
    audit = run_genmorph("audit", str(TABLE), folder=copy)
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_changed_model_reruns_its_training_and_a_comment_does_not(copy):
    file = copy / "src/genmorph/models/m3ae.py"
    file.write_text(file.read_text() + "\n# a remark\n")
    done = run_snakemake(*LOCAL, "-n", "--", "all", folder=copy)
    assert "Nothing to be done" in done.text, done.text[-3000:]
    file.write_text(file.read_text() + "\nCHANGED = 1\n")
    done = run_snakemake(*LOCAL, "-n", "--", "all", folder=copy)
    assert "train_model" in planned(done.text)
    assert not planned(done.text) & {"preprocess_shard", "ingest_cohort", "simulate_cohort"}


def test_a_deleted_table_comes_back_with_the_same_bytes(copy):
    table = copy / TABLE
    before = {path.name: path.read_bytes() for path in table.parent.iterdir()}
    table.unlink()
    done = run_snakemake(*LOCAL, "--", str(TABLE), folder=copy)
    assert done.returncode == 0, done.text[-3000:]
    assert {path.name: path.read_bytes() for path in table.parent.iterdir()} == before


def one(folder: Path, pattern: str) -> Path:
    return sorted(path for path in folder.glob(pattern) if path.is_file())[0]


def test_one_changed_byte_of_any_link_is_found_and_named(copy):
    links = [one(copy, pattern) for pattern in LINKS]
    for path in links:
        flip(path)
    plan = run_snakemake(*LOCAL, "-n", "--", "all", folder=copy)
    assert "Nothing to be done" in plan.text  # why the audit exists
    for path in links:
        flip(path)
    for path in links:
        flip(path)
        done = run_genmorph("audit", str(TABLE), folder=copy)
        assert done.returncode == 1, done.stdout
        failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
        own = path.relative_to(copy / "results").as_posix().removeprefix("raw/simulated/")
        assert own in failed[0], failed
        flip(path)
    assert run_genmorph("audit", str(TABLE), folder=copy).returncode == 0


def test_one_cell_is_traced_to_its_scans(finished):
    done = run_genmorph("audit", str(TABLE), "--cell", "M3AE,L2", folder=finished)
    assert done.returncode == 0, done.stderr
    trace = json.loads(done.stdout)
    commands = [step["command"] for step in trace["chain"]]
    assert {
        "evaluate.reconstruction",
        "reconstruct",
        "train",
        "index",
        "preprocess",
        "ingest",
    } <= set(commands)
    assert (
        sum(step["raw_scans"] for step in trace["chain"] if step["command"] == "preprocess") == 10
    )


def test_uncommitted_code_is_named_and_exits_3(copy):
    (copy / "src/genmorph/py.typed").write_text("")
    (copy / TABLE).unlink()
    assert run_snakemake(*LOCAL, "--", str(TABLE), folder=copy).returncode == 0
    done = run_genmorph("audit", str(TABLE), folder=copy)
    assert done.returncode == 3, done.stdout
    assert "py.typed" in done.stdout


def test_another_scale_on_the_same_root_is_refused(finished):
    done = run_snakemake("-n", "all", "--config", "scale=demo", folder=finished)
    assert done.returncode != 0
    assert "holds scale 'smoke'" in done.text and "results=" in done.text


def test_a_second_workflow_on_the_same_results_is_refused(copy):
    (copy / TABLE).unlink()
    lock = copy / "results/.workflow.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl,time;f=open({str(lock)!r},'w');fcntl.flock(f,2);"
            "print('held',flush=True);time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        done = run_snakemake(*LOCAL, "--", str(TABLE), folder=copy)
        assert done.returncode != 0
        assert "another workflow is running" in done.text
        assert not (copy / TABLE).exists()
    finally:
        holder.kill()


@pytest.mark.xdist_group("new_scan")  # minutes
def test_a_new_scan_preprocesses_one_shard(copy):
    """A cohort read from disk that grows: known scans keep their shard."""
    raw = copy / "scans"
    shutil.copytree(copy / "results/raw/simulated", raw)
    for person in sorted(raw.glob("sub-*"))[5:]:
        shutil.rmtree(person)
    overlay = copy / "mine.yaml"
    overlay.write_text(
        "results: results/mine\ncohorts: {mine: {root: scans}}\n"
        "studies: {m3ae: {cohort: mine}, slice_vae: null}\npreprocessing: {shard_size: 4}\n"
    )
    words = ("--profile", "profiles/local", "--configfile", "mine.yaml", "--config", "scale=smoke")
    store = "results/mine/preprocessed/mine/m3ae/index.tsv"
    done = run_snakemake(*words, "--", store, folder=copy)
    assert done.returncode == 0, done.text[-3000:]
    first = (copy / "results/mine/preprocessed/mine/m3ae/shard-0000.tsv").stat().st_mtime_ns
    person = raw / "sub-0000" / "anat"  # sorts before everybody
    person.mkdir(parents=True)
    shutil.copy(one(raw, "sub-*/anat/*_T1w.nii.gz"), person / "sub-0000_T1w.nii.gz")
    with (raw / "participants.tsv").open("a") as table:
        table.write("sub-0000\n")
    done = run_snakemake(*words, "--", store, folder=copy)
    assert done.returncode == 0, done.text[-3000:]
    assert (copy / "results/mine/preprocessed/mine/m3ae/shard-0000.tsv").stat().st_mtime_ns == first
    assert "sub-0000" in (copy / "results/mine/preprocessed/mine/m3ae/shard-0001.tsv").read_text()
