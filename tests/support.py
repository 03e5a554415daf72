"""What tests of the whole workflow share: a fresh checkout, and how to run it."""

from __future__ import annotations

import csv
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[1]
WHOLE = ("--profile", "profiles/local", "--config", "scale=smoke")
# one study: the others' tests are their own
SMOKE = (*WHOLE, "studies={slice_vae: null}")
DEMO = ("--profile", "profiles/local", "--config", "studies={slice_vae: null}")
TABLE = "results/tables/m3ae_table1.csv"
# with `all`, every rule: what `all` leaves to those who ask for it
_SCANS = "results/runs/slice_vae/training_scans-256/simulated_hcp-all/seed-0/measures"
EVERY_RULE = (
    "all",
    "controls",
    *(f"{_SCANS}/{measure}.json" for measure in ("tissue_volumes", "vbm", "memorisation")),
)


def project_files(*below: str, project: Path = PROJECT) -> list[str]:
    """Files of a checkout that git does not ignore, or those below some places of it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *below],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return sorted(name for name in listed if (project / name).exists())


def copy_project(folder: Path) -> Path:
    """A committed checkout without results, as a fresh clone is."""
    for name in project_files():
        source, target = PROJECT / name, folder / name
        if not name.startswith("results/"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it stands"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True)
    return folder


def finish_study(
    folder: Path, line: Sequence[str] = SMOKE, targets: Sequence[str] = ("all",)
) -> Path:
    """A fresh checkout in which a study has run; one that is there is taken."""
    finished = folder.with_name(f"{folder.name}.finished")
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others may want it at the same time
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            copy_project(folder)
            done = run_snakemake(*line, "--", *targets, folder=folder)
            assert done.returncode == 0, done.text[-5000:]
            finished.touch()
    return folder


def run_snakemake(*words: str, folder: Path = PROJECT, **environment: str):
    """Run Snakemake in a checkout; the result has `returncode` and the joined `text`."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
    )
    done.text = done.stdout
    return done


def run_genmorph(*words: str, folder: Path = PROJECT):
    """Run the command line with a checkout's own code."""
    return subprocess.run(
        [sys.executable, "-m", "genmorph", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
    )


def without_seconds(path: Path) -> list[list[str]]:
    """Cells of a table's file, less wall times, which a repeated training does not share."""
    with path.open(newline="") as stream:
        if path.suffix == ".csv":
            lines = [list(line) for line in csv.reader(stream)]
        else:
            separator = "|" if path.suffix == ".md" else "&"
            lines = [line.split(separator) for line in stream]
    if path.stem.endswith("_cells"):
        return [line for line in lines if not any(map(_is_clock, line))]
    header = next((line for line in lines if any(map(_is_clock, line))), [])
    clocks = {number for number, word in enumerate(header) if _is_clock(word)}
    return [
        [word for number, word in enumerate(line) if number not in clocks or len(line) == 1]
        for line in lines
    ]


def _is_clock(heading: str) -> bool:
    """Whether a column holds wall times: `seconds`, or `seconds at 16x16x16`."""
    return heading.strip().split(" at ")[0] == "seconds"
