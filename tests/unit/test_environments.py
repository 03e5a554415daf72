"""Files that describe the environment: one set of versions, in all of them."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support import PROJECT

ENVS = PROJECT / "envs"


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


def test_the_conda_environment_has_the_versions_of_the_lock(locked, asked):
    environment = yaml.safe_load((ENVS / "genmorph.yaml").read_text())
    assert set(environment) == {"name", "channels", "dependencies"}
    # no licence is asked for, and nothing comes from a channel that is not named
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    stated = pins(pip["pip"])
    assert stated == {name: locked[name] for name in asked}


def test_every_rule_names_an_environment_that_is_there():
    named = set()
    for file in (PROJECT / "rules").glob("*.smk"):
        named |= set(re.findall(r'"\.\./envs/(\S+)"', file.read_text()))
    assert named == {"genmorph.yaml"}


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
