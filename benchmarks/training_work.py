"""Work of training each model of a study: what a GPU's hours can be reckoned from without a GPU.

    python benchmarks/training_work.py m3ae --people 31740 [--scale paper]

Floating-point operations of one training step (all phases, forward and backward) are counted by
PyTorch on tensors without content, so at any size. Convolutions and matrix products count and
nothing else: warping and normalisation, which wait for memory, come on top. Steps are those of the
study's own options on so many training scans. Hours are the work over a sustained rate that you
state: half of it is twice the hours.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from genmorph.config import load_config
from genmorph.models import build
from genmorph.models.interface import Progress
from genmorph.studies import Study, resolve_study
from genmorph.training.options import TrainingOptions
from genmorph.training.schedules import Schedule
from genmorph.validation import validate


def main() -> None:
    """Print a Markdown table of the study's models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--people", type=int, required=True, help="training scans")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tflops", type=float, default=20.0, help="sustained, stated by you")
    chosen = parser.parse_args()
    study = resolve_study(chosen.study, load_config(scale=chosen.scale))
    hours_title = f"hours at {chosen.tflops:g} TFLOP/s"
    print(f"| model | grid | TFLOP a step | steps | PFLOP a run | {hours_title} |")
    print("| --- | --- | --- | --- | --- | --- |")
    total = 0.0
    for name in study.models:
        step, steps = work_of_step(study, name), steps_of(study, name, chosen.people)
        hours = step * steps / (chosen.tflops * 1e12) / 3600
        total += hours
        grid = " x ".join(map(str, study.grid_of(name)))
        print(
            f"| {name} | {grid} | {step / 1e12:.2f} | {steps:,} | {step * steps / 1e15:,.1f} "
            f"| {hours:.2g} |"
        )
    print(f"\n{chosen.seeds} seeds: {total * chosen.seeds:.2g} hours.")


def steps_of(study: Study, name: str, people: int) -> int:
    """Optimiser steps of a run on so many training scans."""
    options = validate(TrainingOptions, study.models[name]["training"], name)
    return Schedule(options, people, seed=0).steps


def work_of_step(study: Study, name: str) -> int:
    """Floating-point operations of one step, gradients included."""
    parameters = study.models[name]
    batch = parameters["training"]["batch_size"]
    progress = Progress(step=0, epoch=0.0, epochs=math.inf)
    with FakeTensorMode():
        model = build(parameters["architecture"], parameters["options"], study.grid_of(name))
        volumes = torch.empty((batch, *study.grid_of(name)))
        generators = [torch.Generator() for _ in range(batch)]
        with Operations() as counter:
            for phase in model.phases:
                losses = model.losses(
                    volumes, phase=phase, progress=progress, generators=generators
                )
                sum(losses.values()).backward()
    return counter.counted


class Operations(TorchDispatchMode):
    """Counts as PyTorch's `FlopCounterMode`, which cannot follow a gradient of a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        """Run an operation and add its count."""
        result = function(*arguments, **(named or {}))
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.counted += count(*arguments, **(named or {}), out_val=result)
        return result


if __name__ == "__main__":
    main()
