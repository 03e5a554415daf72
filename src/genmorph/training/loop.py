"""The training loop: one function to read from top to bottom.

A step is decided by its number alone (scans, noise, rates), so a run goes on from weights,
optimiser and step count to the same weights as one that was never stopped.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from genmorph.errors import GenmorphError, TrainingError
from genmorph.files import atomic_path
from genmorph.seeds import derive_seed
from genmorph.training.checkpoints import load_state, save_state
from genmorph.training.data import Reader, Volumes
from genmorph.training.options import TrainingOptions
from genmorph.training.schedules import Schedule

if TYPE_CHECKING:
    import torch
    from lightning_fabric import Fabric

    from genmorph.models.interface import GenerativeModel

METRICS = "metrics.csv"
LEADING_COLUMNS = ("epoch", "step", "volumes_seen", "learning_rate")
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Preempted(TrainingError):
    """The run was asked to stop; its state is saved and the same command goes on from it."""


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
        How many share each step.
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
    _check(model, store, training_ids, options, accelerator, devices)
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
    from lightning_fabric import Fabric

    # processes are spawned, not started as the command again: they must not wait for its lock
    strategy = "ddp_spawn" if devices > 1 else "auto"
    fabric = Fabric(
        accelerator=accelerator, devices=devices, strategy=strategy, precision=precision
    )
    if devices == 1:
        fabric.launch()
        summary = _run_device(fabric, model, run)
    else:
        with _passed_to_children():
            summary = _unpack(fabric.launch(_run_device_safely, model, run))
        model.load_state_dict(load_state(state)[1])  # the children trained copies
    with atomic_path(metrics) as temporary:
        shutil.copyfile(state / METRICS, temporary)
    return summary


def _run_device(fabric: Fabric, model: GenerativeModel, run: _Run) -> Summary:
    """Train on one of the devices of a run."""
    options, started = run.options, time.perf_counter()
    training = Volumes(run.store, run.training_ids, options.memory_gb)
    validation = Volumes(run.store, run.validation_ids, options.memory_gb)
    schedule = Schedule(options, len(training), run.seed, fabric.world_size)

    step, log, found = 0, _Log(), _load_together(fabric, run.state)
    if found is not None:
        model.load_state_dict(found[1])
    wrapped, optimizer = fabric.setup(model, _make_optimizer(model, options))
    if found is not None:  # after the weights are on their device, where the moments follow them
        step, _, moments, rest = found
        _set_moments(model, optimizer.optimizer, moments)
        log = _Log(**rest)
        _say(fabric, f"going on from step {step} of {schedule.steps}")
    writer = _event_writer(fabric, run, step)
    earlier = log.seconds

    def save() -> None:
        log.seconds = earlier + time.perf_counter() - started
        if fabric.is_global_zero:
            moments = _get_moments(model, optimizer.optimizer)
            save_state(run.state, step, model.state_dict(), moments, asdict(log))
        fabric.barrier()

    with _stop_requested() as stop:
        while step < schedule.steps:
            wrapped.train()
            rate = schedule.learning_rate(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            rows = schedule.batch(step)
            terms = _take_step(fabric, wrapped, optimizer, training, rows, step, schedule, run)
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
                _report(fabric, writer, run.state, log.rows, schedule)
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
        _write_metrics(run.state / METRICS, log.rows)
    seconds = earlier + time.perf_counter() - started
    return Summary(
        steps=step,
        volumes_seen=log.volumes_seen,
        parameters=sum(weights.numel() for weights in model.parameters()),
        device=_device_name(fabric),
        seconds=round(seconds, 3),
        losses=log.rows[-1],
    )


def _take_step(
    fabric: Fabric,
    wrapped: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    training: Volumes,
    rows: Sequence[int],
    step: int,
    schedule: Schedule,
    run: _Run,
) -> dict[str, float]:
    """One optimiser step; returns the loss terms, means over all devices."""
    import torch

    own = rows[fabric.global_rank :: fabric.world_size]
    volumes = torch.from_numpy(training.batch(own)).to(fabric.device)
    generator = _generator(run.seed, "noise", step, fabric.global_rank)
    losses = wrapped(volumes, progress=schedule.progress(step), generator=generator)
    total = sum(losses.values())
    # a mean over devices is not finite when it is not on one of them: all stop together
    terms = _to_floats(fabric, {**losses, "total": total})
    scans = [training.ids[row] for row in rows]
    _stop_if_not_finite(terms, step, scans)
    optimizer.zero_grad()
    fabric.backward(total)
    weights = list(wrapped.parameters())
    length = torch.nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
    terms["gradient_norm"] = float(length)
    _stop_if_not_finite(terms, step, scans)
    if run.options.gradient_clip is not None:
        torch.nn.utils.clip_grads_with_norm_(weights, run.options.gradient_clip, length)
    optimizer.step()
    return terms


def _validate(
    fabric: Fabric,
    model: GenerativeModel,
    validation: Volumes,
    step: int,
    schedule: Schedule,
    run: _Run,
) -> dict[str, float]:
    """Mean loss terms of the validation scans, weighted as in `step`, noise the same each time."""
    import torch

    if not len(validation) or not fabric.is_global_zero:
        return {}
    model.eval()
    sums: dict[str, float] = {}
    size = schedule.options.batch_size
    with torch.no_grad(), fabric.autocast():
        for first in range(0, len(validation), size):
            rows = range(first, min(first + size, len(validation)))
            volumes = torch.from_numpy(validation.batch(rows)).to(fabric.device)
            generator = _generator(run.seed, "validation", first)
            losses = model.losses(volumes, progress=schedule.progress(step), generator=generator)
            for term, value in {**losses, "total": sum(losses.values())}.items():
                sums[term] = sums.get(term, 0.0) + float(value) * len(rows)
    return {f"validation_{term}": value / len(validation) for term, value in sums.items()}


# -- the optimiser and its state -------------------------------------------------------------------


def _make_optimizer(model: torch.nn.Module, options: TrainingOptions) -> torch.optim.Optimizer:
    import torch

    if options.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
    return torch.optim.Adam(model.parameters(), lr=options.learning_rate)


def _get_moments(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """The optimiser's tensors by weight and kind."""
    return {
        f"{name}/{kind}": value
        for name, weights in model.named_parameters()
        for kind, value in optimizer.state.get(weights, {}).items()
    }


