"""Processes: their numerical threads, and that none outlives the one it works for."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from pathlib import Path


def limit_threads(n: int) -> None:
    """Let numerical libraries use `n` threads; call it before they are imported.

    The number of threads changes the order of sums, and with it the last bits of a result: it is
    a configured value, never what a scheduler happens to grant.
    """
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    ):
        os.environ[name] = str(n)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (Linux); for worker processes."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGKILL)


def die_with(pid: int) -> None:
    """Kill this process when process `pid` ends, however it ends.

    For a command started by a workflow: a shell stands between the two, so the kernel's own
    signal would come from the wrong parent. A forked watcher waits for either to end.
    """
    if not hasattr(os, "pidfd_open"):
        return
    own = os.getpid()
    try:
        theirs, mine = os.pidfd_open(pid), os.pidfd_open(own)
    except ProcessLookupError:
        sys.exit(f"genmorph: process {pid}, which this command works for, has ended")
    if os.fork():
        os.close(theirs)
        os.close(mine)
        return
    try:
        _close_inherited(keep={theirs, mine})
        ended, _, _ = select.select([theirs, mine], [], [])
        if mine not in ended:
            os.kill(own, signal.SIGKILL)
    finally:
        os._exit(0)


def _close_inherited(keep: set[int]) -> None:
    """Let go of the log and of pipes: whoever reads them must not wait for the watcher."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        descriptor = int(entry.name)
        if descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:
                continue
