"""A real Slurm of one node on this machine, for tests; it is not how a cluster is set up.

    python tests/slurm/cluster.py start FOLDER     start it; prints the variables its clients need
    python tests/slurm/cluster.py stop FOLDER      stop what that started, and only that

Everything it writes, from the key of munge to the fake GPUs, lies in FOLDER, and nothing listens
but on the loopback. Debian's slurm-wlm and munge are installed when they are missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
PACKAGES = ("slurm-wlm", "munge")
STARTED_IN_SECONDS = 30
FAKE_GPUS = 4
GPU_MODEL = "fake"
MEMORY_MB = 64_000  # promised, not owned: what the rules ask for has to fit

# slurm.conf, with what other test set-ups rarely need and this one does:
# config_overrides     the node is as large as promised, whatever the machine has
# MinJobAge            squeue still shows finished jobs when Snakemake asks for them
# KillWait             seconds between SIGTERM and SIGKILL
# OverTimeLimit        none: a job over its limit is ended at the next look
CONFIGURATION = """\
ClusterName=genmorph
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MinJobAge=600
KillWait=20
SlurmctldTimeout=30
SlurmdTimeout=30
JobRequeue=1
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{model}:{gpus}
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""


class ClusterError(Exception):
    """Slurm cannot be started here; the message names the cure."""


def start(folder: Path) -> dict[str, str]:
    """Start munge, controller and node; wait until the node is idle.

    Parameters
    ----------
    folder : Path
        Where all of it lies; made here. Its path must be short: sockets lie in it.

    Returns
    -------
    dict of str to str
        Environment variables of its clients.

    Raises
    ------
    ClusterError
        When Slurm is not installed and cannot be, or does not come up.
    """
    require_programs()
    folder = folder.resolve()
    if (folder / "slurm.conf").exists():
        raise ClusterError(f"{folder}: holds a Slurm already\n  cure: stop it, or name another")
    for name in ("munge", "state", "spool", "bin", "gpus"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "munge").chmod(0o755)  # munge wants its socket to be reached by all
    _configure(folder)
    variables = client_variables(folder)
    environment = os.environ | variables
    try:
        _start_munge(folder)
        for daemon in ("slurmctld", "slurmd"):
            _run([_program(daemon)], environment, folder / f"{daemon}.log")
        _wait_until_idle(environment, folder)
    except BaseException:
        stop(folder)
        raise
    return variables


def stop(folder: Path) -> None:
    """End the daemons that `start` began in this folder, by their ids; the folder stays."""
    folder = folder.resolve()
    environment = os.environ | client_variables(folder)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            ["scancel", "--full", f"--user={_user()}"],
            env=environment, capture_output=True, timeout=10,
        )  # fmt: skip
    for daemon, file in (
        ("slurmd", "slurmd.pid"),
        ("slurmctld", "slurmctld.pid"),
        ("munged", "munge/munged.pid"),
    ):
        _end(folder / file, daemon)
    (folder / "slurm.conf").unlink(missing_ok=True)


def client_variables(folder: Path) -> dict[str, str]:
    """What sbatch, squeue and Snakemake need in their environment to find this Slurm.

    Snakemake starts `srun` inside a job without SLURM_CONF: one in front of it on PATH puts the
    variable back.
    """
    path = os.environ.get("PATH", "")
    return {
        "SLURM_CONF": str(folder.resolve() / "slurm.conf"),
        "PATH": f"{folder.resolve() / 'bin'}:{path}",
    }


def require_programs() -> None:
    """Install what is missing.

    Raises
    ------
    ClusterError
        Without root or apt-get, or when the packages cannot be had.
    """
    missing = [name for name in PROGRAMS if not _found(name)]
    if not missing:
        return
    cure = f"install {' and '.join(PACKAGES)} (as root: apt-get install {' '.join(PACKAGES)})"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(f"Slurm is not installed (no {', '.join(missing)})\n  cure: {cure}")
    quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, text=True, **quiet)
    if done.returncode:
        raise ClusterError(f"Slurm cannot be installed: {done.stderr.strip()}\n  cure: {cure}")


# -- parts -----------------------------------------------------------------------------------------


def _configure(folder: Path) -> None:
    host = socket.gethostname().split(".")[0]
    controller_port, node_port = _free_ports(2)
    devices = [folder / "gpus" / f"gpu{number}" for number in range(FAKE_GPUS)]
    for device in devices:
        device.unlink(missing_ok=True)  # of a Slurm that lay here before
        device.symlink_to("/dev/null")  # Slurm wants devices; whose, it does not ask
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=host,
            controller_port=controller_port,
            node_port=node_port,
            user=_user(),
            folder=folder,
            cpus=max(2, os.cpu_count() or 1),
            memory=MEMORY_MB,
            model=GPU_MODEL,
            gpus=FAKE_GPUS,
        )
    )
    # a count without files makes the node invalid
    (folder / "gres.conf").write_text(
        f"NodeName={host} Name=gpu Type={GPU_MODEL} File={folder}/gpus/gpu[0-{FAKE_GPUS - 1}]\n"
    )
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF="{folder}/slurm.conf" exec "{_program("srun")}" "$@"\n')
    srun.chmod(0o755)


def _start_munge(folder: Path) -> None:
    key = folder / "munge" / "key"
    key.unlink(missing_ok=True)
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    _run(
        [
            _program("munged"),
            "--force",  # folders above may be open to others: this key guards nothing but tests
            f"--key-file={key}",
            f"--socket={folder}/munge/socket",
            f"--pid-file={folder}/munge/munged.pid",
            f"--log-file={folder}/munge/munged.log",
            f"--seed-file={folder}/munge/seed",
        ],
        dict(os.environ),
        folder / "munge" / "munged.log",
    )


def _run(command: list[str], environment: dict[str, str], log: Path) -> None:
    """Start a daemon: it returns when it has detached itself."""
    # Its output goes to no pipe: a daemon that keeps one open would keep whoever reads it waiting.
    with log.open("ab") as stream:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
        )
    if done.returncode:
        raise ClusterError(f"{command[0]} did not start:\n{_end_of(log)}\n  cure: read {log}")


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + STARTED_IN_SECONDS
    while time.monotonic() < deadline:
        state = subprocess.run(
            ["sinfo", "--noheader", "--partition=cpu", "--format=%T"],
            env=environment, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        if state == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join(_end_of(folder / f"{name}.log") for name in ("slurmctld", "slurmd"))
    raise ClusterError(
        f"the node is '{state}', not idle, after {STARTED_IN_SECONDS} s:\n{logs}\n"
        f"  cure: read the logs in {folder}"
    )


def _end(pid_file: Path, name: str) -> None:
    """End one daemon and wait; a process of another name under its id is left alone."""
    try:
        pid = int(pid_file.read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() != name:
            return
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):  # never started, or gone
        return
    deadline = time.monotonic() + 15
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, signal.SIGKILL)


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _program(name: str) -> str:
    found = _found(name)
    if found is None:
        raise ClusterError(f"no {name}\n  cure: install {' and '.join(PACKAGES)}")
    return found


def _free_ports(n: int) -> list[int]:
    """Ports that nothing listens on now; held together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _end_of(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def main() -> None:
    """Start or stop, as the command line says."""
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit(__doc__)
    command, folder = sys.argv[1], Path(sys.argv[2])
    try:
        if command == "stop":
            stop(folder)
        else:
            for name, value in start(folder).items():
                print(f'export {name}="{value}"')
    except ClusterError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
