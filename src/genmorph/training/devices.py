"""Processes that share the steps of a training run: started here, or by the scheduler."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from genmorph.errors import TrainingError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from genmorph.models.interface import GenerativeModel


def scheduled_tasks() -> int:
    """Tasks of the Slurm step that this process belongs to; 1 elsewhere.

    A job has as many tasks as were asked for also where only its batch script runs: only a process
    that srun started knows its step.
    """
    in_step = os.environ.get("SLURM_STEP_ID", "").isdigit()
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) if in_step else 1


def is_first_task() -> bool:
    """Whether this process writes what its step makes: lock, record and checkpoint are one."""
    return scheduled_tasks() == 1 or os.environ.get("SLURM_PROCID") == "0"


def check_devices(accelerator: str, devices: int, batch_size: int) -> None:
    """Raise when a step cannot be shared as asked.

    Parameters
    ----------
    accelerator : str
        `cpu` or `cuda`.
    devices : int
        How many share each step.
    batch_size : int
        Volumes of one step, over all devices.

    Raises
    ------
    TrainingError
    """
    import torch

    if batch_size % devices:
        raise TrainingError(
            f"batch_size {batch_size} does not divide among {devices} devices",
            "change batch_size or the number of devices",
        )
    tasks = scheduled_tasks()
    if tasks not in (1, devices):
        raise TrainingError(
            f"{devices} devices asked for, in a Slurm step of {tasks} tasks",
            f"start one task, which starts the other processes itself, or {devices}",
        )
    if tasks > 1 and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise TrainingError(
            "SLURM_NTASKS_PER_NODE is not set, and a task must know its place on its node",
            "srun --ntasks-per-node=... instead of --ntasks",
        )
    wanted = devices // _nodes(tasks)
    available = torch.cuda.device_count() if accelerator == "cuda" else wanted
    if available < wanted:
        raise TrainingError(
            f"{wanted} GPU asked for, {available} found",
            "set compute.device to cpu, or ask the scheduler for GPUs",
        )


def make_fabric(model: GenerativeModel, accelerator: str, devices: int, precision: str) -> Fabric:
    """What moves model and batches to the devices and adds up their gradients.

    In a Slurm step of as many tasks as devices each task is one of them, on one node or several.
    In any other job, one of Slurm included, this process starts the others.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, SLURMEnvironment

    tasks = scheduled_tasks()
    # Left to itself Fabric takes every Slurm job for one of several tasks.
    environment = SLURMEnvironment() if tasks > 1 else LightningEnvironment()
    return Fabric(
        accelerator=accelerator,
        devices=devices // _nodes(tasks),
        num_nodes=_nodes(tasks),
        strategy=_strategy(model, started=tasks > 1) if devices > 1 else "auto",
        precision=precision,
        plugins=[environment],
    )


def _nodes(tasks: int) -> int:
    return int(os.environ["SLURM_STEP_NUM_NODES"]) if tasks > 1 else 1


def _strategy(model: GenerativeModel, started: bool) -> Any:
    from lightning_fabric.strategies import DDPStrategy

    # Processes that are not there are spawned, not started as the command again: they must not
    # wait for its lock.
    start_method = "popen" if started else "spawn"
    return DDPStrategy(start_method=start_method, find_unused_parameters=len(model.phases) > 1)
