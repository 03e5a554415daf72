"""Notebooks: kept without outputs, executed as copies, the same bytes each time."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from genmorph.cli.notebook import notebook as run_notebook
from genmorph.cohorts.manifest import Scan, write_manifest
from genmorph.cohorts.reading import leave_out
from genmorph.errors import NotebookError
from genmorph.plan.inputs import NEEDS
from genmorph.publish.notebooks import (
    execute_notebook,
    imported_modules,
    read_needs,
    source_of,
    to_html,
)
from support import PROJECT

OURS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def write(tmp_path):
    """Write a notebook of some cells; returns its path."""

    def make(*sources, name="tiny", **metadata):
        cells = [new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(sources)]
        notebook = new_notebook(cells=[new_markdown_cell("words", id="words"), *cells])
        notebook.metadata.update(metadata)
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        return tmp_path / f"{name}.ipynb"

    return make


def texts(notebook):
    return [
        output.get("text") or output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]


def test_there_are_notebooks():
    assert [file.stem for file in OURS][:1] == ["01_first_look"]


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.stem)
def test_ours_are_kept_without_outputs_and_say_what_they_read(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id
        assert not cell.metadata, cell.id
    assert set(notebook.metadata) == {"genmorph", "kernelspec"}
    reads = read_needs(file)
    assert {need.partition(":")[0] for need in reads.needs} <= set(NEEDS)
    assert imported_modules(file)


def test_the_first_look_takes_the_scan_that_is_kept_not_a_left_out_repeat(tmp_path):
    kept = Scan("sub-1", "sub-1", None, path="used.nii", size=1, skull_stripped=False, shard=0)
    repeat = leave_out(replace(kept, path="repeat.nii", shard=None), "selected", "another is used")
    write_manifest(tmp_path / "manifest.tsv", [repeat, kept])
    notebook = nbformat.read(PROJECT / "notebooks" / "01_first_look.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if cell.id == "manifest"]
    names = {
        "pd": pd,
        "paths": SimpleNamespace(fill=lambda *_, **__: tmp_path / "manifest.tsv"),
        "cohort": "tiny",
        "store": SimpleNamespace(ids=["sub-1"]),
        "private": [],
    }
    exec(cell.source, names)
    assert names["scan"]["path"] == "used.nii"


def test_a_notebook_that_does_not_say_what_it_reads_is_named(write):
    assert read_needs(write(genmorph={"study": "s", "model": "m", "needs": ["store"]})).study == "s"
    with pytest.raises(NotebookError, match=r"tiny\.ipynb: does not say"):
        read_needs(write("1"))


def test_modules_of_this_package_are_found_behind_magic_commands(write):
    file = write(
        "%matplotlib inline\nimport os\nfrom genmorph.store import Store",
        "def f():\n    from genmorph.paths import Paths\n!ls",
    )
    assert imported_modules(file) == ("genmorph.paths", "genmorph.store")
    with pytest.raises(NotebookError, match="cell 2 is not Python"):
        imported_modules(write("for"))


def test_it_runs_with_this_interpreter_and_this_package_on_the_given_root(write, tmp_path):
    import genmorph

    file = write(
        "import os, sys, genmorph\nprint(sys.executable)\nprint(genmorph.__file__)",
        "os.environ['GENMORPH_RESULTS']",
        "print('one')\nprint('two', flush=True)\nprint('three')",
        name="where",
    )
    before = file.read_bytes()
    done = execute_notebook(file, tmp_path / "root")
    assert file.read_bytes() == before
    seen = texts(done)
    assert seen[0] == f"{sys.executable}\n{genmorph.__file__}\n"
    assert seen[1] == repr(str(tmp_path / "root"))
    assert seen[2] == "one\ntwo\nthree\n"
    assert not any("execution" in cell.metadata for cell in done.cells)
    again = execute_notebook(file, tmp_path / "root")
    assert nbformat.writes(again) == nbformat.writes(done)
    assert to_html(again, "where") == to_html(done, "where")


def test_a_cell_that_fails_is_named_and_leaves_nothing(write, tmp_path):
    file = write("1 + 1", "raise ValueError('no store here')")
    root = tmp_path / "root"
    root.mkdir()
    out = root / "tiny.ipynb"
    with pytest.raises(NotebookError, match=r"tiny\.ipynb: cell 3 failed: ValueError: no store"):
        run_notebook(file, root, out)
    assert not [path.name for path in root.iterdir() if not path.name.endswith(".lock")]


def test_a_kernel_that_dies_is_an_error(write, tmp_path):
    with pytest.raises(NotebookError, match="its kernel died"):
        execute_notebook(write("import os\nos._exit(3)"), tmp_path)


def test_the_command_writes_notebook_page_and_record(write, tmp_path):
    file = write("from genmorph.paths import Paths\nprint('<b>seen</b>')", name="07_x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "config.resolved.yaml").write_text("config: {}\n")
    (root / "table.csv").write_text("row\n")
    out = root / "notebooks" / "07_x.ipynb"
    run_notebook(file, root, out, reads=[root / "table.csv"])
    assert texts(nbformat.read(out, as_version=4)) == ["<b>seen</b>\n"]
    page = out.with_suffix(".html").read_text()
    assert "&lt;b&gt;seen" in page and "<script" not in page
    record = json.loads((root / "provenance/notebooks/07_x.ipynb.json").read_text())
    assert record["parameters"] == source_of(file)
    assert {entry["path"] for entry in record["inputs"]} == {"07_x.ipynb", "table.csv"}
    assert {entry["path"] for entry in record["outputs"]} == {
        "notebooks/07_x.ipynb",
        "notebooks/07_x.html",
    }
    assert "genmorph.paths" in record["code"]["entries"]


def test_it_is_never_executed_in_place_or_without_results(write, tmp_path):
    file = write("1")
    with pytest.raises(NotebookError, match="never executed in place"):
        run_notebook(file, tmp_path, file)
    with pytest.raises(NotebookError, match="no such results root"):
        run_notebook(file, tmp_path / "nowhere", tmp_path / "out.ipynb")
    with pytest.raises(NotebookError, match=r"absent\.ipynb: no such file"):
        run_notebook(tmp_path / "absent.ipynb", tmp_path, tmp_path / "out.ipynb")
    (tmp_path / "broken.ipynb").write_text("{}")
    with pytest.raises(NotebookError, match=r"broken\.ipynb: not a notebook"):
        execute_notebook(tmp_path / "broken.ipynb", tmp_path)
