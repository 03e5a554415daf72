"""The training loop: one function to read from top to bottom.

A step is decided by its number alone (scans, noise, rates), so a run goes on from weights,
optimiser and step count to the same weights as one that was never stopped.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from genmorph.errors import GenmorphError, TrainingError
from genmorph.files import atomic_path
from genmorph.seeds import derive_seed
from genmorph.training.checkpoints import load_state, save_state
from genmorph.training.data import Reader, Volumes
from genmorph.training.devices import (
    check_devices,
    is_first_task,
    make_fabric,
    scheduled_tasks,
)
from genmorph.training.log import METRICS, Log, event_writer, report, say, write_metrics
from genmorph.training.optimizers import get_moments, make_optimizer, set_moments
from genmorph.training.options import TrainingOptions
from genmorph.training.schedules import Schedule
from genmorph.training.stopping import passed_to_children, stop_requested

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

    import torch
    from lightning_fabric import Fabric

    from genmorph.models.interface import GenerativeModel


class Preempted(TrainingError):
    """The run was asked to stop; its state is saved and the same command goes on from it."""

    exit_code = os.EX_TEMPFAIL  # nothing is wrong: try again


@dataclass(frozen=True)
class Summary:
    """What a training run was.

    Attributes
    ----------
    steps, volumes_seen : int
        Of the whole run, resumed parts included.
    parameters : int
        Trained numbers of the model.
    device : str
        Hardware of the last part.
    seconds : float
        Wall time in the loop, resumed parts included.
    losses : dict of str to float
        The last row of the metrics.
    """

    steps: int
    volumes_seen: int
    parameters: int
    device: str
    seconds: float
    losses: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


class _Run(NamedTuple):
    """What every device of a run is given (Fabric refuses a frozen dataclass)."""

    store: Reader
    training_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    options: TrainingOptions
    seed: int
    state: Path
    events: Path
    stop_after: int | None


def train(
    model: GenerativeModel,
    store: Reader,
    *,
    training_ids: Sequence[str],
    validation_ids: Sequence[str],
    options: TrainingOptions,
    seed: int,
    state: Path | str,
    metrics: Path | str,
    events: Path | str | None = None,
    precision: str = "32-true",
    accelerator: str = "cpu",
    devices: int = 1,
    stop_after: int | None = None,
) -> Summary:
    """Train a model in place.

    Parameters
    ----------
    model : GenerativeModel
        With its first weights.
    store : Reader
        Preprocessed volumes on the model's grid.
    training_ids, validation_ids : sequence of str
        Scans to learn from, and scans whose losses are only watched (may be empty).
    options : TrainingOptions
    seed : int
        Decides the order of scans and all noise.
    state : Path or str
        Folder of this run's resumable states; name it by `checkpoints.fingerprint`, as whatever
        whole state lies in it is gone on from.
    metrics : Path or str
        CSV written when the run is over: a row per epoch with the mean of each loss term, their
        sum `total`, the same for the validation scans, the learning rate and what the model
        schedules. While the run lasts, the table is `metrics.csv` in `state`.
    events : Path or str, optional
        Folder of TensorBoard events; default: `events` in `state`.
    precision : str
        As Lightning Fabric has it: `32-true`, `bf16-mixed`.
    accelerator : str
        `cpu` or `cuda`.
    devices : int
        How many share each step: processes that this one starts, or, in a Slurm step of as many
        tasks, its tasks. Then every task calls this, and the first one writes.
    stop_after : int, optional
        Save and raise `Preempted` when this many steps of the run are done.

    Returns
    -------
    Summary

    Raises
    ------
    TrainingError
        When training cannot start; when a loss or gradient is not finite, naming step, term and
        scans.
    Preempted
        After SIGTERM or SIGUSR1, when the state is saved.
    """
    state, metrics = Path(state), Path(metrics)
    _check(model, store, training_ids)
    check_devices(accelerator, devices, options.batch_size)
    run = _Run(
        store=store,
        training_ids=tuple(training_ids),
        validation_ids=tuple(validation_ids),
        options=options,
        seed=seed,
        state=state,
        events=state / "events" if events is None else Path(events),
        stop_after=stop_after,
    )
    fabric = make_fabric(model, accelerator, devices, precision)
    if devices in (1, scheduled_tasks()):
        fabric.launch()
        summary = _run_device(fabric, model, run)
    else:
        with passed_to_children():
            summary = _start_devices(fabric, model, run)
        model.load_state_dict(load_state(state)[1])  # the children trained copies
    if not is_first_task():
        return summary
    _fit_after_training(model, run, accelerator)
    with atomic_path(metrics) as temporary:
        shutil.copyfile(state / METRICS, temporary)
    return summary


def _fit_after_training(model: GenerativeModel, run: _Run, accelerator: str) -> None:
    """Show the model all training volumes once more, if it asks for them."""
    import torch

    def batches() -> Iterator[torch.Tensor]:
        training = Volumes(run.store, run.training_ids, run.options.memory_gb)
        for first in range(0, len(training), run.options.batch_size):
            rows = range(first, min(first + run.options.batch_size, len(training)))
            yield torch.from_numpy(training.batch(rows)).to(accelerator)

    model.to(accelerator).eval()
    with torch.no_grad():
        model.fit_after_training(batches())


def _run_device(fabric: Fabric, model: GenerativeModel, run: _Run) -> Summary:
    """Train on one of the devices of a run."""
    options, started = run.options, time.perf_counter()
    training = Volumes(run.store, run.training_ids, options.memory_gb)
    # only the first device looks at them, with the memory that is left
    watched = run.validation_ids if fabric.is_global_zero else ()
    validation = Volumes(run.store, watched, options.memory_gb - training.gigabytes)
    schedule = Schedule(options, len(training), run.seed, fabric.world_size)

    step, log, found = 0, Log(), _load_together(fabric, run.state)
    if found is not None:
        model.load_state_dict(found[1])
    made = [make_optimizer(model.trained_in(phase), options) for phase in model.phases]
    wrapped, *fabric_optimizers = fabric.setup(model, *made)
    optimizers = dict(zip(model.phases, fabric_optimizers, strict=True))
    if found is not None:  # after the weights are on their device, where the moments follow them
        step, _, moments, rest = found
        set_moments(model, _unwrapped(optimizers), moments)
        log = Log(**rest)
        say(fabric, f"going on from step {step} of {schedule.steps}")
    writer = event_writer(fabric, run.events if options.tensorboard else None, step)
    earlier = log.seconds

    def save() -> None:
        log.seconds = earlier + time.perf_counter() - started
        if fabric.is_global_zero:
            moments = get_moments(model, _unwrapped(optimizers))
            save_state(run.state, step, model.state_dict(), moments, asdict(log))
        fabric.barrier()

    with stop_requested() as stop:
        while step < schedule.steps:
            wrapped.train()
            rate = schedule.learning_rate(step)
            for optimizer in optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = rate
            rows = schedule.batch(step)
            terms: dict[str, float] = {}
            for phase, optimizer in optimizers.items():
                if not model.acts(phase, schedule.progress(step)):
                    continue
                batch = _Batch(phase, step, rows, schedule)
                terms |= _take_phase(fabric, wrapped, model, optimizer, training, batch, run)
            log.add(terms, len(rows))
            scheduled = model.scheduled(schedule.progress(step))
            step += 1

            if schedule.ends_epoch(step):
                epoch = math.ceil(step / schedule.steps_per_epoch)
                row = {"epoch": epoch, "step": step, "volumes_seen": log.volumes_seen}
                row |= {"learning_rate": rate, **scheduled, **log.take_means()}
                if epoch % options.validation_every_epochs == 0 or step == schedule.steps:
                    row |= _validate(fabric, model, validation, step - 1, schedule, run)
                log.rows.append(row)
                report(fabric, writer, run.state, log.rows, schedule)
            stopping = _any_device(fabric, stop.requested) or step == run.stop_after
            if stopping or _is_checkpoint(schedule, step):
                save()
            if stopping and step < schedule.steps:
                raise Preempted(
                    f"training stopped as asked after step {step} of {schedule.steps}",
                    "run the same command again: it goes on from there",
                )
    if writer is not None:
        writer.close()
    if fabric.is_global_zero:
        write_metrics(run.state / METRICS, log.rows)
    seconds = earlier + time.perf_counter() - started
    return Summary(
        steps=step,
        volumes_seen=log.volumes_seen,
        parameters=sum(weights.numel() for weights in model.parameters()),
        device=_device_name(fabric),
        seconds=round(seconds, 3),
        losses=log.rows[-1],
    )


class _Batch(NamedTuple):
    """One phase of a step: what it works on."""

    phase: str
    step: int
    rows: Sequence[int]
    schedule: Schedule


def _take_phase(
    fabric: Fabric,
    wrapped: torch.nn.Module,
    model: GenerativeModel,
    optimizer: torch.optim.Optimizer,
    training: Volumes,
    batch: _Batch,
    run: _Run,
) -> dict[str, float]:
    """One optimiser's part of a step; returns its loss terms, means over all devices."""
    import torch

    phase, step, rows, schedule = batch
    own = list(range(fabric.global_rank, len(rows), fabric.world_size))
    batch_volumes = training.batch([rows[place] for place in own])
    for volume, place in zip(batch_volumes, own, strict=True):
        if _uniform(run.seed, "mirror", step, place) < run.options.mirror_probability:
            volume[:] = volume[::-1].copy()  # the first axis runs from left to right
    volumes = torch.from_numpy(batch_volumes).to(fabric.device)
    # by place in the joint batch: the noise is the same however many devices share it
    generators = [_generator(run.seed, "noise", step, phase, place) for place in own]
    _let_only_this_phase_learn(model, phase)
    losses = wrapped(volumes, phase=phase, progress=schedule.progress(step), generators=generators)
    total = sum(losses.values())
    # a mean over devices is not finite when it is not on one of them: all stop together
    prefix = "" if len(model.phases) == 1 else f"{phase}_"
    terms = _to_floats(fabric, {**losses, f"{prefix}total": total})
    scans = [training.ids[row] for row in rows]
    _stop_if_not_finite(terms, step, scans)
    optimizer.zero_grad()
    fabric.backward(total)
    weights = list(model.trained_in(phase))
    length = torch.nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
    terms[f"{prefix}gradient_norm"] = float(length)
    _stop_if_not_finite(terms, step, scans)
    if run.options.gradient_clip is not None:
        torch.nn.utils.clip_grads_with_norm_(weights, run.options.gradient_clip, length)
    optimizer.step()
    return terms


