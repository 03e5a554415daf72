"""The Slurm that the other tests use: GPUs are counted, and it goes as it came."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from slurm import cluster
from support import PROJECT

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


def test_a_job_waits_for_free_gpus(slurm, tmp_path):
    script = f"echo $CUDA_VISIBLE_DEVICES > {tmp_path}/$SLURM_JOB_ID; sleep 8"
    jobs = [slurm.submit(script, tmp_path / "log", "--gpus=fake:2") for _ in range(3)]
    slurm.wait_until(lambda: slurm.state(jobs[1]) == "RUNNING")
    assert slurm.state(jobs[2]) == "PENDING"
    slurm.wait_until(lambda: slurm.state(jobs[2]) == "COMPLETED")
    assert [(tmp_path / job).read_text().strip() for job in jobs[:2]] == ["0,1", "2,3"]
    assert slurm.job(jobs[2])["StartTime"] >= slurm.job(jobs[0])["EndTime"]


def test_it_stops_what_it_started_and_nothing_else(slurm):
    """As by hand: another Slurm beside the one that the tests use."""
    script = Path(cluster.__file__)
    folder = Path(tempfile.mkdtemp(prefix="genmorph-slurm-"))
    try:
        subprocess.run([sys.executable, script, "start", folder], check=True, capture_output=True)
        pids = [
            int((folder / name).read_text())
            for name in ("slurmctld.pid", "slurmd.pid", "munge/munged.pid")
        ]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        again = subprocess.run(
            [sys.executable, script, "start", folder], capture_output=True, text=True
        )
        assert again.returncode == 1 and "holds a Slurm already" in again.stderr
        subprocess.run([sys.executable, script, "stop", folder], check=True)
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        ours = int((slurm.folder / "slurmctld.pid").read_text())
        assert Path(f"/proc/{ours}").exists()
    finally:
        cluster.stop(folder)
        shutil.rmtree(folder)


def test_another_process_under_an_old_id_is_left_alone(tmp_path):
    (tmp_path / "slurmd.pid").write_text(str(os.getpid()))
    cluster.stop(tmp_path)  # would end this test


@pytest.mark.parametrize("user", [0, 1000])
def test_where_it_cannot_be_installed_it_says_what_to_do(monkeypatch, user):
    monkeypatch.setattr(cluster, "_found", lambda name: None)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    failed = subprocess.CompletedProcess([], 100, stderr="no network")
    monkeypatch.setattr(subprocess, "run", lambda *words, **how: failed)
    monkeypatch.setattr(shutil, "which", lambda name, **how: f"/usr/bin/{name}")
    with pytest.raises(cluster.ClusterError, match="apt-get install slurm-wlm munge") as error:
        cluster.require_programs()
    assert ("no network" in str(error.value)) == (user == 0)


def test_tests_fail_where_no_slurm_comes_up(tmp_path):
    for name in (*cluster.PROGRAMS, "scancel"):
        (tmp_path / name).write_text("#!/bin/sh\necho no daemon today\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    words = ["-m", "slurm", "-k", "waits_for_free_gpus", "-n0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, *words],
        cwd=PROJECT,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "munged did not start" in done.stdout, done.stdout
    assert "no daemon today" in done.stdout
