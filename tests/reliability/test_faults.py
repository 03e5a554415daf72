"""Faults of disks and files: refused or redone, and named; the same command then just works."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genmorph.files import folder_hashes, read_json
from reliability.kills import process_of, wait_for
from support import SMOKE, TABLE, run_genmorph, run_snakemake

pytestmark = [pytest.mark.reliability, pytest.mark.workflow]

RUN = "results/runs/m3ae/beta_vae-3/simulated-all/seed-0"


@pytest.fixture
def copy(finished_study, tmp_path):
    """The finished checkout, to be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(finished_study, folder, symlinks=True)
    return folder


@contextlib.contextmanager
def tmpfs(place: Path, options: str):
    """A small disk of its own."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def recorded_command(folder: Path, output: str) -> list[str]:
    """The command line that made an output."""
    record = folder / "results/provenance" / f"{output.removeprefix('results/')}.json"
    return read_json(record)["arguments"]


def in_words(done) -> str:
    """What a command that failed said: an error, not a traceback."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    return done.stderr


def test_a_full_disk_is_named_and_leaves_nothing_half_written(copy):
    samples = copy / RUN / "samples"
    before = folder_hashes(samples)
    shutil.rmtree(samples)
    command = recorded_command(copy, f"{RUN}/samples/index.tsv")
    with tmpfs(samples, "size=8k"):
        said = in_words(run_genmorph(*command, folder=copy))
        assert "No space left on device" in said and "cure:" in said
        assert not (samples / "index.tsv").exists()
        assert not list(samples.rglob(".tmp-*"))
    assert run_genmorph(*command, folder=copy).returncode == 0
    assert folder_hashes(samples) == before


def test_a_file_that_may_not_grow_is_named_and_the_old_one_stays(copy):
    """As a quota does it."""
    weights = copy / RUN / "checkpoint/model.safetensors"
    before = weights.read_bytes()
    command = recorded_command(copy, f"{RUN}/checkpoint/{weights.name}")
    limit = 20_000
    assert len(before) > limit
    done = subprocess.run(
        [sys.executable, "-m", "genmorph", *command],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert "File too large" in in_words(done)
    assert weights.read_bytes() == before


def test_read_only_results_are_named(copy):
    command = recorded_command(copy, f"{RUN}/measures/diversity.json")
    measures = copy / RUN / "measures"
    kept = copy / "kept"
    shutil.move(measures, kept)
    with tmpfs(measures, "size=1m"):
        subprocess.run(["mount", "-o", "remount,ro", str(measures)], check=True)
        said = in_words(run_genmorph(*command, folder=copy))
    assert "Read-only file system" in said and "measures" in said


def test_the_second_of_two_workflows_on_one_folder_is_refused(copy):
    weights, log = f"{RUN}/checkpoint/model.safetensors", "results/logs/train_model"
    (copy / weights).unlink()
    command = [sys.executable, "-m", "snakemake", *SMOKE, "--", weights, TABLE]
    first = subprocess.Popen(
        command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(lambda: process_of(copy, f"{log}/m3ae-beta_vae-3-simulated-all-0.log"), first)
    second = run_snakemake(*SMOKE, "--", weights, TABLE, folder=copy)
    assert second.returncode != 0 and "another workflow is running" in second.text
    text, _ = first.communicate(timeout=1200)
    assert first.returncode == 0, text[-3000:]
    assert run_genmorph("audit", TABLE, folder=copy).returncode == 0


def test_a_store_cut_short_is_refused_and_named(copy):
    chunk = sorted((copy / RUN / "samples").rglob("c/*/0/0/0"))[0]
    chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
    command = recorded_command(copy, f"{RUN}/measures/diversity.json")
    said = in_words(run_genmorph(*command, folder=copy))
    assert "shard-0000.zarr" in said and "run the workflow again" in said
    # the cure works
    shutil.rmtree(copy / RUN / "samples")
    done = run_snakemake(*SMOKE, "--", f"{RUN}/samples/index.tsv", TABLE, folder=copy)
    assert done.returncode == 0, done.text[-3000:]
    assert run_genmorph("audit", TABLE, folder=copy).returncode == 0


def test_a_flipped_bit_in_a_checkpoint_is_refused_and_named(copy):
    weights = copy / RUN / "checkpoint/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-9] ^= 4
    weights.write_bytes(content)
    command = recorded_command(copy, f"{RUN}/samples/index.tsv")
    said = in_words(run_genmorph(*command, folder=copy))
    assert "model.safetensors" in said and "damaged" in said


def test_a_measurement_edited_by_hand_shows_in_the_audit(copy):
    measurement = copy / RUN / "measures/diversity.json"
    content = json.loads(measurement.read_text())
    key = sorted(content["values"])[0]
    content["values"][key] *= 0.5
    measurement.write_text(json.dumps(content, sort_keys=True, indent=2) + "\n")
    # Snakemake makes the table anew from it, and is content
    assert run_snakemake(*SMOKE, "--", TABLE, folder=copy).returncode == 0
    done = run_genmorph("audit", TABLE, folder=copy)
    assert done.returncode == 1
    assert f"{RUN}/measures/diversity.json".removeprefix("results/") in done.stdout
    assert "FAIL outputs" in done.stdout