def _let_only_this_phase_learn(model: GenerativeModel, phase: str) -> None:
    """Spare the gradients of weights that the phase leaves as they are."""
    if len(model.phases) > 1:
        for name in model.phases:
            for weights in model.trained_in(name):
                weights.requires_grad_(name == phase)


def _validate(
    fabric: Fabric,
    model: GenerativeModel,
    validation: Volumes,
    step: int,
    schedule: Schedule,
    run: _Run,
) -> dict[str, float]:
    """Mean loss terms of the validation scans, weighted as in `step`, noise the same each time.

    Of a model with several phases they are those of the first.
    """
    import torch

    if not len(validation):
        return {}
    model.eval()
    sums: dict[str, float] = {}
    size = schedule.options.batch_size
    with torch.no_grad(), fabric.autocast():
        for first in range(0, len(validation), size):
            rows = range(first, min(first + size, len(validation)))
            volumes = torch.from_numpy(validation.batch(rows)).to(fabric.device)
            losses = model.losses(
                volumes,
                phase=model.phases[0],
                progress=schedule.progress(step),
                generators=[_generator(run.seed, "validation", row) for row in rows],
            )
            for term, value in {**losses, "total": sum(losses.values())}.items():
                sums[term] = sums.get(term, 0.0) + float(value) * len(rows)
    return {f"validation_{term}": value / len(validation) for term, value in sums.items()}


