"""Ends that were asked for: signals noted in a process, and handed on to its children."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@dataclass
class Stop:
    """Whether an end was asked for."""

    requested: bool = False


@contextlib.contextmanager
def stop_requested() -> Iterator[Stop]:
    """Note signals that ask for an end; the loop saves its state at the next step."""
    stop = Stop()

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
def passed_to_children() -> Iterator[None]:
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
