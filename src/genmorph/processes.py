"""Processes: their numerical threads, and that none outlives the one it works for."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import select
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def limit_threads(n: int) -> None:
    """Let numerical libraries use `n` threads; call it before they are imported.

    The number of threads changes the order of sums, and with it the last bits of a result: it is
    a configured value, never what a scheduler happens to grant.
    """
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n)))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n)
    if "SimpleITK" in sys.modules:
        sys.modules["SimpleITK"].ProcessObject.SetGlobalDefaultNumberOfThreads(n)


def shell_prefix(source: Path, *, deployed: bool = False) -> str:
    """What a workflow's shell does before each command.

    The command comes from `source` and ends when this process does (`die_with`). A scheduler sends
    SIGTERM to every process of a job; a shell would end at once and take the job's right to go on
    with it, so it waits until the command, which may have its state to save, has answered.

    Parameters
    ----------
    source : Path
        Folder that holds the package.
    deployed : bool
        Whether the workflow brings an environment, conda's or a container: its Python runs the
        command, otherwise this one does, whatever else is on the search path.

    Returns
    -------
    str
        POSIX shell, to be put in front of a command line.
    """
    python = "python" if deployed else shlex.quote(sys.executable)
    variables = f"PYTHONPATH={shlex.quote(str(source))} GENMORPH_DIE_WITH={os.getpid()}"
    command = f'genmorph() ( exec {python} -P -m genmorph "$@" )'
    return f"trap : TERM; export {variables}; {command}; "


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (Linux); for worker processes."""
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGKILL)
        # It may have ended while this process started, before the kernel was asked.
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:
            os._exit(1)


def die_with(pid: int) -> None:
    """Kill this process when process `pid` ends, however it ends.

    For a command started by a workflow: a shell stands between the two, so the kernel's own
    signal would come from the wrong parent. A forked watcher waits for either to end. Where the
    system cannot tell of the end of a process (before Linux 5.3, or where a container forbids it),
    nothing is watched: the command then outlives a workflow that is killed.
    """
    if not hasattr(os, "pidfd_open"):
        return
    own = os.getpid()
    try:
        theirs, mine = os.pidfd_open(pid), os.pidfd_open(own)
    except ProcessLookupError:
        sys.exit(f"genmorph: process {pid}, which this command works for, has ended")
    except OSError:
        return
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


@dataclass(frozen=True)
class WorkerDied:
    """What a task came to whose worker process died on it, with company and again alone.

    Attributes
    ----------
    exit_code : int
        As `multiprocessing` gives it: negative is the number of a signal.
    """

    exit_code: int

    def __str__(self) -> str:
        if self.exit_code >= 0:
            return f"the worker process ended by itself (exit code {self.exit_code})"
        name = signal.Signals(-self.exit_code).name
        hint = ": killed, or out of memory" if name == "SIGKILL" else ""
        return f"the worker process died ({name}{hint})"


def work_through(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    workers: int,
    numerical_threads: int = 1,
) -> Iterator[tuple[int, Any]]:
    """Carry out `function` on each task in worker processes; what a task kills is only its worker.

    Parameters
    ----------
    function : callable
        Importable; it turns exceptions into results itself.
    tasks : sequence
    workers : int
        Processes. Each dies with this one.
    numerical_threads : int
        Of each worker.

    Yields
    ------
    index, result : int, object
        As they come. A worker that dies is replaced, and its task tried once more when the other
        workers have ended theirs, alone on the machine as far as this function goes: only that can
        be laid to the task. If it dies again the result is a `WorkerDied`. The rest waits until
        then: a caller who wants results in order would otherwise hold all of theirs.
    """
    waiting, suspects = list(range(len(tasks)))[::-1], []
    crew: dict[Connection, _Worker] = {}

    def start(index: int) -> _Worker:
        worker = _Worker(function, numerical_threads)
        crew[worker.connection] = worker
        worker.take(index, tasks)
        return worker

    try:
        while waiting or crew or suspects:
            if suspects and not crew:
                worker = start(suspects.pop(0))
                result = worker.answer()
                crew.pop(worker.connection).dismiss()
                yield worker.task, result
                continue
            while waiting and not suspects and len(crew) < workers:
                start(waiting.pop())
            for connection in wait(list(crew)):
                worker = crew[connection]
                index, result = worker.task, worker.answer()
                if isinstance(result, WorkerDied):
                    del crew[connection]
                    suspects.append(index)
                    continue
                # The worker goes on while the caller looks at the result.
                if waiting and not suspects:
                    worker.take(waiting.pop(), tasks)
                else:
                    crew.pop(connection).dismiss()
                yield index, result
    finally:
        for worker in crew.values():
            worker.process.kill()
            worker.dismiss()


class _Worker:
    """A process that carries out one task at a time, and the pipe to it."""

    def __init__(self, function: Callable[[Any], Any], numerical_threads: int) -> None:
        # Spawned, not forked: libraries with threads of their own do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, function, numerical_threads), daemon=True
        )
        with _thread_variables(numerical_threads):
            self.process.start()
        theirs.close()  # or its death would not be seen on the pipe

    def take(self, index: int, tasks: Sequence[Any]) -> None:
        """Send it a task."""
        self.task = index
        with contextlib.suppress(ConnectionError):  # already dead: seen when its answer is read
            self.connection.send(tasks[index])

    def answer(self) -> Any:
        """Wait for the result of its task; `WorkerDied` when there will be none."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):  # before its answer, or with half of it sent
            return WorkerDied(self.dismiss())

    def dismiss(self) -> int:
        """Let it end; its exit code."""
        self.connection.close()
        self.process.join()
        return self.process.exitcode


def _serve(connection: Connection, function: Callable[[Any], Any], numerical_threads: int) -> None:
    """Life of a worker: answer tasks until the pipe is closed."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    limit_threads(numerical_threads)
    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionError):
            return
        connection.send(function(task))


@contextlib.contextmanager
def _thread_variables(n: int) -> Iterator[None]:
    """The environment a worker starts with: libraries read it when they are imported."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