def _set_moments(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    moments: dict[str, torch.Tensor],
) -> None:
    positions = {name: number for number, (name, _) in enumerate(model.named_parameters())}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        name, kind = key.rsplit("/", 1)
        state.setdefault(positions[name], {})[kind] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


# -- the log ---------------------------------------------------------------------------------------


@dataclass
class _Log:
    """What a run has seen, part of its state.

    Attributes
    ----------
    rows : list of dict
        One for each finished epoch.
    sums : dict
        Loss terms of the epoch under way, weighted by volumes.
    counted : int
        Volumes in `sums`.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    volumes_seen: int = 0
    seconds: float = 0.0

    def add(self, terms: dict[str, float], volumes: int) -> None:
        for term, value in terms.items():
            self.sums[term] = self.sums.get(term, 0.0) + value * volumes
        self.counted += volumes
        self.volumes_seen += volumes

    def take_means(self) -> dict[str, float]:
        means = {term: value / self.counted for term, value in self.sums.items()}
        self.sums, self.counted = {}, 0
        return means


def _write_metrics(path: Path, rows: list[dict[str, float]]) -> None:
    import csv

    terms = {column for row in rows for column in row} - set(LEADING_COLUMNS)
    columns = [*LEADING_COLUMNS, *sorted(terms)]
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _event_writer(fabric: Fabric, run: _Run, step: int) -> Any:
    if not (run.options.tensorboard and fabric.is_global_zero):
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run.events), purge_step=step + 1)


def _report(
    fabric: Fabric, writer: Any, state: Path, rows: list[dict[str, float]], schedule: Schedule
) -> None:
    """Put the last row where it can be watched."""
    if not fabric.is_global_zero:
        return
    row = rows[-1]
    _write_metrics(state / METRICS, rows)
    if writer is not None:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                writer.add_scalar(name, value, row["step"])
        writer.flush()
    watched = ("total", "reconstruction", "validation_total", "validation_reconstruction")
    values = ", ".join(f"{name} {row[name]:.5g}" for name in watched if name in row)
    _say(fabric, f"epoch {row['epoch']}/{math.ceil(schedule.epochs)}: {values}")


# -- small things ----------------------------------------------------------------------------------


def _check(
    model: GenerativeModel,
    store: Reader,
    training_ids: Sequence[str],
    options: TrainingOptions,
    accelerator: str,
    devices: int,
) -> None:
    import torch

    if not training_ids:
        raise TrainingError("no training scans")
    if tuple(store.shape) != tuple(model.shape):
        raise TrainingError(f"store of {tuple(store.shape)} volumes, model of {model.shape}")
    if options.batch_size % devices:
        raise TrainingError(
            f"batch_size {options.batch_size} does not divide among {devices} devices",
            "change batch_size or the number of devices",
        )
    available = torch.cuda.device_count() if accelerator == "cuda" else devices
    if available < devices:
        raise TrainingError(
            f"{devices} GPU asked for, {available} found",
            "set compute.device to cpu, or ask the scheduler for GPUs",
        )


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


def _say(fabric: Fabric, text: str) -> None:
    if fabric.is_global_zero:
        print(f"train: {text}", file=sys.stderr, flush=True)


# -- stopping, and several devices -----------------------------------------------------------------


@dataclass
class _Stop:
    requested: bool = False


@contextlib.contextmanager
def _stop_requested() -> Iterator[_Stop]:
    """Note signals that ask for an end; the loop saves its state at the next step."""
    stop = _Stop()

    def note(*_: Any) -> None:
        stop.requested = True

    try:
        before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    except ValueError:  # only the main thread can; elsewhere nobody sends signals
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _passed_to_children() -> Iterator[None]:
    """Hand signals that ask for an end to the processes of the other devices."""

    def hand_on(number: int, _: Any) -> None:
        for child in multiprocessing.active_children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    before = {number: signal.signal(number, hand_on) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_device_safely(fabric: Fabric, model: GenerativeModel, run: _Run) -> dict[str, Any]:
    """As `_run_device` in plain values, which go from one process to another.

    An error for the user is a result too: all devices meet the same one.
    """
    try:
        return {"summary": _run_device(fabric, model, run).to_json()}
    except GenmorphError as error:
        return {"error": [type(error).__name__, error.message, error.cure]}


def _unpack(result: dict[str, Any]) -> Summary:
    if "summary" in result:
        return Summary(**result["summary"])
    kind, message, cure = result["error"]
    raise (Preempted if kind == Preempted.__name__ else TrainingError)(message, cure)


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
