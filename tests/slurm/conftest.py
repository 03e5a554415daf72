"""One Slurm for all tests of this folder, on this machine; they fail where it cannot be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from slurm.cluster import ClusterError, start, stop


class Slurm:
    """The running cluster: what tests ask of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def submit(self, script: str, log: Path, *options: str) -> str:
        """Submit a shell script; the id of its job."""
        words = ["sbatch", "--parsable", f"--output={log}", "--mem=100", "--time=60", *options]
        return run(*words, "--wrap", script).strip()

    def job(self, number: str) -> dict[str, str]:
        """What the controller knows of a job: `JobState`, `ExitCode`, `Restarts`, ..."""
        words = run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, number: str) -> str:
        """A job's state: PENDING, RUNNING, COMPLETED, FAILED, ..."""
        return self.job(number)["JobState"]

    def node_state(self) -> str:
        """idle, mixed, down, drained, ..."""
        return run("sinfo", "--noheader", "--format=%T", "--partition=cpu").strip()

    def set_node(self, state: str) -> None:
        """Drain the node, or let it resume."""
        node = run("sinfo", "--noheader", "--format=%n", "--partition=cpu").strip()
        run("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    def wait_for_end(self, number: str, seconds: float = 400.0) -> None:
        """Wait until a job is over, and require that it went well."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        self.wait_until(lambda: self.state(number) in over, seconds, f"the end of {number}")
        assert self.state(number) == "COMPLETED", self.job(number)

    def wait_until(self, condition, seconds: float = 180.0, what: str = "") -> None:
        """Wait until `condition()` holds; fails with the queue as it is then."""
        deadline = time.monotonic() + seconds
        while not condition():
            queue = run("squeue", "--states=all")
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{queue}"
            time.sleep(0.2)


def run(*words: str) -> str:
    """Run one of Slurm's programs; its output."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def slurm():
    """A Slurm of one node with four GPUs that are none, for as long as the tests last."""
    folder = Path(tempfile.mkdtemp(prefix="genmorph-slurm-"))
    try:
        variables = start(folder)
    except ClusterError as error:
        # not skipped: these tests run only when somebody asks for them
        pytest.fail(str(error), pytrace=False)
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield Slurm(folder)
    finally:
        stop(folder)
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)