def _unwrapped(optimizers: dict[str, Any]) -> dict[str, torch.optim.Optimizer]:
    return {phase: optimizer.optimizer for phase, optimizer in optimizers.items()}


# -- small things ----------------------------------------------------------------------------------


def _check(
    model: GenerativeModel,
    store: Reader,
    training_ids: Sequence[str],
) -> None:
    if not training_ids:
        raise TrainingError("no training scans")
    if tuple(store.shape) != tuple(model.shape):
        raise TrainingError(f"store of {tuple(store.shape)} volumes, model of {model.shape}")


def _is_checkpoint(schedule: Schedule, step: int) -> bool:
    options = schedule.options
    if step == schedule.steps:
        return True
    if options.checkpoint_every_steps and step % options.checkpoint_every_steps == 0:
        return True
    return step % (options.checkpoint_every_epochs * schedule.steps_per_epoch) == 0


def _stop_if_not_finite(terms: dict[str, float], step: int, scans: list[str]) -> None:
    bad = [term for term, value in terms.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f"step {step + 1}: {', '.join(bad)} not finite; scans {', '.join(scans)}",
            "look at these scans' mosaics; else lower learning_rate or set gradient_clip",
        )


def _uniform(seed: int, *use: str | int) -> float:
    return np.random.default_rng(derive_seed(seed, *use)).random()


