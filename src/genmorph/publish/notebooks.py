"""Notebooks that read the results: executed into the results root, never in place.

A notebook says in its own metadata what it reads (`genmorph: {study, model, needs}`), so that the
workflow makes that first. It is kept without outputs.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmorph.errors import NotebookError
from genmorph.files import atomic_path, read_json, sha256_file

METADATA_KEY = "genmorph"
RESULTS_VARIABLE = "GENMORPH_RESULTS"
PACKAGE = "genmorph"
LONGEST_SOCKET_FOLDER = 60  # letters; the system allows 107 for a whole socket's name
STARTUP_SECONDS = 300  # a busy cluster node imports slowly


@dataclass(frozen=True)
class Reads:
    """What a notebook reads.

    Attributes
    ----------
    study : str
    model : str
        Model of `checkpoint`, `samples` and `reconstructions`.
    needs : tuple of str
        Names of files, as figures name theirs.
    """

    study: str
    model: str
    needs: tuple[str, ...]


def read_needs(path: Path) -> Reads:
    """What a notebook says that it reads.

    Raises
    ------
    NotebookError
        When it says nothing.
    """
    try:
        said = read_json(path)["metadata"][METADATA_KEY]
        return Reads(said["study"], said["model"], tuple(said["needs"]))
    except (KeyError, TypeError):
        raise NotebookError(
            f"{path}: does not say what it reads",
            f'give its metadata "{METADATA_KEY}": {{"study": ..., "model": ..., "needs": [...]}}',
        ) from None


def source_of(path: Path) -> dict[str, str]:
    """A notebook's name and the SHA-256 of its file: what decides its outputs besides the data.

    Raises
    ------
    NotebookError
        When there is no such file.
    """
    if not path.is_file():
        raise NotebookError(f"{path}: no such file", "name a notebook (.ipynb)")
    return {"notebook": path.stem, "sha256": sha256_file(path)}


def imported_modules(path: Path) -> tuple[str, ...]:
    """Modules of this package that a notebook imports, sorted.

    Raises
    ------
    NotebookError
        When a cell is not Python (magic commands aside).
    """
    modules = set()
    for number, cell in enumerate(read_json(path)["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        lines = "".join(cell["source"]).splitlines()
        try:
            tree = ast.parse("\n".join(line for line in lines if line[:1] not in ("%", "!")))
        except SyntaxError as error:
            raise NotebookError(f"{path}: cell {number} is not Python ({error})") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
                modules.add(node.module)
    return tuple(sorted(modules))


def execute_notebook(path: Path, results: Path) -> Any:
    """Run a copy of a notebook on a results root, with this interpreter.

    The kernel is the interpreter that runs now, whatever kernels the user has; it reads no
    configuration of the user and leaves no file. It works in the current folder.

    Parameters
    ----------
    path : Path
    results : Path
        The notebook finds it in the environment variable GENMORPH_RESULTS.

    Returns
    -------
    NotebookNode
        With outputs, and without the times of execution.

    Raises
    ------
    NotebookError
        When the file is no notebook, or a cell fails; names both.
    """
    import nbformat
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    class OwnInterpreter(KernelSpecManager):
        """Knows one kernel under every name: this interpreter."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            words = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=words, display_name=kernel_name, language="python")

    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        raise NotebookError(f"{path}: not a notebook ({error})") from None
    with tempfile.TemporaryDirectory(prefix="genmorph-", dir=_short_folder()) as folder:
        # sockets in a folder of our own: no port that others on the machine could listen to
        kernel = AsyncKernelManager(
            kernel_spec_manager=OwnInterpreter(),
            connection_file=f"{folder}/kernel.json",
            transport="ipc",
            ip=f"{folder}/kernel",
        )
        client = NotebookClient(
            notebook,
            km=kernel,
            resources={"metadata": {"path": str(Path.cwd())}},
            timeout=None,
            startup_timeout=STARTUP_SECONDS,
            record_timing=False,
            coalesce_streams=True,
        )
        try:
            client.execute(env=_environment(results, folder), cleanup_kc=True)
        except (CellExecutionError, DeadKernelError) as error:
            raise NotebookError(
                f"{path}: {_failed_cell(notebook, error)}",
                "make what it reads (`snakemake notebooks` does), or correct that cell",
            ) from None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def _short_folder() -> str | None:
    """The folder for temporary files, or /tmp where a socket's name would be too long in it."""
    return "/tmp" if len(tempfile.gettempdir()) > LONGEST_SOCKET_FOLDER else None


def _environment(results: Path, folder: str) -> dict[str, str]:
    source = str(Path(__file__).parents[2])  # this very package, installed or not
    known = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        RESULTS_VARIABLE: str(results.absolute()),
        "PYTHONPATH": os.pathsep.join(filter(None, (source, known))),
        **dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"), folder),
    }


def _failed_cell(notebook: Any, error: Exception) -> str:
    """Which cell failed, counted from 1 over cells of all kinds, and how."""
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", ()):
            if output["output_type"] == "error":
                return f"cell {number} failed: {output['ename']}: {output['evalue']}"
    return f"its kernel died ({error})"


def write_notebook(notebook: Any, out: Path) -> None:
    """Write an executed notebook, and beside it the page of it that a browser shows.

    The page loads nothing from elsewhere.

    Parameters
    ----------
    notebook : NotebookNode
    out : Path
        The `.ipynb`; the `.html` goes beside it.
    """
    import nbformat

    page = to_html(notebook, out.stem)
    with atomic_path(out.with_suffix(".html")) as temporary:
        temporary.write_text(page, encoding="utf-8")
    with atomic_path(out) as temporary:
        nbformat.write(notebook, temporary)


def to_html(notebook: Any, title: str) -> str:
    """The page of an executed notebook: pictures within it, no scripts."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="classic", embed_images=True)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": title}})
    # they are for formulas and widgets, and would be loaded from the network
    return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
