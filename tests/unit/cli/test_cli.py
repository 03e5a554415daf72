"""The command line: quick to answer, help that teaches, errors without a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from genmorph.cli import GROUPS


def genmorph(*words: str):
    return subprocess.run(
        [sys.executable, "-m", "genmorph", *words], capture_output=True, text=True
    )


def test_help_loads_nothing_heavy():
    script = (
        "import sys; from genmorph.cli import build; build();"
        "heavy = {'torch', 'numpy', 'pandas', 'nibabel', 'SimpleITK', 'matplotlib', 'zarr'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_table_needs_no_torch():
    script = (
        "import sys, genmorph.cli.table, genmorph.publish.tables, genmorph.provenance.record;"
        "import genmorph.studies.m3ae.tables; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("group", GROUPS)
def test_every_command_explains_itself(group):
    done = genmorph(group, "--help")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5


def test_an_error_says_what_is_wrong_and_the_cure(tmp_path):
    done = genmorph(
        "ingest",
        "--root",
        str(tmp_path / "nowhere"),
        "--out",
        str(tmp_path / "out"),
        "--parameters",
        '{"cohort": "a", "layout": "bids", "options": {}, "shares": {"train": 1}, "split_seed": 0, '
        '"shard_size": 1}',
    )
    assert done.returncode == 2
    assert "nowhere: no such folder" in done.stderr and "cure:" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_parameters_are_named():
    done = genmorph("table", "x.json", "--out", "t.csv", "--parameters", "{")
    assert done.returncode == 2
    assert "--parameters: not JSON" in done.stderr
