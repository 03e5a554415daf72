"""A voxelwise Welch test beside the reading of its maps, and the memory it takes.

    python benchmarks/vbm.py FOLDER --maps 200 --kind npy
    python benchmarks/vbm.py FOLDER --maps 200 --kind store --dtype uint8

Makes maps of noise of 182 x 218 x 182 voxels in FOLDER (they stay there and are used again), then,
in turns, reads them all and does nothing with them, and tests one half against the other; the least
of each counts. `npy` is a file a map: the fastest reading there is, hence the hardest to keep up
with. `store` is how studies keep their maps, compressed and with hashes verified.

Files are in the page cache, unless `--cold` asks the kernel to drop them before every turn. Each
turn is a process of its own: its peak memory is printed, for all maps and for a fifth of them.
`permutations` times the greatest t of 500 relabellings of 12 against 12 maps of 4 mm.

    python benchmarks/vbm.py --permutations
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from genmorph.metrics.vbm_inference import permute_maximum
from genmorph.metrics.vbm_statistics import two_sample
from genmorph.processes import limit_threads
from genmorph.store import Description, Store, write_store

SHAPE = (182, 218, 182)
MEGABYTE = 1e6


def main() -> None:
    """Make the maps, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--maps", type=int, default=200)
    parser.add_argument("--kind", choices=("npy", "store"), default="npy")
    parser.add_argument("--dtype", choices=("uint8", "float32"), default="float32")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=4)
    parser.add_argument("--cold", action="store_true", help="drop the files from the page cache")
    parser.add_argument("--permutations", action="store_true")
    options = parser.parse_args()
    limit_threads(1)
    if options.permutations:
        time_permutations()
        return
    if options.folder is None:
        parser.error("name a folder for the maps")
    folder = options.folder / f"{options.kind}-{options.dtype}-{options.maps}"
    if not folder.exists():
        make_maps(folder, options.kind, options.dtype, options.maps)
    few = options.maps // 5
    found: dict[str, list[tuple[float, float, float]]] = {"read": [], "Welch": [], "fifth": []}
    for _ in range(options.turns):
        for name, work, count in (
            ("read", read, options.maps),
            ("Welch", welch, options.maps),
            ("fifth", welch, few),
        ):
            if options.cold:
                drop_from_cache(folder)
            found[name].append(in_a_process(work, folder, options.kind, count, options.chunk))
    report(options, few, found)


def report(
    options: argparse.Namespace, few: int, found: dict[str, list[tuple[float, float, float]]]
) -> None:
    """Print the least of the turns, and the ratios."""
    least = {name: np.min(turns, axis=0) for name, turns in found.items()}
    wall, processor = least["Welch"][:2] / least["read"][:2]
    state = "dropped from the cache" if options.cold else "in the cache"
    print(
        f"{options.maps} maps of {' x '.join(map(str, SHAPE))} {options.dtype}, {options.kind}, "
        f"{state}, chunk {options.chunk}, least of {options.turns}, load {os.getloadavg()[0]:.1f}"
    )
    for name, words in (("read", "reading alone"), ("Welch", "Welch test")):
        print(f"  {words}: {least[name][0]:.2f} s, of the processor {least[name][1]:.2f} s")
    print(f"  Welch test / reading: {wall:.2f} (of the processor's time {processor:.2f})")
    print(
        f"  peak memory: {least['Welch'][2]:.0f} MB of {options.maps} maps, "
        f"{least['fifth'][2]:.0f} MB of {few} (a map: {4 * np.prod(SHAPE) / MEGABYTE:.0f} MB)"
    )


# -- maps ------------------------------------------------------------------------------------------


def noise(count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Maps that differ in every voxel; a new one costs a shift and a product, not fresh noise."""
    generator = np.random.default_rng(0)
    first = generator.random(SHAPE, dtype=np.float32)
    for number in range(count):
        shifted = np.roll(first, generator.integers(first.size))
        yield f"sample-{number:04d}", shifted * np.float32(generator.uniform(0.8, 1))


def make_maps(folder: Path, kind: str, dtype: str, count: int) -> None:
    """Write maps of noise."""
    if kind == "store":
        about = Description(np.eye(4).tolist(), "maps of noise", "noise", {})
        write_store(folder, noise(count), shape=SHAPE, dtype=dtype, description=about)
        return
    folder.mkdir(parents=True)
    for name, volume in noise(count):
        np.save(
            folder / f"{name}.npy", volume if dtype == "float32" else (255 * volume).astype("u1")
        )


class Maps(Mapping[str, np.ndarray]):
    """Maps of a folder, read when looked at."""

    def __init__(self, folder: Path, kind: str, names: list[str]) -> None:
        self.folder, self.names = folder, names
        self.store = Store(folder) if kind == "store" else None

    def __getitem__(self, name: str) -> np.ndarray:
        return self.store.read(name) if self.store else np.load(self.folder / f"{name}.npy")

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def drop_from_cache(folder: Path) -> None:
    """Have the kernel forget the files' pages."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# -- what is measured ------------------------------------------------------------------------------


def read(folder: Path, kind: str, count: int, chunk: int) -> None:
    """Read every map once, keeping none."""
    for volume in Maps(folder, kind, [f"sample-{number:04d}" for number in range(count)]).values():
        assert volume.shape == SHAPE


def welch(folder: Path, kind: str, count: int, chunk: int) -> None:
    """Test the first half against the second, in every voxel of the grid."""
    names = [f"sample-{number:04d}" for number in range(count)]
    sides = (Maps(folder, kind, names[: count // 2]), Maps(folder, kind, names[count // 2 :]))
    assert np.isfinite(two_sample(*sides, chunk=chunk).t).all()


def in_a_process(work: Callable[..., None], *arguments: object) -> tuple[float, float, float]:
    """Seconds, seconds of the processor and peak memory in MB of some work."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, work, arguments))
    process.start()
    process.join()
    if process.exitcode != 0:
        sys.exit(f"{work.__name__} failed")
    return receiver.recv()


def _measured(sender: object, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    limit_threads(1)
    start, of_processor = time.perf_counter(), time.process_time()
    work(*arguments)
    passed = time.perf_counter() - start, time.process_time() - of_processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE
    sender.send((*passed, peak))


def time_permutations() -> None:
    """500 relabellings of 12 against 12 maps of 4 mm, 33 000 voxels in the mask."""
    generator = np.random.default_rng(0)
    sides = [1 + generator.random((12, 33_000), dtype=np.float32) for _ in range(2)]
    t_map = two_sample(*sides)
    seconds = []
    for _ in range(5):
        start, of_processor = time.perf_counter(), time.process_time()
        permute_maximum(*sides, t_map, permutations=500)
        seconds.append((time.perf_counter() - start, time.process_time() - of_processor))
    wall, processor = np.min(seconds, axis=0)
    print(f"500 permutations of 12 against 12, 33 000 voxels: {wall:.2f} s")
    print(f"  of the processor {processor:.2f} s, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
