"""Workers: every task is answered, a death costs one task, and no worker outlives its parent."""

from __future__ import annotations

import errno
import gc
import os
import signal
import struct
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from genmorph.processes import WorkerDied, die_with, shell_prefix, work_through


def square(task: int) -> int:
    return task * task


def moody(task: str) -> str:
    if task == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "leave":
        os._exit(3)
    if task == "half":  # of an answer: its length, and no more
        (pipe,) = (each for each in gc.get_objects() if isinstance(each, Connection))
        os.write(pipe.fileno(), struct.pack("!i", 1000) + b"begun")
        os._exit(3)
    if task.startswith("/"):  # dies once, and leaves a mark
        if not Path(task).exists():
            Path(task).touch()
            os._exit(1)
        return "second time"
    return task


def threads(_: int) -> tuple[int, int, str]:
    import SimpleITK as sitk
    import torch

    itk = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    return torch.get_num_threads(), itk, os.environ["OPENBLAS_NUM_THREADS"]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_task_is_answered_once(workers):
    found = dict(work_through(square, [3, 1, 4], workers=workers))
    assert found == {0: 9, 1: 1, 2: 16}
    assert list(work_through(square, [], workers=workers)) == []


def test_a_death_costs_one_task(tmp_path):
    tasks = ["a", "kill", "b", "leave", str(tmp_path / "mark"), "c", "d"]
    found = dict(work_through(moody, tasks, workers=2))
    assert sorted(found) == list(range(len(tasks)))
    assert isinstance(found[1], WorkerDied) and found[1].exit_code == -signal.SIGKILL
    assert "SIGKILL: killed, or out of memory" in str(found[1])
    assert isinstance(found[3], WorkerDied) and "exit code 3" in str(found[3])
    assert found[4] == "second time"  # innocent victims get another chance
    assert [found[index] for index in (0, 2, 5, 6)] == ["a", "b", "c", "d"]


def test_what_is_left_waits_until_a_death_is_settled():
    """A caller who wants results in order must not have to hold the rest of a shard."""
    answers = list(work_through(moody, ["a", "kill", "b", "c"], workers=1))
    assert [index for index, _ in answers] == [0, 1, 2, 3]


def test_where_no_end_of_a_process_can_be_watched_commands_run_all_the_same(monkeypatch):
    def refused(_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "pidfd_open", refused)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("nothing to watch"))
    die_with(os.getpid())


def test_workers_use_the_threads_they_are_given_and_the_environment_stays(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert list(work_through(threads, [0], workers=1, numerical_threads=2)) == [(0, (2, 2, "2"))]
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_an_answer_cut_short_costs_one_task():
    answers = dict(work_through(moody, ["half", "other"], workers=1))
    assert answers == {0: WorkerDied(3), 1: "other"}


def test_a_workflow_runs_its_own_interpreter_and_code_whatever_is_on_the_path(tmp_path):
    programs = tmp_path / "other environment"
    programs.mkdir()
    (programs / "genmorph").write_text("#!/bin/sh\necho another\n")
    (programs / "genmorph").chmod(0o755)
    source = tmp_path / "a checkout" / "src"
    (source / "genmorph").mkdir(parents=True)
    (source / "genmorph/__init__.py").touch()
    (source / "genmorph/__main__.py").write_text("import sys; print(sys.executable, sys.argv[1:])")
    (tmp_path / "genmorph.py").write_text("print('of the working folder')")
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail; {shell_prefix(source)} genmorph 'a b' c"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{sys.executable} ['a b', 'c']\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_workers_die_with_their_parent(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os, time\n"
        "from genmorph.processes import work_through\n"
        "def slow(folder):\n"
        "    open(f'{folder}/{os.getpid()}.pid', 'w').close()\n"
        "    time.sleep(120)\n"
        "if __name__ == '__main__':\n"
        f"    list(work_through(slow, [{str(tmp_path)!r}] * 2, workers=2))\n"
    )
    parent = subprocess.Popen([sys.executable, tmp_path / "slow.py"])
    wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    children = [int(path.stem) for path in tmp_path.glob("*.pid")]
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(alive(child) for child in children))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
