"""The software that carries out a step; `builtin` needs nothing beside the Python packages.

An engine is a module with `correct_bias`, `extract_brain`, `register_affine` and `versions`, as
`builtin` has them. The way onto the grid and intensities are the same for all: see
`genmorph.preprocessing.grid`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from genmorph.errors import ConfigError, did_you_mean

# name in the configuration -> module
ENGINES = {"builtin": "genmorph.preprocessing.engines.builtin"}


def get_engine(name: str) -> ModuleType:
    """The module that carries out steps.

    Raises
    ------
    ConfigError
        When there is no engine of this name.
    """
    if name not in ENGINES:
        raise ConfigError(f"preprocessing.engine: no '{name}'; {did_you_mean(name, ENGINES)}")
    return importlib.import_module(ENGINES[name])


def describe_engine(name: str) -> str:
    """Name and versions in one line: `builtin (SimpleITK 2.5.7, deepbet 1.0.2)`."""
    versions = get_engine(name).versions()
    return f"{name} ({', '.join(f'{tool} {version}' for tool, version in versions.items())})"
