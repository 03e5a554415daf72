"""Who starts the processes of a training run, and what is refused before any of them waits."""

from __future__ import annotations

import pytest

from genmorph.errors import TrainingError
from genmorph.training.devices import check_devices, is_first_task, make_fabric, scheduled_tasks

VARIABLES = ("STEP_ID", "STEP_NUM_TASKS", "STEP_NUM_NODES", "PROCID", "NTASKS", "NTASKS_PER_NODE")


@pytest.fixture
def slurm(monkeypatch):
    """Set variables as Slurm does; all others of it are absent."""

    def set_variables(**values):
        for name in VARIABLES:
            monkeypatch.delenv(f"SLURM_{name}", raising=False)
        for name, value in values.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))

    set_variables()
    return set_variables


@pytest.mark.parametrize(
    ("variables", "tasks", "first"),
    [
        ({}, 1, True),
        # a batch script: the job has two tasks, and this process is none of them
        ({"NTASKS": 2, "PROCID": 0}, 1, True),
        ({"STEP_ID": 4294967291, "STEP_NUM_TASKS": 1, "NTASKS": 8}, 1, True),
        ({"STEP_ID": 0, "STEP_NUM_TASKS": 2, "PROCID": 0}, 2, True),
        ({"STEP_ID": 0, "STEP_NUM_TASKS": 2, "PROCID": 1}, 2, False),
    ],
)
def test_only_a_step_of_several_tasks_has_other_tasks(slurm, variables, tasks, first):
    slurm(**variables)
    assert scheduled_tasks() == tasks
    assert is_first_task() is first


@pytest.mark.parametrize(
    ("variables", "devices", "message"),
    [
        ({"STEP_NUM_TASKS": 2}, 1, "1 devices asked for, in a Slurm step of 2 tasks"),
        ({"STEP_NUM_TASKS": 2}, 4, "4 devices asked for, in a Slurm step of 2 tasks"),
        ({"STEP_NUM_TASKS": 2}, 2, "SLURM_NTASKS_PER_NODE is not set"),
        ({"STEP_NUM_TASKS": 1}, 3, "batch_size 8 does not divide among 3 devices"),
    ],
)
def test_what_cannot_be_shared_is_said(slurm, variables, devices, message):
    slurm(STEP_ID=0, **variables)
    with pytest.raises(TrainingError, match=message):
        check_devices("cpu", devices, 8)


def test_gpus_are_counted_on_each_node(slurm, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    slurm(STEP_ID=0, STEP_NUM_TASKS=4, STEP_NUM_NODES=2, NTASKS_PER_NODE=2)
    check_devices("cuda", 4, 8)
    slurm()
    with pytest.raises(TrainingError, match="4 GPU asked for, 2 found"):
        check_devices("cuda", 4, 8)


def test_one_device_in_a_job_of_several_tasks_is_alone(slurm, make_model):
    """Fabric itself would take the job's tasks for processes of this run."""
    slurm(STEP_ID=0, STEP_NUM_TASKS=1, NTASKS=2, PROCID=0)
    fabric = make_fabric(make_model(), "cpu", 1, "32-true")
    fabric.launch()
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
