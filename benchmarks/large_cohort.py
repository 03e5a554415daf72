"""Forty thousand scans: what it costs to plan, to plan again, and to add ten.

    python benchmarks/large_cohort.py FOLDER --scans 40000

Makes a UK Biobank tree in FOLDER whose archives hold a few bytes in place of an image, with its
table, and asks Snakemake of this checkout, at scale `paper`, in turns of a process each:

- `fresh plan`       `snakemake -n all` before ingest: no shard is known yet
- `ingest`           the manifest, from the tree
- `plan`             `snakemake -n all` with the manifest at hand: every shard is a job
- `preprocessed`     the same when all shards are done (empty files stand for them)
- `ten more`         `snakemake -n` for the store after ten more scans came and ingest saw them;
                     the number of shards it would preprocess is printed

`--finished FOLDER --scale demo` times instead `snakemake all` on a checkout whose study is
finished: nothing is to be done. Wall time, processor time of all processes and the greatest memory
of one are printed; the first is of the machine as busy as it is.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

from genmorph.cohorts.manifest import read_manifest, shards
from genmorph.paths import Paths

PROJECT = Path(__file__).parents[1]
FIRST_EID = 1_000_000
RECIPE = "m3ae"


def main() -> None:
    """Make the tree, then time each step; or time a finished study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where tree and results lie")
    parser.add_argument("--scans", type=int, default=40_000)
    parser.add_argument("--finished", type=Path, help="a checkout whose study is finished")
    parser.add_argument("--scale", default="demo", help="scale of the finished study")
    words = parser.parse_args()
    if words.finished:
        local = ["--profile", "profiles/local", "--config", f"scale={words.scale}"]
        text = timed("no-op", [*local, "--", "all"], folder=words.finished)
        if "Nothing to be done" not in text:
            sys.exit(f"{words.finished}: its study is not finished")
        return
    folder = words.folder.resolve()
    overlay = make_cohort(folder, words.scans)
    paths = Paths(str(folder / "results"))
    snakemake = ["--profile", "profiles/local", "--configfile", str(overlay)]
    manifest = str(paths.fill("manifest", cohort="ukb"))
    index = str(paths.fill("index", cohort="ukb", recipe=RECIPE))

    timed("fresh plan", [*snakemake, "-n", "--", "all"])
    timed("ingest", [*snakemake, "--", manifest])
    text = timed("plan", [*snakemake, "-n", "--", "all"])
    print(f"  jobs: {jobs(text, 'total')}, shards: {jobs(text, 'preprocess_shard')}")
    pretend_preprocessed(paths)
    timed("touch", [*snakemake, "--touch", "--", index])
    timed("preprocessed", [*snakemake, "-n", "--", "all"])
    add_scans(folder / "raw", words.scans, 10)
    timed("ingest again", [*snakemake, "--", manifest])
    text = timed("ten more", [*snakemake, "-n", "--", index])
    print(f"  shards to preprocess: {jobs(text, 'preprocess_shard')}")


def timed(name: str, words: list[str], folder: Path = PROJECT) -> str:
    """Run Snakemake once and print what it took; its output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
    )
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{name}: {done.stdout[-3000:]}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # of the greatest child so far: the plans are measured before anything larger runs
    memory = after.ru_maxrss / 1024
    figures = f"{seconds:6.1f} s  processor {processor:6.1f} s  {memory:6.0f} MiB"
    print(f"{name:14} {figures}", flush=True)
    return done.stdout


def jobs(text: str, rule: str) -> int:
    """How many jobs of a rule a dry run tells of."""
    found = re.search(rf"^{rule}\s+(\d+)$", text, flags=re.M)
    return int(found[1]) if found else 0


def make_cohort(folder: Path, scans: int) -> Path:
    """A tree of archives and its table, anew; returns the configuration that reads it."""
    for name in ("raw", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
    raw = folder / "raw"
    raw.mkdir(parents=True)
    add_scans(raw, 0, scans)
    overlay = folder / "large.yaml"
    overlay.write_text(
        f"results: {folder / 'results'}\nscale: paper\n"
        f"cohorts: {{ukb: {{layout: ukb, root: {raw}}}}}\n"
        "studies: {m3ae: {cohort: ukb}, slice_vae: null}\n"
    )
    return overlay


def add_scans(raw: Path, first: int, count: int) -> None:
    """Archives of people `first` and on, and the table of everybody."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("T1/T1.nii.gz", b"no image")
    for number in range(first, first + count):
        (raw / f"{FIRST_EID + number}_20252_2_0.zip").write_bytes(packed.getvalue())
    rng = np.random.default_rng(0)
    lines = ["eid,31-0.0,21003-2.0,25010-2.0"]
    for number in range(first + count):
        sex, age, brain = rng.integers(2), rng.integers(45, 83), rng.normal(1.16e6, 1e5)
        lines.append(f"{FIRST_EID + number},{sex},{age},{brain:.0f}")
    (raw / "ukb_tables.csv").write_text("\n".join(lines) + "\n")


def pretend_preprocessed(paths: Paths) -> None:
    """Empty files and folders where shards and the store would lie."""
    scans = read_manifest(paths.fill("manifest", cohort="ukb"))
    where = {"cohort": "ukb", "recipe": RECIPE}
    for shard in shards(scans):
        for name in ("shard_array", "shard_mosaics"):
            paths.fill(name, shard=f"{shard:04d}", **where).mkdir(parents=True)
        paths.fill("shard_table", shard=f"{shard:04d}", **where).touch()
    for name in ("index", "store_description", "status"):
        paths.fill(name, **where).touch()


if __name__ == "__main__":
    main()
