"""The code hash follows meaning: imports in, comments out."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genmorph.provenance import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be edited."""
    copy = tmp_path / "genmorph"
    shutil.copytree(code.PACKAGE_FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "PACKAGE_FOLDER", copy)
    code._examine.cache_clear()
    yield copy
    code._examine.cache_clear()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    code._examine.cache_clear()


def test_comments_docstrings_and_layout_do_not_count(package):
    before = code.code_hash("genmorph.cohorts.ingest")
    file = package / "cohorts" / "manifest.py"
    edit(file, '"""The manifest:', '"""A manifest:')
    edit(
        file,
        "from __future__ import annotations\n",
        "# why\nfrom __future__ import annotations\n\n",
    )
    file.touch()
    assert code.code_hash("genmorph.cohorts.ingest") == before


def test_a_changed_expression_counts_where_it_is_imported_and_nowhere_else(package):
    ingest, cells = (
        code.code_hash("genmorph.cohorts.ingest"),
        code.code_hash("genmorph.metrics.cells"),
    )
    edit(package / "cohorts" / "manifest.py", "default=0)", "default=1)")
    assert code.code_hash("genmorph.cohorts.ingest") != ingest
    assert code.code_hash("genmorph.metrics.cells") == cells


def test_imports_inside_functions_are_followed(package):
    modules = code.module_hashes("genmorph.cli.ingest")
    assert {"genmorph.cohorts.ingest", "genmorph.cohorts.manifest", "genmorph.files"} <= set(
        modules
    )
    assert "genmorph.provenance.audit" not in modules
    assert not any(name.startswith("genmorph.studies") for name in modules)


def test_package_data_named_in_the_code_counts(package):
    before = code.code_hash("genmorph.studies.m3ae.tables")
    edit(package / "studies" / "m3ae" / "reported.csv", "110.4", "110.5")
    assert code.code_hash("genmorph.studies.m3ae.tables") != before


def test_an_unknown_module_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"genmorph\.nowhere"):
        code.code_hash("genmorph.nowhere")


def test_nothing_is_imported_to_compute_it():
    script = (
        "import sys\nfrom genmorph.provenance.code import code_hash\n"
        "code_hash('genmorph.cli.train', 'genmorph.models.m3ae')\n"
        "assert 'torch' not in sys.modules and 'genmorph.models' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    "command", ["simulate", "ingest", "preprocess", "index", "evaluate.diversity"]
)
def test_a_changed_model_does_not_count_as_code_of_what_needs_none(command):
    modules = code.module_hashes(f"genmorph.cli.{command}")
    assert not [name for name in modules if name.startswith(("genmorph.models", "genmorph.train"))]


def test_a_models_training_does_not_count_the_other_models():
    modules = code.module_hashes("genmorph.cli.train", "genmorph.models.m3ae")
    assert {"genmorph.models.options.m3ae", "genmorph.models.blocks"} <= set(modules)
    assert not [name for name in modules if "vae" in name or "wgan" in name]