def _generator(seed: int, *use: str | int) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *use))


def _to_floats(fabric: Fabric, losses: dict[str, torch.Tensor]) -> dict[str, float]:
    import torch

    values = torch.stack([value.detach().float() for value in losses.values()])
    return dict(zip(losses, fabric.all_reduce(values, reduce_op="mean").tolist(), strict=True))


def _device_name(fabric: Fabric) -> str:
    import torch

    if fabric.device.type == "cuda":
        name = torch.cuda.get_device_name(fabric.device)
        return f"{fabric.world_size} x {name}" if fabric.world_size > 1 else name
    return fabric.device.type


# -- several devices -------------------------------------------------------------------------------


def _start_devices(fabric: Fabric, model: GenerativeModel, run: _Run) -> Summary:
    """Train in a process a device; an error for the user is raised here, whichever meets it."""
    from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

    errors = multiprocessing.get_context("spawn").SimpleQueue()
    try:
        return Summary(**fabric.launch(_run_started, model, run, errors))
    except (ProcessExitedException, ProcessRaisedException):
        if errors.empty():
            raise
        kind, message, cure = errors.get()
        raise (Preempted if kind == Preempted.__name__ else TrainingError)(message, cure) from None


def _run_started(
    fabric: Fabric, model: GenerativeModel, run: _Run, errors: SimpleQueue
) -> dict[str, Any]:
    """As `_run_device` in plain values, which go from one process to another.

    One that meets an error for the user tells it and ends. The others, which may wait for it to
    share a step, are ended by who started them.
    """
    try:
        return _run_device(fabric, model, run).to_json()
    except GenmorphError as error:
        errors.put([type(error).__name__, error.message, error.cure])
        sys.exit(error.exit_code)


def _any_device(fabric: Fabric, flag: bool) -> bool:
    if fabric.world_size == 1:
        return flag
    import torch

    return bool(
        fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum") > 0
    )


def _load_together(fabric: Fabric, state: Path) -> Any:
    """The state as the first device finds it: it may remove a damaged one, the others wait."""
    found = load_state(state) if fabric.is_global_zero else None
    fabric.barrier()
    return found if fabric.is_global_zero else load_state(state)
