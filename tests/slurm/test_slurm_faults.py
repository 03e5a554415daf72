"""What clusters do to a training job: every fault is tried once, and nothing may be lost.

Each job runs as Snakemake's does: a batch script, a step, a shell, the command. After the fault
the same job is submitted again, unless Slurm has put it back in its queue itself, and must end
with the bytes of one that nothing happened to. Jobs are asked to end with a warning or are killed
without one; a state is saved every `EVERY` steps and, where there is a warning, at once.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from support import PROJECT
from training_job import TrainingJob

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

EPOCHS = 100
EVERY = 40  # steps; the fault comes later than the first


def cancel(slurm, job, number):
    subprocess.run(["scancel", number], check=True)


def lower_the_limit(slurm, job, number):
    """The job is over its time limit of a minute, however fast this machine is: it stands still."""
    subprocess.run(["scontrol", "update", f"jobid={number}", "timelimit=1"], check=True)
    send(job, signal.SIGSTOP)


def requeue(slurm, job, number):
    """As a job of higher priority does it."""
    subprocess.run(["scontrol", "requeue", number], check=True)


def kill_training(slurm, job, number):
    """The command alone, as the kernel does it when memory runs out."""
    send(job, signal.SIGKILL)


def send(job, number):
    """Signal the command's own processes; which they are, its folder tells."""
    found = subprocess.run(
        ["pgrep", "--full", f"genmorph train.*{job.folder}/"], capture_output=True, text=True
    )
    for pid in map(int, found.stdout.split()):
        if Path(f"/proc/{pid}/comm").read_text().startswith("python"):
            os.kill(pid, number)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the job ends with when nothing happens, without Slurm."""
    job = make_job(tmp_path_factory.mktemp("undisturbed"))
    subprocess.run(job.command, check=True, capture_output=True, env=environment())
    return job.outcome()


def make_job(folder):
    return TrainingJob(folder, EPOCHS, save_every=EVERY)


def environment():
    return os.environ | {"PYTHONPATH": str(PROJECT / "src")}


def submit(slurm, job, log):
    shell = f"set -euo pipefail; {job.shell} >> {log} 2>&1"
    return slurm.submit(f"srun -n1 bash -c '{shell}'", job.folder / "batch", "--requeue")


@pytest.mark.parametrize(
    ("fault", "warned", "ends_as"),
    [
        (cancel, True, "CANCELLED"),
        (lower_the_limit, True, "TIMEOUT"),
        (requeue, True, "PENDING"),
        (kill_training, False, "FAILED"),
    ],
)
def test_a_fault_costs_no_result(slurm, tmp_path, undisturbed, fault, warned, ends_as):
    job, log = make_job(tmp_path), tmp_path / "train.log"
    number = submit(slurm, job, log)
    slurm.wait_until(lambda: job.saved_steps, what="first state")
    fault(slurm, job, number)
    if ends_as == "PENDING":  # Slurm puts it back itself
        slurm.wait_until(lambda: int(slurm.job(number)["Restarts"]) == 1, what="restart")
        slurm.wait_until(lambda: slurm.node_state() == "idle", what="the end of its first part")
        # it would wait for two minutes
        subprocess.run(["scontrol", "update", f"jobid={number}", "starttime=now"], check=True)
    else:
        slurm.wait_until(lambda: slurm.state(number) == ends_as, what=ends_as)
        assert not job.weights.exists()
        number = submit(slurm, job, log)
    slurm.wait_for_end(number)
    said = log.read_text()
    begun_again = int(re.search(r"going on from step (\d+) of", said)[1])
    assert 0 < begun_again < job.steps
    if warned:  # it saved where it was, not where it had been
        assert f"stopped as asked after step {begun_again} of" in said
    else:
        assert begun_again % EVERY == 0
    assert job.outcome() == undisturbed


def test_a_drained_node_lets_its_job_end(slurm, tmp_path, undisturbed):
    job, log = make_job(tmp_path), tmp_path / "train.log"
    number = submit(slurm, job, log)
    slurm.wait_until(lambda: job.has_begun, what="first epoch")
    slurm.set_node("drain")
    try:
        waiting = slurm.submit("true", tmp_path / "waiting")
        slurm.wait_for_end(number)
        assert slurm.state(waiting) == "PENDING"
    finally:
        slurm.set_node("resume")
    slurm.wait_for_end(waiting)
    assert "going on" not in log.read_text()
    assert job.outcome() == undisturbed
