"""Training as a job: asked to end it saves, says so by its exit code, and goes on bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from genmorph.processes import shell_prefix
from support import PROJECT
from training_job import TrainingJob

EPOCHS = 25


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the job ends with when nothing happens."""
    job = TrainingJob(tmp_path_factory.mktemp("undisturbed"), EPOCHS)
    subprocess.run(job.command, check=True, capture_output=True, env=environment())
    return job.outcome()


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT / "src")}


def wait_for(condition, process, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def interrupt(job, command, number=signal.SIGTERM):
    """Start a job, and ask it to end as soon as it trains; what it says."""
    process = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # as Snakemake leaves it to its shells
        preexec_fn=lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    )
    wait_for(lambda: job.has_begun, process)
    assert job.saved_steps == []
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == os.EX_TEMPFAIL, said
    return said


@pytest.mark.parametrize(
    ("number", "through"), [(signal.SIGTERM, "shell"), (signal.SIGUSR1, "command")]
)
def test_asked_to_end_it_saves_and_goes_on_bit_for_bit(tmp_path, undisturbed, number, through):
    """As a scheduler does it, the signal goes to every process of the job."""
    job = TrainingJob(tmp_path, EPOCHS)
    command = job.command
    if through == "shell":  # as Snakemake runs it
        words = " ".join(job.command)
        command = ["bash", "-c", f"set -euo pipefail; {shell_prefix(PROJECT / 'src')} {words}; :"]
    said = interrupt(job, command, number)
    assert "the same command again" in said
    (saved,) = job.saved_steps
    assert 0 < saved < job.steps
    assert not job.weights.exists()
    again = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f"going on from step {saved} of {job.steps}" in again.stderr
    assert job.outcome() == undisturbed
    assert job.saved_steps == []


def test_a_state_of_other_training_people_is_not_gone_on_from(tmp_path):
    """Who is in which split stands in participants.tsv alone: the store's index stays as it was."""
    job = TrainingJob(tmp_path, EPOCHS)
    interrupt(job, job.command)
    people = tmp_path / "participants.tsv"
    text = people.read_text()
    swapped = text.replace("sub-07\ttrain", "sub-07\tvalidation")
    people.write_text(swapped.replace("sub-09\tvalidation", "sub-09\ttrain"))
    assert people.read_text() != text
    again = subprocess.run(job.command, env=environment(), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "going on" not in again.stderr
