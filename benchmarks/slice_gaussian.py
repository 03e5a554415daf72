"""The Gaussian over slices of P2 at its largest, beside the SVDs that the paper prints; its VAE.

    python benchmarks/slice_gaussian.py gaussian
    python benchmarks/slice_gaussian.py steps

`gaussian`: synthetic codes of N = 400 volumes of T = 256 slices with L = 1024 components. Ours
takes sums in one pass and decomposes covariances; the peer holds all codes and takes the full SVD
of each component's centred N x T matrix, as the released notebook does. Making the codes is not
counted.
Both give the covariance of some components, so that it is seen that they do the same.

`steps`: one training step of the slice VAE (released depth, batch sizes of the released networks)
on smooth volumes of 64, 128 and 256 voxels an edge; the second of two, as the first one allocates.

Every contestant runs in a process of its own, whose peak memory is its own.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from genmorph.models import build
from genmorph.models.interface import Progress
from genmorph.models.slice_gaussian import SliceGaussian
from genmorph.processes import limit_threads

BATCH = 4  # volumes that are encoded at once
DRAWN = 4
COMPARED = 8  # components whose covariances are compared
FACTORS = 40  # of the synthetic codes
# volumes in a step and slices of each that it sees: 128 slices, as the released networks
STEPS = {64: (2, None), 128: (1, None), 256: (1, 128)}


def main() -> None:
    """Print a Markdown table of one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["gaussian", "steps"])
    parser.add_argument("--volumes", type=int, default=400)
    parser.add_argument("--components", type=int, default=1024)
    parser.add_argument("--slices", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.what == "gaussian":
        print_gaussian((chosen.volumes, chosen.components, chosen.slices), chosen.threads)
    else:
        print_steps(chosen.threads)


class Stopwatch:
    """Wall and processor time since it was made, less what was not to be counted."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Seconds of wall and of processor time."""
        return time.perf_counter() - self.wall, time.process_time() - self.processor

    def leave_out(self, other: Stopwatch) -> None:
        """Do not count what another one has measured."""
        wall, processor = other.read()
        self.wall, self.processor = self.wall + wall, self.processor + processor


def alone(work: Callable[..., dict[str, Any]], threads: int, *arguments: Any) -> dict[str, Any]:
    """Result of a function in a process of its own."""
    with get_context("spawn").Pool(1, limit_threads, (threads,)) as pool:
        return pool.apply(work, arguments)


def peak_gib() -> float:
    """Largest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


# -- the Gaussian ----------------------------------------------------------------------------------


def batches(sizes: tuple[int, int, int], watch: Stopwatch) -> Iterator[torch.Tensor]:
    """Codes `[BATCH, L, T]` with correlated slices and full rank; their making is not counted."""
    volumes, components, slices = sizes
    rng = np.random.default_rng(0)
    position = np.linspace(0, np.pi, slices, dtype=np.float32)
    smooth = np.cos(np.arange(FACTORS, dtype=np.float32)[:, None] * position)
    for first in range(0, volumes, BATCH):
        making = Stopwatch()
        n = min(BATCH, volumes - first)
        factors = rng.standard_normal((n, components, FACTORS), np.float32)
        noise = rng.standard_normal((n, components, slices), np.float32)
        codes = torch.from_numpy(3 + factors @ smooth + 0.1 * noise)
        watch.leave_out(making)
        yield codes


def ours(sizes: tuple[int, int, int]) -> dict[str, Any]:
    """Seconds of each use of the Gaussian, and covariances of some components."""
    watch = Stopwatch()
    gaussian = SliceGaussian(*sizes[1:])
    gaussian.fit(batches(sizes, watch))
    seconds = {"fit": watch.read()}
    fitting = peak_gib()
    watch = Stopwatch()
    drawn = gaussian.draw([torch.Generator().manual_seed(k) for k in range(DRAWN)])
    seconds[f"{DRAWN} samples"] = watch.read()
    watch = Stopwatch()
    density = gaussian.log_density(drawn)
    seconds[f"log p of {DRAWN}"] = watch.read()
    watch = Stopwatch()
    gaussian.expected_log_density(drawn, torch.full_like(drawn, 0.1))
    seconds[f"E_q[log p] of {DRAWN}"] = watch.read()
    matrix = gaussian.axes[:COMPARED] * gaussian.variances[:COMPARED, None].sqrt()
    return {
        "seconds": seconds,
        "peak": {"fit": fitting, "all": peak_gib()},
        "covariances": (matrix @ matrix.mT).numpy(),
        "kind": gaussian.covariance_kind,
        "finite": bool(torch.isfinite(density).all()),
    }


def by_full_svd(sizes: tuple[int, int, int]) -> dict[str, Any]:
    """The same fit from all codes at once, a full SVD for each component."""
    watch = Stopwatch()
    codes = torch.cat(list(batches(sizes, watch))).numpy()
    covariances = []
    for component in range(sizes[1]):
        own = codes[:, component].astype(float)
        _, singular, axes = np.linalg.svd(own - own.mean(0), full_matrices=True)
        matrix = axes[: len(singular)].T * singular / np.sqrt(sizes[0])
        if component < COMPARED:
            covariances.append(matrix @ matrix.T)
    return {
        "seconds": {"fit": watch.read()},
        "peak": {"fit": peak_gib()},
        "covariances": np.stack(covariances),
    }


def print_gaussian(sizes: tuple[int, int, int], threads: int) -> None:
    """Times as ratios to our fit, memory, and how far the covariances are apart."""
    one, other = alone(ours, threads, sizes), alone(by_full_svd, threads, sizes)
    print(f"N = {sizes[0]}, L = {sizes[1]}, T = {sizes[2]}, {threads} thread(s)")
    print("what | seconds | processor seconds | ratio of processor times | peak GiB")
    print("--- | --- | --- | --- | ---")
    unit = one["seconds"]["fit"][1]
    for name, (wall, busy) in one["seconds"].items():
        peak = one["peak"].get(name, one["peak"]["all"])
        print(f"ours, {name} | {wall:.2f} | {busy:.2f} | {busy / unit:.3g} | {peak:.2f}")
    wall, busy = other["seconds"]["fit"]
    print(f"full SVDs | {wall:.2f} | {busy:.2f} | {busy / unit:.3g} | {other['peak']['fit']:.2f}")
    scale = np.abs(other["covariances"]).max()
    difference = np.abs(one["covariances"] - other["covariances"]).max() / scale
    print(f"greatest difference of covariances, of their greatest entry: {difference:.1e}")
    print(f"density: {one['kind']}, finite: {one['finite']}")


# -- the VAE ---------------------------------------------------------------------------------------


def step(edge: int) -> dict[str, Any]:
    """Seconds and memory of a training step."""
    volumes, slices = STEPS[edge]
    model = build("slice_vae", {"slices_per_volume": slices}, (edge,) * 3).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    seen = ball(edge).expand(volumes, -1, -1, -1)
    seconds, losses = [], []
    for number in range(2):
        watch = Stopwatch()
        streams = [torch.Generator().manual_seed(volume) for volume in range(volumes)]
        terms = model.losses(seen, progress=Progress(number, 0.0, 1.0), generators=streams)
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(watch.read())
        losses.append(loss.item())
    parameters = sum(weights.numel() for weights in model.parameters())
    return {
        "seconds": seconds[1],
        "peak": peak_gib(),
        "losses": losses,
        "parameters": parameters,
        "slices": volumes * (slices or edge),
    }


def ball(edge: int) -> torch.Tensor:
    """A soft bright ball with shells, `[1, edge, edge, edge]`: white noise is no brain."""
    square = torch.linspace(-1, 1, edge).square()
    radius = (square[:, None, None] + square[:, None] + square).sqrt()
    return (torch.sigmoid(20 * (0.7 - radius)) * (0.7 + 0.3 * torch.cos(9 * radius)))[None]


def print_steps(threads: int) -> None:
    """A row a size."""
    print(f"{threads} thread(s)")
    print("edge | parameters | slices | seconds | processor seconds | peak GiB | loss, then")
    print("--- | --- | --- | --- | --- | --- | ---")
    for edge in STEPS:
        found = alone(step, threads, edge)
        wall, busy = found["seconds"]
        before, after = found["losses"]
        print(
            f"{edge} | {found['parameters']} | {found['slices']} | {wall:.1f} | {busy:.1f}"
            f" | {found['peak']:.1f} | {before:.6g}, {after:.6g}"
        )


if __name__ == "__main__":
    main()
