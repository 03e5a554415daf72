"""kill -9 of Snakemake, of a job, of a worker, at random moments; then the same line again.

A finished study is the undisturbed one. For each kill, what one rule made is removed from a copy,
the workflow is started, and once that rule runs, the victim is killed somewhere within the time
that the rule takes. The kill is survived when the same line then ends well and every table is, but
for wall times, bit for bit that of the undisturbed study.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support import SMOKE, run_snakemake, without_seconds

TABLE = "results/tables/m3ae_table1.csv"
RUNS = "results/runs/m3ae"
STORE = "results/preprocessed/simulated/m3ae"
# rule, word of its command line, file asked for, and what is removed so that it runs again
RULES = (
    ("simulate_cohort", "simulate", "results/raw/simulated", "results/raw/simulated"),
    (
        "ingest_cohort",
        "ingest",
        "results/cohorts/simulated/manifest.tsv",
        "results/cohorts/simulated/*.tsv",
    ),
    ("preprocess_shard", "preprocess", f"{STORE}/shard-0000.tsv", f"{STORE}/shard-0000.*"),
    ("index_store", "index", f"{STORE}/index.tsv", f"{STORE}/index.tsv"),
    (
        "train_model",
        "train",
        f"{RUNS}/m3ae/simulated-all/seed-0/checkpoint/model.safetensors",
        f"{RUNS}/m3ae/simulated-all/seed-0/checkpoint",
    ),
    (
        "sample_run",
        "sample",
        f"{RUNS}/beta_vae-3/simulated-all/seed-0/samples/index.tsv",
        f"{RUNS}/beta_vae-3/simulated-all/seed-0/samples",
    ),
    (
        "reconstruct_run",
        "reconstruct",
        f"{RUNS}/beta_vae-6/simulated-all/seed-0/reconstructions/index.tsv",
        f"{RUNS}/beta_vae-6/simulated-all/seed-0/reconstructions",
    ),
    (
        "measure_run",
        "evaluate",
        f"{RUNS}/m3ae/simulated-all/seed-0/measures/frechet.json",
        f"{RUNS}/m3ae/simulated-all/seed-0/measures/frechet.json",
    ),
    ("make_table", "table", TABLE, "results/tables/m3ae_table1.*"),
    (
        "make_figure",
        "figure",
        "results/figures/m3ae_samples_m3ae.png",
        "results/figures/m3ae_samples_m3ae.*",
    ),
)
VICTIMS = ("snakemake", "job", "worker")
START_SECONDS = 600  # a rule that has not started by then never will


@dataclass(frozen=True)
class Kill:
    """One kill and what came of it."""

    rule: str
    victim: str
    killed: bool
    survived: bool
    message: str


def kill_at_random(finished: Path, folder: Path, n: int, seed: int) -> list[Kill]:
    """Kill `n` times, each in a copy of its own.

    Parameters
    ----------
    finished : Path
        A checkout in which the study has run undisturbed.
    folder : Path
        Where copies are made, and removed again.
    n, seed : int

    Returns
    -------
    list of Kill
        Rules in turn, so that with 30 kills each is hit three times, by each victim.
    """
    rng = random.Random(seed)
    order = rng.sample(RULES, len(RULES))
    kills = []
    for number in range(n):
        rule = order[number % len(order)]
        victim = VICTIMS[(number + number // len(order)) % len(VICTIMS)]
        copy = folder / f"kill-{number:02d}"
        shutil.copytree(finished, copy, symlinks=True)
        kills.append(_kill(finished, copy, rule, victim, rng))
        shutil.rmtree(copy)
    return kills


def _kill(
    finished: Path, copy: Path, rule: tuple[str, str, str, str], victim: str, rng: random.Random
) -> Kill:
    name, word, target, pattern = rule
    targets = [target, TABLE]
    for path in copy.glob(pattern):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    delay = rng.uniform(0, 0.6) * _seconds(finished, name)
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *SMOKE, "--", *targets],
        cwd=copy,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    job = _wait_for(lambda: _jobs(copy, word), process)
    time.sleep(delay)
    workers = [pid for pid in _of_folder(copy) if _parent(pid) == job]
    pids = {"snakemake": process.pid, "job": job, "worker": workers[0] if workers else job}
    # a job that has just ended by itself: then the workflow, which goes on
    killed = any(_killed(pid) for pid in (pids[victim], process.pid) if process.poll() is None)
    process.wait(timeout=3600)
    if not killed:
        return Kill(name, victim, False, False, "its process was not found, so nothing was killed")
    _wait_until_quiet(copy)
    done = run_snakemake(*SMOKE, "--", *targets, folder=copy)
    if done.returncode:
        return Kill(name, victim, killed, False, done.text[-1000:])
    left = [str(path) for path in (copy / "results").rglob(".tmp-*")]
    message = "; ".join([*differing_tables(finished, copy), *left])
    return Kill(name, victim, killed, killed and not message, message)


def differing_tables(one: Path, other: Path) -> list[str]:
    """Files of tables that are not the same in two checkouts, wall times apart."""
    names = sorted(path.name for path in (one / "results/tables").glob("m3ae_*"))
    return [
        name
        for name in names
        if without_seconds(one / "results/tables" / name)
        != without_seconds(other / "results/tables" / name)
    ]


def _killed(pid: int | None) -> bool:
    """Kill a process; whether there was one."""
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _seconds(finished: Path, rule: str) -> float:
    """How long the rule's shortest job takes, from its benchmarks: a kill must not come late."""
    taken = [
        float(path.read_text().splitlines()[1].split("\t")[0])
        for path in (finished / "results/benchmarks" / rule).glob("*.tsv")
    ]
    return min(taken, default=1.0)


def _jobs(folder: Path, word: str) -> int | None:
    """A process of a checkout that runs one of the study's commands."""
    for pid in _of_folder(folder):
        words = _words(pid)
        if word in words and any(text.endswith("genmorph") for text in words[:3]):
            return pid
    return None


def _of_folder(folder: Path) -> list[int]:
    """Processes whose working folder is a checkout."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
    return found


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    return []


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[1])
    return -1


def _wait_for(found: Callable[[], int | None], process: subprocess.Popen) -> int | None:
    """What a search finds, as soon as it does; None when the workflow ends before."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (pid := found()) is not None:
            return pid
        time.sleep(0.02)
    return None


def _wait_until_quiet(folder: Path) -> None:
    """Wait until no process of a killed workflow is left: they die with it."""
    deadline = time.monotonic() + 60
    while _of_folder(folder):
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes outlive their workflow: {_of_folder(folder)}")
        time.sleep(0.1)
