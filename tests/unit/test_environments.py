"""Files that describe the environment: one set of versions, in all of them."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from genmorph.metrics.options import MEASURES
from genmorph.provenance.code import module_hashes
from genmorph.provenance.record import PACKAGES
from support import PROJECT

ENVS, SOURCE = PROJECT / "envs", PROJECT / "src/genmorph"


def pins(lines) -> dict[str, str]:
    """Versions by package name."""
    stated = (line.split("#")[0].strip() for line in lines)
    found = [line.split("==") for line in stated if line]
    return {canonicalize_name(name): version for name, version in found}


@pytest.fixture(scope="module")
def locked():
    return pins((ENVS / "requirements.lock").read_text().splitlines())


@pytest.fixture(scope="module")
def asked():
    """What the project asks for itself, by name."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    requirements = map(Requirement, project["dependencies"])
    return {canonicalize_name(each.name): each for each in requirements}


def test_the_lock_holds_what_the_project_asks_for(locked, asked):
    for name, requirement in asked.items():
        assert requirement.specifier.contains(locked[name]), (name, locked[name])


def packages_of(file: Path) -> dict[str, str]:
    """Versions that a conda environment pins, by package name."""
    environment = yaml.safe_load(file.read_text())
    assert set(environment) - {"name"} == {"channels", "dependencies"}
    # no licence is asked for, and nothing comes from a channel that is not named
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    return pins(pip["pip"])


def test_the_whole_conda_environment_has_the_versions_of_the_lock(locked, asked):
    assert packages_of(ENVS / "genmorph.yaml") == {name: locked[name] for name in asked}


def commands_by_environment() -> dict[str, set[str]]:
    """Modules of the commands that the rules of each environment start."""
    commands = defaultdict(set)
    for file in (PROJECT / "rules").glob("*.smk"):
        for rule in re.split(r"^(?=(?:rule|checkpoint) )", file.read_text(), flags=re.M):
            for name, words in zip(
                re.findall(r'"\.\./envs/(\S+)"', rule),
                re.findall(r'"genmorph (\w+ \S+)', rule),
                strict=True,
            ):
                first, second = words.split()
                kinds = MEASURES if second == "{params.kind}" else [second]
                for module in (
                    [f"{first}.{kind}" for kind in kinds] if first == "evaluate" else [first]
                ):
                    commands[name].add(f"genmorph.cli.{module}")
    return commands


# packages whose modules are imported by a name that stands in the configuration
BY_NAME = {
    "data.yaml": ("cohorts", "preprocessing"),
    "models.yaml": ("models", "metrics", "controls"),
    "publishing.yaml": ("studies", "publish"),
}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_family_s_environment_has_what_its_commands_import(name, locked):
    stated = packages_of(ENVS / name)
    assert stated == {package: locked[package] for package in stated}
    entries = commands_by_environment()[name]
    assert entries
    for folder in BY_NAME[name]:
        for file in (SOURCE / folder).rglob("*.py"):
            parts = file.relative_to(SOURCE.parent).with_suffix("").parts
            entries.add(".".join(part for part in parts if part != "__init__"))
    had = set()
    waiting = list(stated)
    while waiting:
        had.add(package := waiting.pop())
        for text in requires(package) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting += {canonicalize_name(needed.name)} - had
    missing = imported_by(entries) - had
    assert not missing, f"{name}: {sorted(missing)}"


def test_what_decides_the_numbers_is_recorded():
    """Readers of settings, of pages and of pictures decide none."""
    without_a_say = {"defusedxml", "pillow", "pyyaml"}
    entries = {
        ".".join(part for part in file.relative_to(SOURCE.parent).with_suffix("").parts)
        for room in ("cohorts", "preprocessing", "training", "models", "metrics")
        for file in (SOURCE / room).rglob("*.py")
        if file.stem != "__init__"
    }
    recorded = set(map(canonicalize_name, PACKAGES))
    assert imported_by(entries) - without_a_say <= recorded


def imported_by(entries) -> set[str]:
    """Packages that the import closure of some modules asks for, imports in functions included."""
    providers = packages_distributions()
    packages = set()
    for module in (each for each in module_hashes(*entries) if "/" not in each):
        path = SOURCE.parent.joinpath(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names:
                packages |= set(map(canonicalize_name, providers[top]))
    return packages - {"genmorph"}


def test_every_rule_names_an_environment_of_a_family():
    assert set(commands_by_environment()) == set(BY_NAME)


def test_the_container_is_made_of_the_same_python_and_lock():
    text = (ENVS / "genmorph.def").read_text()
    header, *sections = re.split(r"^%", text, flags=re.M)
    stated = dict(re.findall(r"^(\w+): (\S+)$", header, flags=re.M))
    assert stated["Bootstrap"] == "docker"
    assert re.fullmatch(r"python:3\.11-slim-\w+", stated["From"])
    bodies = dict(part.split("\n", 1) for part in sections)
    for line in filter(str.strip, bodies["files"].splitlines()):
        assert (PROJECT / line.split()[0]).exists(), line
    assert "PIP_CONSTRAINT=/opt/genmorph/requirements.lock" in bodies["post"]
    assert "genmorph --version" in bodies["test"]
