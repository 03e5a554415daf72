"""Count what the study survives and finds, and write it down.

    make reliability [QUICK=1]

runs the study once at scale `smoke` in a fresh checkout (or takes the finished one that
`GENMORPH_FINISHED_STUDY` names), then counts on copies of it: kills survived, tamperings found,
false alarms, faults, and damaged files that crashed a reader. The counts go to
`docs/reliability.json`, and from it comes `docs/reliability.md`; those of QUICK, which does few of
each, go to `build/`. A count that was asked for and not reached ends with status 1; what was not
counted this time is not written.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from reliability.kills import Kill, jobs_of, kill_at_random
from reliability.tampering import count_tampered
from support import DEMO, EVERY_RULE, PROJECT, SMOKE, WHOLE, finish_study, run_genmorph

NAME = "reliability.json"  # and .md
BUILD = PROJECT / "build"
FULL = {"kills": None, "demo_kills": 1, "tampered": 200, "fuzz": 10_000}
QUICK = {"kills": 3, "demo_kills": 0, "tampered": 20, "fuzz": 500}
SEED = 0
SHARES = ("kills", "demo_kills", "tampered", "faults")
PARTS = ("false_alarms", "tampered", "faults", "fuzz", "kills", "demo_kills")


def finish_whole(project: Path) -> Path:
    """A checkout beside another in which every rule has run."""
    return finish_study(project.with_name("whole"), WHOLE, EVERY_RULE)


def of_kills(kills: list[Kill], prefix: str = "") -> dict[str, Any]:
    """Kills survived, and what was lost with the others."""
    return {
        f"{prefix}kills": f"{sum(kill.survived for kill in kills)}/{len(kills)}",
        f"{prefix}lost": [
            f"{kill.job}, {kill.victim}: {kill.message}" for kill in kills if not kill.survived
        ],
    }


def count_kills(project: Path, folder: Path, n: int | None) -> dict[str, Any]:
    """Kills of one study's rules, or without `n` of every rule there is, twice."""
    line, targets = SMOKE, ("all",)
    if n is None:
        line, targets, project = WHOLE, EVERY_RULE, finish_whole(project)
        n = max(30, 2 * len(jobs_of(project, line, targets)))
    kills = kill_at_random(project, folder, n, SEED, line, BUILD / f"kills-{n}.json", targets)
    hit = Counter(kill.rule for kill in kills if kill.killed)
    return of_kills(kills) | {"kills_by_rule": dict(sorted(hit.items()))}


def count_demo_kills(project: Path, folder: Path, n: int) -> dict[str, Any]:
    """Kills on the study at scale `demo`, of which there are fewer: it takes minutes."""
    demo = finish_study(project.with_name("demo"), DEMO)
    kills = kill_at_random(demo, folder, n, SEED, DEMO, BUILD / f"kills-demo-{n}.json")
    return of_kills(kills, "demo_")


def count_found(project: Path, folder: Path, n: int) -> dict[str, Any]:
    copy = folder / "tampered"
    shutil.copytree(project, copy, symlinks=True)
    outcomes = count_tampered(copy, n, SEED)
    kinds = Counter(outcome.kind for outcome in outcomes)
    missed = [outcome for outcome in outcomes if not outcome.found]
    for outcome in missed:
        print("missed:", outcome, flush=True)
    return {
        "tampered": f"{len(outcomes) - len(missed)}/{len(outcomes)}",
        "tampered_by_kind": dict(sorted(kinds.items())),
        "missed": [f"{outcome.kind}: {', '.join(outcome.files)}" for outcome in missed],
    }


def count_false_alarms(studies: list[Path], folder: Path) -> dict[str, Any]:
    """Audits that alarm although nothing changed: as it is, cloned with copied results, moved."""
    alarms, places = 0, []
    for study in studies:
        clone = folder / "clone" / study.name
        subprocess.run(["git", "clone", "-q", str(study), str(clone)], check=True)
        shutil.rmtree(clone / "results", ignore_errors=True)
        shutil.copytree(study / "results", clone / "results", copy_function=shutil.copyfile)
        moved = folder / "moved" / study.name
        shutil.copytree(study, moved, symlinks=True)
        places += [study, clone, moved]
    for place in places:
        done = run_genmorph("audit", folder=place)
        alarms += done.returncode != 0
        if done.returncode:
            print(place, done.stdout, flush=True)
    return {"false_alarms": alarms, "audits_of_untouched_results": len(places)}


def run_tests(file: str, folder: Path, **environment: str) -> tuple[int, int, int, int]:
    """Tests of a file that ran, failed, and were skipped, and the inputs that they tell of."""
    report = folder / f"{Path(file).stem}.xml"
    command = [sys.executable, "-m", "pytest", file, "-q", f"--junitxml={report}"]
    command += ["-m", "reliability", "-p", "no:cacheprovider", "--timeout", "7200"]
    subprocess.run(command, cwd=PROJECT, env=os.environ | environment, check=False)
    if not report.is_file():
        raise SystemExit(f"{file}: its tests did not start")
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    ran, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    if ran == skipped:
        raise SystemExit(f"{file}: none of its tests ran")
    told = (entry for entry in suite.iter("property") if entry.get("name") == "inputs")
    return ran, failed, skipped, sum(int(entry.get("value")) for entry in told)


