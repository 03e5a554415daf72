"""Files appear whole or not at all; locks die with their holder."""

from __future__ import annotations

import errno
import subprocess
import sys
import time

import pytest

from genmorph.errors import BusyError, GenmorphError
from genmorph.files import (
    atomic_folder,
    atomic_path,
    folder_hashes,
    locked,
    merkle_root,
    read_json,
    read_tsv,
    write_json,
    write_tsv,
)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_folder(tmp_path):
    path = tmp_path / "folder"
    with atomic_folder(path) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "a").write_text("half")
        raise RuntimeError
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_of_a_file_left_is_removed_and_a_living_ones_stays(tmp_path):
    path = tmp_path / "a.txt"
    write = f"""
import os, signal, sys
from genmorph.files import atomic_path
with atomic_path({str(path)!r}) as temporary:
    temporary.write_text("half")
    print("half", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", write], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "half\n"
        write_json(path, 1)
        (living,) = tmp_path.glob(".tmp-*")
        assert living.read_text() == "half"
        writer.kill()
    assert living.exists()
    write_json(path, 2)
    assert list(tmp_path.iterdir()) == [path] and read_json(path) == 2


def test_a_writer_that_writes_nothing_is_told_so(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(GenmorphError, match=r"a\.txt: nothing was written"), atomic_path(path):
        pass
    assert path.read_text() == "old"


def test_what_a_killed_writer_of_a_folder_left_is_removed(tmp_path):
    for left in (".tmp-1234-age[60]", ".tmp-old-age[60]", ".tmp-1234-another-age[60]"):
        (tmp_path / left).mkdir()
    with atomic_folder(tmp_path / "age[60]") as temporary:
        (temporary / "a").write_text("new")
    there = sorted(path.name for path in tmp_path.iterdir())
    assert there == [".tmp-1234-another-age[60]", "age[60]"]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(stream, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    for writer in (atomic_path(tmp_path / "a.txt"), locked(tmp_path / "store")):
        with pytest.raises(GenmorphError, match="its file system has no locks"), writer:
            pass
    assert not list(tmp_path.glob(".tmp-*"))


def test_merkle_root_sees_names_and_bytes_and_not_dot_files(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    root = merkle_root(folder_hashes(tmp_path))
    (tmp_path / ".snakemake_timestamp").write_text("")
    assert merkle_root(folder_hashes(tmp_path)) == root
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").write_text("1")
    assert merkle_root(folder_hashes(tmp_path)) != root


def test_a_lock_is_refused_while_its_holder_lives_and_free_after_kill(tmp_path):
    code = (
        "import time, sys\nfrom pathlib import Path\nfrom genmorph.files import locked\n"
        f"with locked(Path({str(tmp_path / 'out')!r})):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match="another process"), locked(tmp_path / "out", wait=False):
        pass
    holder.kill()
    holder.wait()
    start = time.monotonic()
    with locked(tmp_path / "out"):
        assert time.monotonic() - start < 5


def test_tables_read_back_with_missing_values(tmp_path):
    path = tmp_path / "a.tsv"
    write_tsv(path, ("x", "y"), [{"x": 1, "y": None}, {"x": "b"}])
    assert path.read_text() == "x\ty\n1\tn/a\nb\tn/a\n"
    assert read_tsv(path) == [{"x": "1", "y": None}, {"x": "b", "y": None}]
    with pytest.raises(GenmorphError, match="column z is missing; found: x, y"):
        read_tsv(path, ("z",))
    with pytest.raises(GenmorphError, match="no such file"):
        read_tsv(tmp_path / "absent.tsv")


def test_json_errors_name_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{")
    with pytest.raises(GenmorphError, match=r"a\.json: not a JSON file"):
        read_json(path)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert path.read_text() == "{"
