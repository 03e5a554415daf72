"""`genmorph cohorts check`: what a study would find, without writing anything."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from genmorph.cli import build, cohorts
from genmorph.cli.cohorts import _people
from genmorph.cohorts.manifest import Scan
from genmorph.errors import CohortError, ConfigError


def check(*words):
    result = CliRunner().invoke(build(), ["cohorts", "check", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.fixture
def tree(make_bids):
    root = make_bids()
    anat = root / "sub-01" / "anat"
    shutil.copy(anat / "sub-01_T1w.nii.gz", anat / "sub-01_run-2_T1w.nii.gz")
    return root


def test_the_flow_its_reasons_and_the_people_are_printed(tree):
    before = sorted(tree.rglob("*"))
    lines = check("--layout", "bids", "--root", tree).splitlines()
    stages = {line.split(":")[0] for line in lines}
    assert {"7  found", "7  matched", "6  selected", "6  kept"} <= stages
    assert any(line.strip().startswith("-1  ") for line in lines)
    assert "6 people, 6 scans" in lines and "  scans by diagnosis: CN 6" in lines
    assert any("60 to 65" in line for line in lines)
    assert sorted(tree.rglob("*")) == before


def test_people_are_counted_once_and_sessions_stand_in_their_order(monkeypatch):
    def scan(person, session, age, sex="F"):
        return Scan(f"sub-{person}_ses-{session}", f"sub-{person}", f"ses-{session}", "", 0, False,
                    age_years=age, sex=sex)  # fmt: skip

    scans = [scan(1, 10, 70.0), scan(1, 2, 60.0), scan(2, 2, 50.0, "M")]
    assert _people(scans) == [
        "2 people, 3 scans",
        "  age 55.0 ± 7.1 years, 50 to 60",
        "  sex: F 1, M 1",
        "  scans by diagnosis: n/a 3",
        "  scans by session: ses-2 2, ses-10 1",
    ]
    monkeypatch.setattr(cohorts, "MOST_TOLD", 1)
    assert _people(scans)[-1] == "  scans by session: 2 values"


def test_the_flow_is_drawn_when_asked_for(tree, tmp_path):
    out = tmp_path / "flow.png"
    check("--layout", "bids", "--root", tree, "--figure", out)
    first = out.read_bytes()
    check("--layout", "bids", "--root", tree, "--figure", out)
    assert out.read_bytes() == first and out.with_suffix(".svg").is_file()


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--layout", "bidz"], ConfigError, "did you mean 'bids'"),
        (["--layout", "ukb", "--option", "images=x"], ConfigError, "did you mean 'image'"),
        (["--layout", "ukb", "--option", "image"], ConfigError, "KEY=VALUE is expected"),
        (["--layout", "ukb"], CohortError, "no scan found"),
    ],
)
def test_mistakes_are_named(tree, words, error, message):
    with pytest.raises(error, match=message):
        check("--root", tree, *words)
