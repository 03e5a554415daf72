"""What a training run does at each step: how many there are, in which order, at which rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genmorph.models.interface import Progress
from genmorph.seeds import derive_seed
from genmorph.training.options import TrainingOptions


@dataclass(frozen=True)
class Schedule:
    """Steps of a run, each decided by its number alone, so that any step can be resumed at.

    Parameters
    ----------
    options : TrainingOptions
    scans : int
        Number of training scans.
    seed : int
        Decides the order of scans.
    devices : int
        Devices that share a step.

    Notes
    -----
    The last batch of an epoch is smaller when the scans do not divide, or left out (`drop_last`);
    with several devices it is filled from the epoch's beginning until it does divide among them.
    """

    options: TrainingOptions
    scans: int
    seed: int
    devices: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the scans."""
        whole, rest = divmod(self.scans, self.options.batch_size)
        # fewer scans than a batch holds are a batch all the same
        return whole + (rest > 0 and (whole == 0 or not self.options.drop_last))

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        steps = self.options.epochs * self.steps_per_epoch
        limit = self.options.max_volume_steps
        if limit is None:
            return steps
        # counted from the front: an epoch's last batch may be smaller
        whole = self.steps_per_epoch * self.options.batch_size
        epochs, rest = divmod(limit, min(self.scans, whole))
        within = epochs * self.steps_per_epoch + rest // self.options.batch_size
        return max(1, min(steps, within))

    @property
    def epochs(self) -> float:
        """Passes of the whole run, fractions included."""
        return self.steps / self.steps_per_epoch

    def progress(self, step: int) -> Progress:
        """How far the run is when `step` steps are done."""
        return Progress(step, step / self.steps_per_epoch, self.epochs)

    def order(self, epoch: int) -> np.ndarray:
        """Scans in the order of one epoch."""
        return np.random.default_rng(derive_seed(self.seed, "order", epoch)).permutation(self.scans)

    def batch(self, step: int) -> np.ndarray:
        """Scans of one step."""
        epoch, number = divmod(step, self.steps_per_epoch)
        order, size = self.order(epoch), self.options.batch_size
        batch = order[number * size : (number + 1) * size]
        return np.concatenate([batch, np.resize(order, -len(batch) % self.devices)])

    def ends_epoch(self, step: int) -> bool:
        """Whether an epoch, or the run, is over when `step` steps are done."""
        return step % self.steps_per_epoch == 0 or step == self.steps

    def learning_rate(self, step: int) -> float:
        """Learning rate of the step that follows `step` done ones."""
        options = self.options
        if options.learning_rate_schedule == "exponential":
            return options.learning_rate * options.learning_rate_decay**step
        if options.learning_rate_schedule == "cosine":
            return options.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return options.learning_rate
