"""The harness of kills: what it takes over from a run that was cut short, and what it audits."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from genmorph.files import write_json
from reliability import kills
from support import copy_project

JOB = kills.Job("make", "results/logs/make/it.log", ("results/it.csv",))


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Stands in for three kills; the numbers of those that were not taken over."""
    done = []

    def kill(finished, copy, *rest):
        done.append(int(copy.name.removeprefix("kill-")))
        if done == [0, 1]:
            raise KeyboardInterrupt
        return kills.Kill("make", "it", "job", True, True, "")

    monkeypatch.setattr(kills, "_kill", kill)
    monkeypatch.setattr(kills, "jobs_of", lambda *words: {"make": [JOB]})
    (tmp_path / "finished").mkdir()

    def run():
        done.clear()
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        journal = tmp_path / "journal.json"
        found = kills.kill_at_random(tmp_path / "finished", folder, 3, 0, (), journal)
        assert len(found) == 3
        return done

    return run


def test_a_run_cut_short_goes_on_and_a_whole_one_begins_anew(harness, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        harness()
    assert harness() == [1, 2]
    assert not (tmp_path / "journal.json").exists()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("code") / "project")


@pytest.mark.parametrize(
    "name",
    [
        "src/genmorph/studies/m3ae/spec.yaml",
        "config.yaml",
        "profiles/local/profile.yaml",
        "envs/requirements.lock",
        "tests/support.py",
    ],
)
def test_kills_of_other_code_are_not_taken_over(project, name):
    before = kills.code_hash(project=project)
    with (project / name).open("a") as stream:
        stream.write("\n# otherwise\n")
    assert kills.code_hash(project=project) != before


def test_what_is_audited_is_described_by_the_record_of_the_job_that_was_killed(tmp_path):
    records = tmp_path / "results/provenance"
    for record, outputs in {"it": ["it.md", "it.csv"], "other": ["other.csv"]}.items():
        entries = [{"path": path} for path in outputs]
        write_json(records / f"tables/{record}.json", {"outputs": entries})
    found = kills.records_of(tmp_path, JOB)
    assert found == {Path("results/provenance/tables/it.json"): "results/it.csv"}
