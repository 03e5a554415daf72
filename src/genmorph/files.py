"""Files that appear whole or not at all, their hashes, and locks that die with their holder."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from genmorph.errors import BusyError, GenmorphError

MISSING = "n/a"  # how BIDS tables write a missing value


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling that is renamed to `path` when the block ends without error.

    The temporary name keeps the suffixes of `path`, for writers that look at them. What an earlier,
    killed process left under such a name is removed first.

    Raises
    ------
    GenmorphError
        When the block wrote nothing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in _leftovers(path):
        # the lock of a writer that lives cannot be had
        with contextlib.suppress(OSError), leftover.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with temporary.open("wb") as held:
        try:
            flock(held, fcntl.LOCK_EX)  # tells others that its writer lives
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
                if not os.fstat(stream.fileno()).st_size:
                    raise GenmorphError(f"{path}: nothing was written")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _leftovers(path: Path) -> list[Path]:
    """What killed writers of a file or folder left beside it; not what is of `another-{name}`."""
    ours = re.compile(rf"\.tmp-(\d+|old)-{re.escape(path.name)}")
    return [other for other in path.parent.iterdir() if ours.fullmatch(other.name)]


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a temporary sibling folder that replaces `path` when the block ends without error.

    What an earlier, killed process left under a temporary name is removed first; the caller
    holds the lock of `path`, so nobody else can own it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in _leftovers(path):
        shutil.rmtree(leftover)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    temporary.mkdir()
    try:
        yield temporary
        # A folder cannot be renamed over a filled one: the old one steps aside first.
        if path.exists():
            aside = path.with_name(f".tmp-old-{path.name}")
            path.replace(aside)
            temporary.replace(path)
            shutil.rmtree(aside)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(output: Path | str, *, wait: bool = True) -> Iterator[None]:
    """Hold an operating system lock for `output` (a file or folder that need not exist yet).

    The lock is released by the kernel when its holder dies, so a killed job leaves none behind.

    Raises
    ------
    BusyError
        When another process holds it and `wait` is False.
    """
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    lock_file = output.with_name(f".{output.name}.lock")
    with lock_file.open("a") as stream:
        try:
            flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise BusyError(
                    f"{output}: another process is writing it",
                    "wait for that process, or stop it",
                ) from None
            print(f"waiting: another process is writing {output}", file=sys.stderr, flush=True)
            flock(stream, fcntl.LOCK_EX)
        yield


def flock(stream: IO[Any], operation: int) -> None:
    """Lock an open file for as long as it is open, as `fcntl.flock` does.

    Raises
    ------
    BlockingIOError
        When another process has it and `operation` does not wait.
    GenmorphError
        When the file system has no such locks.
    """
    try:
        fcntl.flock(stream, operation)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise GenmorphError(
            f"{stream.name}: its file system has no locks ({error.strerror})",
            "keep results on one that has (Lustre: mounted with -o flock)",
        ) from None


def sha256_bytes(content: bytes | memoryview) -> str:
    """SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's bytes in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_hashes(folder: Path | str) -> dict[str, str]:
    """SHA-256 of every file below `folder` by relative path.

    Files whose name starts with `.` (Snakemake's time stamp among them) do not count.
    """
    folder = Path(folder)
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(files)}


def merkle_root(hashes: Mapping[str, str]) -> str:
    """One hash that stands for a folder: SHA-256 over its sorted names and file hashes."""
    lines = (f"{name}\0{digest}\n" for name, digest in sorted(hashes.items()))
    return sha256_bytes("".join(lines).encode())


def canonical_json(value: Any) -> str:
    """Compact JSON with sorted keys: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in its canonical form."""
    return sha256_bytes(canonical_json(value).encode())


def json_text(value: Any) -> str:
    """JSON as files have it: with sorted keys, a value a line, and no NaN."""
    return json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n"


def write_json(path: Path | str, value: Any) -> None:
    """Write a JSON file atomically, with sorted keys and no NaN."""
    with atomic_path(path) as temporary:
        temporary.write_text(json_text(value))


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises
    ------
    GenmorphError
        When the file is absent or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GenmorphError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:  # no text, no JSON, or brackets without end
        raise GenmorphError(f"{path}: not a JSON file ({error})") from None


def read_json_object(path: Path | str) -> dict[str, Any]:
    """Read a JSON file that holds keys and values.

    Raises
    ------
    GenmorphError
        As `read_json`, and when it holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise GenmorphError(f"{path}: keys and values are expected at the top")
    return content


def write_tsv(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a tab-separated table atomically; None becomes `n/a` as BIDS has it."""
    with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            values = (row.get(column) for column in columns)
            writer.writerow([MISSING if value is None else value for value in values])


def read_tsv(path: Path | str, required: Iterable[str] = ()) -> list[dict[str, str | None]]:
    """Read a tab-separated table as a list of rows; `n/a` and empty become None.

    Raises
    ------
    GenmorphError
        When the file is absent, a `required` column is missing, or a line has more cells than the
        header.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter="\t")
            columns = reader.fieldnames or []
            rows = [
                {key: None if value in (None, "", MISSING) else value for key, value in row.items()}
                for row in reader
            ]
    except FileNotFoundError:
        raise GenmorphError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise GenmorphError(f"{path}: not a tab-separated table ({error})") from None
    if any(None in row for row in rows):  # where DictReader puts what no column claims
        raise GenmorphError(f"{path}: a line has more cells than the {len(columns)} of the header")
    missing = [column for column in required if column not in columns]
    if missing:
        raise GenmorphError(
            f"{path}: column {', '.join(missing)} is missing; found: {', '.join(columns)}"
        )
    return rows
