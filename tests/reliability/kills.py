"""kill -9 of Snakemake, of a job, of a worker, at random moments; then the same line again.

A finished study is the undisturbed one. For each kill, what one job made is removed from a copy,
the workflow is started, and once that job runs, the victim is killed somewhere within the time
that the job takes. The kill is survived when the same line then ends well, nothing half-written is
left, what the job makes and every table are, but for wall times, bit for bit those of the
undisturbed study, and the audit trusts the table and what the job makes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from genmorph.files import digest, read_json, sha256_file
from support import PROJECT, TABLE, project_files, run_genmorph, run_snakemake, without_seconds

VICTIMS = ("snakemake", "job", "worker")
START_SECONDS = 600  # a job that has not started by then never will
SHOW_SECONDS = {".ipynb", ".html"}  # a notebook shows tables, and those show wall times
ATTEMPTS = 5  # a job may end before its moment comes: then again, at an earlier one
# what decides what is killed and how
CODE = (
    *("src", "Snakefile", "rules", "profiles", "config.yaml", "notebooks"),
    *("envs/requirements.lock", "tests/reliability/kills.py", "tests/support.py"),
)


@dataclass(frozen=True)
class Job:
    """A job of the finished study; it is known by its log."""

    rule: str
    log: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Kill:
    """One kill and what came of it."""

    rule: str
    job: str
    victim: str
    killed: bool
    survived: bool
    message: str


def kill_at_random(
    finished: Path,
    folder: Path,
    n: int,
    seed: int,
    line: Sequence[str],
    journal: Path,
    targets: Sequence[str] = ("all",),
) -> list[Kill]:
    """Kill `n` times, each in a copy of its own.

    Parameters
    ----------
    finished : Path
        A checkout in which the study has run undisturbed.
    folder : Path
        Where copies are made, and removed again.
    n, seed : int
    line : sequence of str
        Snakemake's profile and configuration that the study was run with.
    journal : Path
        Kills that are done: they take minutes each, so a run that was cut short goes on. One of
        other code begins anew, as does one after all are done.
    targets : sequence of str
        What of the study has run: one of its jobs is hit.

    Returns
    -------
    list of Kill
        Rules in turn: with twice as many kills as there are rules, each is hit twice, by two
        victims where its job has workers.
    """
    code = code_hash(str(seed), *line, *targets)
    done = json.loads(journal.read_text()) if journal.is_file() else {}
    kills = [Kill(**kill) for kill in done["kills"]] if done.get("code") == code else []
    jobs = jobs_of(finished, line, targets)
    order = random.Random(seed).sample(sorted(jobs), len(jobs))
    for number in range(len(kills), n):
        rng = random.Random(f"{seed} {number}")
        job = rng.choice(jobs[order[number % len(order)]])
        victim = VICTIMS[(number + number // len(order)) % len(VICTIMS)]
        copy = folder / f"kill-{number:02d}"
        shutil.copytree(finished, copy, symlinks=True)
        kills.append(_kill(finished, copy, job, victim, rng, line))
        print(kills[-1], flush=True)
        shutil.rmtree(copy)
        journal.write_text(json.dumps({"code": code, "kills": [asdict(kill) for kill in kills]}))
    journal.unlink(missing_ok=True)
    return kills[:n]


def code_hash(*more: str, project: Path = PROJECT) -> str:
    """One hash for what is killed and how."""
    files = project_files(*CODE, project=project)
    return digest([more, {name: sha256_file(project / name) for name in files}])


def jobs_of(
    finished: Path, line: Sequence[str], targets: Sequence[str] = ("all",)
) -> dict[str, list[Job]]:
    """Jobs of a finished study by rule, as Snakemake lists them."""
    done = run_snakemake(*line, "--summary", "--", *targets, folder=finished)
    assert done.returncode == 0, done.text[-3000:]
    outputs = defaultdict(list)
    for words in (text.split("\t") for text in done.text.splitlines()):
        if len(words) == 6 and words[0].startswith("results/"):
            outputs[words[2], words[3]].append(words[0])
    jobs = defaultdict(list)
    for (rule, log), files in sorted(outputs.items()):
        jobs[rule].append(Job(rule, log, tuple(files)))
    return jobs


def records_of(finished: Path, job: Job) -> dict[Path, str]:
    """Records of what a job made, below the checkout, and an output that each describes."""
    return {
        file.relative_to(finished): output
        for file in sorted((finished / "results/provenance").rglob("*.json"))
        for entry in read_json(file)["outputs"]
        if (output := f"results/{entry['path']}") in job.outputs
    }


def _kill(
    finished: Path, copy: Path, job: Job, victim: str, rng: random.Random, line: Sequence[str]
) -> Kill:
    targets = ["--", *job.outputs, "tables"]
    records = records_of(finished, job)
    for attempt in range(ATTEMPTS):
        for name in (*job.outputs, *records):  # an old record would pass for that of the rerun
            path = copy / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *line, *targets],
            cwd=copy,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: process_of(copy, job.log), process)
        time.sleep(rng.uniform(0, 0.9) * _seconds(finished, job) / 2**attempt)
        killed = (pid := process_of(copy, job.log)) is not None
        if killed:
            workers = _workers_of(pid)
            if victim == "worker" and not workers:
                victim = "job"  # it does its work itself
            pids = {"snakemake": [process.pid], "job": [pid], "worker": workers}
            _kill_hard(pids[victim][-1])
        else:
            _kill_hard(process.pid)
        process.wait(timeout=3600)
        _wait_until_quiet(copy)
        if killed:
            break
    label = Path(job.log).stem
    if not killed:
        return Kill(job.rule, label, victim, False, False, "it always ended before its moment")
    done = run_snakemake(*line, *targets, folder=copy)
    if done.returncode:
        return Kill(job.rule, label, victim, True, False, done.text[-1000:])
    wrong = differing_tables(finished, copy) + differing_outputs(finished, copy, job)
    wrong += [str(path) for path in (copy / "results").rglob(".tmp-*")]
    # the table's chain with every byte; of the job's own, which is seldom in it, the links
    for words in ([TABLE], *(["--fast", output] for output in records.values())):
        audit = run_genmorph("audit", *words, folder=copy)
        if audit.returncode:
            wrong.append(audit.stdout[-1000:])
    message = "; ".join(wrong)
    return Kill(job.rule, label, victim, True, not message, message)


def differing_tables(one: Path, other: Path) -> list[str]:
    """Files of tables that are not the same in two checkouts, wall times apart."""
    tables = sorted(path for path in (one / "results/tables").iterdir() if path.is_file())
    assert tables, f"{one}: no tables"
    return [
        path.name
        for path in tables
        if without_seconds(path) != without_seconds(other / "results/tables" / path.name)
    ]


def differing_outputs(one: Path, other: Path, job: Job) -> list[str]:
    """Files of a job that are not the same in two checkouts, wall times apart."""
    files = [
        path.relative_to(one)
        for name in job.outputs
        for path in ([one / name] if (one / name).is_file() else (one / name).rglob("*"))
        if path.is_file() and path.suffix not in SHOW_SECONDS
    ]
    return [
        str(file)
        for file in files
        if not (other / file).is_file() or _content(one / file) != _content(other / file)
    ]


def _content(path: Path) -> object:
    if path.parent.name == "tables":
        return without_seconds(path)
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        return {name: value for name, value in content.items() if name != "seconds"}
    return path.read_bytes()


def _kill_hard(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _seconds(finished: Path, job: Job) -> float:
    """How long the job took undisturbed, from its benchmark."""
    name = job.log.replace("/logs/", "/benchmarks/").removesuffix(".log") + ".tsv"
    return float((finished / name).read_text().splitlines()[1].split("\t")[0])


def process_of(folder: Path, log: str) -> int | None:
    """The process of the study's command that writes a log."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and (entry / "fd/1").readlink() == folder / log
                and any(text.endswith("genmorph") for text in _words(int(entry.name))[:4])
            ):
                return int(entry.name)
    return None


def _workers_of(pid: int) -> list[int]:
    """Processes among which a job shares its work out, as `multiprocessing` spawns them."""
    children = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(
        child
        for child in children
        if _parent(child) == pid and any("spawn_main" in text for text in _words(child))
    )


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


def wait_for(found: Callable[[], int | None], process: subprocess.Popen) -> int | None:
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
