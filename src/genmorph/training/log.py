"""What a training run tells: a row of means per epoch, as CSV, TensorBoard events and text."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph.files import atomic_path
from genmorph.training.schedules import Schedule

if TYPE_CHECKING:
    from lightning_fabric import Fabric

METRICS = "metrics.csv"
LEADING_COLUMNS = ("epoch", "step", "volumes_seen", "learning_rate")
WATCHED = ("total", "reconstruction")  # said of an epoch: columns that end so


@dataclass
class Log:
    """What a run has seen, part of its state.

    Attributes
    ----------
    rows : list of dict
        One for each finished epoch.
    sums : dict
        Loss terms of the epoch under way, weighted by volumes.
    counted : dict
        Volumes in each of `sums`: not every phase acts in every step.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    volumes_seen: int = 0
    seconds: float = 0.0

    def add(self, terms: dict[str, float], volumes: int) -> None:
        """Count the terms of a step."""
        for term, value in terms.items():
            self.sums[term] = self.sums.get(term, 0.0) + value * volumes
            self.counted[term] = self.counted.get(term, 0) + volumes
        self.volumes_seen += volumes

    def take_means(self) -> dict[str, float]:
        """Means of the terms since the last call."""
        means = {term: value / self.counted[term] for term, value in self.sums.items()}
        self.sums, self.counted = {}, {}
        return means


def write_metrics(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the rows, each term a column."""
    import csv

    terms = {column for row in rows for column in row} - set(LEADING_COLUMNS)
    columns = [*LEADING_COLUMNS, *sorted(terms)]
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def event_writer(fabric: Fabric, events: Path | None, step: int) -> Any:
    """TensorBoard's writer on the first device; events after `step` are of another life."""
    if events is None or not fabric.is_global_zero:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(events), purge_step=step + 1)


def report(
    fabric: Fabric, writer: Any, state: Path, rows: list[dict[str, float]], schedule: Schedule
) -> None:
    """Put the last row where it can be watched."""
    if not fabric.is_global_zero:
        return
    row = rows[-1]
    write_metrics(state / METRICS, rows)
    if writer is not None:
        for name, value in row.items():
            if name not in ("epoch", "step"):
                writer.add_scalar(name, value, row["step"])
        writer.flush()
    values = ", ".join(f"{key} {value:.5g}" for key, value in row.items() if key.endswith(WATCHED))
    say(fabric, f"epoch {row['epoch']}/{math.ceil(schedule.epochs)}: {values}")


def say(fabric: Fabric, text: str) -> None:
    """A line of progress, once for all devices."""
    if fabric.is_global_zero:
        print(f"train: {text}", file=sys.stderr, flush=True)
