"""The study on Slurm: the table of a local run, GPUs that are asked for, a job that is cancelled.

One checkout serves all: a local run and one through Slurm, in two results roots.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import run_genmorph, run_snakemake, without_seconds

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.xdist_group("slurm"),
    pytest.mark.timeout(5400),  # sixty jobs, each of which starts Snakemake twice
]

SLURM = ("--profile", "slurm", "--profile", "profiles/test")
HERE, THERE = "results", "results_slurm"
RUN = Path("runs/m3ae/m3ae/simulated-all/seed-0")
# steps enough that there is time to cancel
LONGER = "overrides={m3ae: {m3ae: {epochs: 40}}}"


def config(results: str, *more: str) -> tuple[str, ...]:
    return ("--config", "scale=smoke", f"results={results}", *more)


@pytest.fixture(scope="module")
def project(finished_study, tmp_path_factory):
    """A fresh checkout in which the study has run without Slurm."""
    folder = tmp_path_factory.mktemp("slurm") / "project"
    return shutil.copytree(finished_study, folder, symlinks=True)


def test_the_table_is_that_of_a_local_run(slurm, project):
    done = run_snakemake(*SLURM, *config(THERE), "--", "m3ae", folder=project)
    assert done.returncode == 0, done.text[-5000:]
    jobs = set(re.findall(r"submitted with SLURM jobid (\d+)", done.text))
    assert len(jobs) >= 50  # all but the named target
    here, there = project / HERE, project / THERE
    tables = [path.name for path in (there / "tables").iterdir()]
    assert "m3ae_table1.csv" in tables
    for name in tables:  # the wall time of training is measured, and no result
        if name.endswith((".csv", ".md")):
            ours, theirs = there / "tables" / name, here / "tables" / name
            assert without_seconds(ours) == without_seconds(theirs), name
    exact = [*(there / "figures").iterdir()]
    exact += [
        *there.rglob("model.safetensors"),
        *there.rglob("index.tsv"),
        *there.rglob("*/metrics.csv"),
    ]
    assert len(exact) > 40
    for path in exact:
        name = path.relative_to(there)
        assert (here / name).read_bytes() == path.read_bytes(), name
    audit = run_genmorph("audit", f"{THERE}/tables/m3ae_table1.csv", folder=project)
    assert audit.returncode == 0, audit.stdout + audit.stderr


PARTITIONS = """\
partitions:
  cpu: {max_runtime: 10000, max_mem_mb: 60000, max_threads: 8}
  gpu: {max_runtime: 10000, max_mem_mb: 60000, max_threads: 8, max_gpu: 4,
        available_gpu_models: [fake]}
"""
STAND_IN = """\
import os, pathlib, subprocess, sys
squeue = ["squeue", "--noheader", "--jobs", os.environ["SLURM_JOB_ID"], "--Format=tres-per-job:40"]
with open({seen!r}, "w") as seen:
    for name in ("SLURM_JOB_PARTITION", "CUDA_VISIBLE_DEVICES"):
        print(f"{{name}}={{os.environ.get(name)}}", file=seen, flush=True)
    subprocess.run(squeue, stdout=seen, check=True)
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
for made in (out, out.with_name("metrics.csv"), out.with_name("training.json")):
    made.touch()
"""


@pytest.mark.parametrize("model", [None, "fake"])
def test_training_asks_for_a_gpu_where_the_device_is_cuda(slurm, project, tmp_path, model):
    """There is no GPU: a stand-in for the command says where it was started."""
    (project / "partitions.yaml").write_text(PARTITIONS)
    command, seen = project / "src/genmorph/__main__.py", tmp_path / "seen"
    real = command.read_text()
    command.write_text(STAND_IN.format(seen=str(seen)))
    wanted = "compute={device: cuda" + (f", gpu_model: {model}}}" if model else "}")
    target = f"{HERE}/{RUN}/checkpoint/model.safetensors"
    kept = (project / target).read_bytes()
    try:
        done = run_snakemake(
            *SLURM, "--slurm-partition-config", "partitions.yaml", *config(HERE, wanted),
            "--forcerun", "train_model", "--", target,
            folder=project,
        )  # fmt: skip
        assert done.returncode == 0, done.text[-3000:]
    finally:
        command.write_text(real)
        (project / target).write_bytes(kept)
    said = seen.read_text()
    assert "SLURM_JOB_PARTITION=gpu\n" in said
    assert "CUDA_VISIBLE_DEVICES=0\n" in said
    assert re.search(r"gres:gpu:fake:1" if model else r"gres:gpu:1", said), said


def test_without_a_gpu_device_none_is_asked_for(project):
    done = run_snakemake(
        *SLURM, "-n", "--forcerun", "train_model", *config(HERE),
        "--", f"{HERE}/{RUN}/checkpoint/model.safetensors",
        folder=project,
    )  # fmt: skip
    assert "train_model" in done.text
    assert "gpu=" not in done.text and "gres" not in done.text


def test_a_cancelled_job_is_sent_again_and_ends_alike(slurm, project):
    """Snakemake, left alone, brings the study to its end: with the weights of a local run."""
    weights = Path(RUN, "checkpoint/model.safetensors")
    local = run_snakemake(
        "--profile", "profiles/local", *config(HERE, LONGER), "--", f"{HERE}/{weights}",
        folder=project,
    )  # fmt: skip
    assert local.returncode == 0, local.text[-3000:]
    words = [*SLURM, *config(THERE, LONGER), "--", f"{THERE}/{weights}"]
    workflow = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *words],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        began = project / THERE / RUN / "state"
        slurm.wait_until(lambda: any(began.glob("*/metrics.csv")), 900, "training begins")
        subprocess.run(["scancel", "--state=RUNNING", f"--user={os.getuid()}"], check=True)
        said, _ = workflow.communicate(timeout=1800)
    finally:
        workflow.kill()
    assert workflow.returncode == 0, said[-3000:]
    assert "CANCELLED" in said and "Trying to restart job" in said
    log = next((project / THERE / "logs/train_model").glob("m3ae-m3ae-*.log")).read_text()
    assert "going on from step" in log
    assert (project / THERE / weights).read_bytes() == (project / HERE / weights).read_bytes()
