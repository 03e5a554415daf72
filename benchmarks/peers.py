"""Side by side: this project's code and its peers, in one process, turn about."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def race(contestants: Mapping[str, Callable[[], float]], rounds: int) -> None:
    """Run each contestant once a round and print a Markdown table of their best times.

    Turn about, so that what else runs on the machine slows all of them. The first named is the one
    the ratios are to. Processor time counts both threads.

    Parameters
    ----------
    contestants : mapping of str to callable
        Each gives a value, printed beside its times.
    rounds : int
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    processor: dict[str, list[float]] = {name: [] for name in contestants}
    values = {}
    for _ in range(rounds):
        for name, run in contestants.items():
            begin, begin_processor = time.perf_counter(), time.process_time()
            values[name] = run()
            seconds[name].append(time.perf_counter() - begin)
            processor[name].append(time.process_time() - begin_processor)
    first = next(iter(contestants))
    print(f"best of {rounds} | value | seconds | ratio | processor seconds | ratio")
    print("--- | --- | --- | --- | --- | ---")
    for name in contestants:
        wall, busy = min(seconds[name]), min(processor[name])
        print(
            f"{name} | {values[name]:.9g} | {wall:.3g} | {wall / min(seconds[first]):.3g}"
            f" | {busy:.3g} | {busy / min(processor[first]):.3g}"
        )
