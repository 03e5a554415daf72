"""A hash of exactly the code that a command runs.

Snakemake sees neither an edit of an imported package nor that a touched file did not change.
The hash here follows the static import closure of a command (imports inside functions and
package data named in the code included) and looks at meaning: comments, docstrings and layout
do not count. Nothing is imported to compute it.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from genmorph.files import digest, sha256_bytes, sha256_file

PACKAGE = "genmorph"
PACKAGE_FOLDER = Path(__file__).parents[1]


def code_hash(*entries: str) -> str:
    """One hash for the import closure of some modules.

    Parameters
    ----------
    *entries : str
        Dotted names, such as `genmorph.cli.train` and the model that it is to load.
    """
    return digest(module_hashes(*entries))


def module_hashes(*entries: str) -> dict[str, str]:
    """Hash of every module and data file in the import closure of `entries`.

    Data files stand under `module/file`.
    """
    hashes: dict[str, str] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in hashes:
            continue
        own, data, imported = _examine(_module_file(name))
        hashes[name] = own
        for file in data:
            hashes[f"{name}/{file.name}"] = sha256_file(file)
        waiting += [other for other in imported if other not in hashes]
    return dict(sorted(hashes.items()))


def _module_file(name: str) -> Path:
    relative = Path(*name.split(".")[1:])
    for candidate in (PACKAGE_FOLDER / relative / "__init__.py", PACKAGE_FOLDER / f"{relative}.py"):
        if candidate.is_file():
            return candidate
    raise ModuleNotFoundError(f"{name}: no such module in {PACKAGE}")


def _is_module(name: str) -> bool:
    try:
        _module_file(name)
    except ModuleNotFoundError:
        return False
    return True


@functools.cache
def _examine(file: Path) -> tuple[str, tuple[Path, ...], tuple[str, ...]]:
    """Hash of a source file's meaning, the data files it names, the modules it imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    docstrings = _drop_docstrings(nodes)
    data, imported = set(), set(_parents(_dotted(file)))
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    imported.update([alias.name, *_parents(alias.name)])
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ImportError(f"{file}: relative import; this package imports by full name")
            if node.module and node.module.split(".")[0] == PACKAGE:
                imported.update([node.module, *_parents(node.module)])
                names = (f"{node.module}.{alias.name}" for alias in node.names)
                imported.update(name for name in names if _is_module(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node in docstrings:
                continue
            named = _data_file(file.parent, node.value)
            if named:
                data.add(named)
    # Python 3.12 added a field that is empty in all code written for 3.11.
    meaning = ast.dump(tree).replace(", type_params=[]", "")
    return sha256_bytes(meaning.encode()), tuple(sorted(data)), tuple(sorted(imported))


def _dotted(file: Path) -> str:
    parts = file.relative_to(PACKAGE_FOLDER).with_suffix("").parts
    return ".".join((PACKAGE, *(part for part in parts if part != "__init__")))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _data_file(folder: Path, text: str) -> Path | None:
    """The package data that a string names, if it names any."""
    if not 0 < len(text) < 100 or "." not in text or "\n" in text:
        return None
    named = folder / text
    return named if named.suffix not in ("", ".py") and named.is_file() else None


def _drop_docstrings(nodes: list[ast.AST]) -> set[ast.Constant]:
    """Take the docstrings out of a tree, given as all of its nodes; returns them."""
    dropped = set()
    for node in nodes:
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                dropped.add(first.value)
                node.body = node.body[1:] or [ast.Pass()]
    return dropped
