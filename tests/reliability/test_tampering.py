"""The audit tells what rests on a change, and raises no false alarm.

That it finds every change is counted by `make reliability`.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from support import SMOKE, run_genmorph, run_snakemake

pytestmark = pytest.mark.workflow

TABLE = "results/tables/m3ae_table1.csv"


@pytest.fixture
def copy(finished_study, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished_study, folder, symlinks=True)
    return folder


def test_no_alarm_on_a_clone_with_copied_results(finished_study, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(finished_study), str(clone)], check=True)
    shutil.rmtree(clone / "results", ignore_errors=True)
    shutil.copytree(finished_study / "results", clone / "results", copy_function=shutil.copyfile)
    done = run_genmorph("audit", folder=clone)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alarm_and_nothing_to_do_in_a_moved_folder(copy, tmp_path):
    moved = tmp_path / "elsewhere" / "project"
    moved.parent.mkdir()
    shutil.move(copy, moved)
    done = run_genmorph("audit", folder=moved)
    assert done.returncode == 0, done.stdout + done.stderr
    plan = run_snakemake(*SMOKE, "-n", "--", "all", folder=moved)
    assert "Nothing to be done" in plan.text, plan.text[-2000:]


def test_a_flipped_raw_byte_names_scan_shard_models_and_rows(copy):
    scan = sorted((copy / "results/raw/simulated").glob("sub-*/anat/*_T1w.nii.gz"))[0]
    content = bytearray(scan.read_bytes())
    content[len(content) // 2] ^= 1
    stat = scan.stat()
    scan.write_bytes(content)
    os.utime(scan, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    said = run_genmorph("audit", TABLE, folder=copy).stdout
    (broken,) = [line for line in said.splitlines() if line.startswith("FAIL")]
    assert broken.startswith("FAIL raw:") and scan.name in broken
    resting = dict(
        line.removeprefix("affected ").split(": ", 1)
        for line in said.splitlines()
        if line.startswith("affected ")
    )
    assert "shard-0000.tsv" in resting["preprocess"]
    assert "runs/m3ae/m3ae/simulated-all/seed-0/checkpoint" in resting["train"]
    assert "m3ae_table1.csv [M3AE]" in resting["table"]