def count_faults(project: Path, folder: Path) -> dict[str, Any]:
    ran, failed, skipped, _ = run_tests(
        "tests/reliability/test_faults.py", folder, GENMORPH_FINISHED_STUDY=str(project)
    )
    return {
        "faults": f"{ran - failed - skipped}/{ran - skipped}",
        "faults_not_tried": skipped,  # where mounting a small disk is not allowed
    }


def count_crashes(folder: Path, n: int) -> dict[str, Any]:
    ran, failed, _, inputs = run_tests(
        "tests/reliability/test_fuzz_readers.py", folder, GENMORPH_FUZZ_INPUTS=str(n)
    )
    return {"fuzz_inputs": inputs, "fuzz_readers": ran, "fuzz_crashes": failed}


def page(counts: dict[str, Any]) -> str:
    """The counts in words."""
    rows = []
    for name, words in {
        "kills": "kill -9 of Snakemake, a job or a worker, at a random moment of a rule; survived "
        "when the same line then ends with the job's files and the tables of an undisturbed run, "
        "bit for bit but for wall times, and the audit trusts both",
        "demo_kills": "the same at scale `demo`",
        "tampered": "single random changes in the chain of a table; found when `genmorph audit` "
        "fails under the right code and names the change first",
        "false_alarms": "audits that fail although nothing changed: as it is, on a clone with "
        "copied results, in a moved folder",
        "faults": "full disk, quota, read-only results, two workflows on one folder, a store cut "
        "short, a flipped bit in a checkpoint, an edited measurement: refused or redone, and named",
        "fuzz_crashes": "readers of foreign files that did anything but read or refuse in words, "
        "over all damaged files",
    }.items():
        found = counts.get(name, "not counted yet")
        rows.append(f"| {name.replace('_', ' ')} | {found} | {words} |")
    kinds = counts.get("tampered_by_kind", {})
    rules = counts.get("kills_by_rule", {})
    commits = sorted(set(counts.get("commits", {}).values()))
    lines = [
        "# What the study survives and finds",
        "",
        "Made by `make reliability` from `reliability.json`; not written by hand.",
        "",
        "| what | count | meaning |",
        "| --- | --- | --- |",
        *rows,
        "",
        f"Damaged files tried: {counts.get('fuzz_inputs', 0)}, "
        f"on {counts.get('fuzz_readers', 0)} readers. "
        f"Faults that could not be tried here: {counts.get('faults_not_tried', 0)}.",
        "",
        "Changes by kind: " + (", ".join(f"{k} {n}" for k, n in kinds.items()) or "none") + ".",
        "",
        "Kills by rule: " + (", ".join(f"{k} {n}" for k, n in rules.items()) or "none") + ".",
        "",
        f"Counted at commit {', '.join(commits)}."
        if commits
        else "Counted before the commit was written down; the code has changed since.",
        "",
        "What a cluster does to jobs (time limit, `scancel`, requeue, a drained node) is tried by "
        "`make test-slurm` and counted in [cluster.md](cluster.md#what-a-cluster-does-to-jobs). "
        "What the audit cannot see stands in [provenance.md](provenance.md).",
    ]
    return "\n".join(lines) + "\n"


def commit() -> str:
    """What is counted: a count says nothing of code that came later."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True
    )
    return done.stdout.strip() or "outside git"


def all_reached(counts: dict[str, Any]) -> bool:
    """Whether every count is what was asked for."""
    shares = [counts[name] for name in SHARES if name in counts]
    wrong = counts.get("false_alarms", 0) + counts.get("fuzz_crashes", 0)
    return not wrong and all(re.fullmatch(r"(\d+)/\1", share) for share in shares)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 kills, 20 changes, 500 inputs")
    parser.add_argument("--only", choices=PARTS, action="append", help="count only this")
    arguments = parser.parse_args()
    asked, parts = QUICK if arguments.quick else FULL, arguments.only or PARTS
    counted_at = commit()  # before the counts are written into the checkout
    BUILD.mkdir(exist_ok=True)
    place = BUILD if arguments.quick else PROJECT / "docs"
    file = place / NAME
    counts = json.loads(file.read_text()) if file.is_file() and arguments.only else {}
    with tempfile.TemporaryDirectory(prefix="genmorph-reliability-") as made:
        folder = Path(made).resolve()
        if set(parts) - {"fuzz"}:
            there = os.environ.get("GENMORPH_FINISHED_STUDY")
            project = finish_study(Path(there).resolve() if there else folder / "project")
        ways = {
            "kills": lambda: count_kills(project, folder, asked["kills"]),
            "demo_kills": lambda: count_demo_kills(project, folder, asked["demo_kills"]),
            "tampered": lambda: count_found(project, folder, asked["tampered"]),
            "false_alarms": lambda: count_false_alarms(
                [project] if arguments.quick else [project, finish_whole(project)], folder
            ),
            "faults": lambda: count_faults(project, folder),
            "fuzz": lambda: count_crashes(folder, asked["fuzz"]),
        }
        for part in parts:
            if asked.get(part) != 0:
                counts |= ways[part]()
                counts["commits"] = counts.get("commits", {}) | {part: counted_at}
            # after each: the whole of it takes an hour
            file.write_text(json.dumps(counts, indent=2, sort_keys=True) + "\n")
            file.with_suffix(".md").write_text(page(counts))
    print(page(counts))
    return 0 if all_reached(counts) else 1


if __name__ == "__main__":
    sys.exit(main())
