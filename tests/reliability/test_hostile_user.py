"""What somebody who trusts nothing would try; each of the ten has its test.

1 here. 2 kill the controller: `kills.py`, and on Slurm the tests of `tests/slurm`. 3 delete a
table: `test_smoke.py`. 4 one hyperparameter: `test_smoke.py`. 5 here. 6 one flipped raw byte and
7 a moved project: `test_tampering.py`. 8 the crate in other tools: `test_crate.py`. 9 two kinds of
GPU: `test_cells.py`. 10 here, and on a Slurm without accounting in `tests/slurm`.
"""

from __future__ import annotations

import shutil

import pytest
import yaml

from support import PROJECT, SMOKE, copy_project, run_snakemake


def test_1_a_fresh_clone_without_the_data_says_which_folder_is_missing(tmp_path):
    project = copy_project(tmp_path / "project")
    (project / "mine.yaml").write_text(
        "results: results/mine\ncohorts: {mine: {layout: bids, root: nowhere/at-all}}\n"
        "studies: {m3ae: {cohort: mine}}\n"
    )
    words = ("--profile", "profiles/local", "--configfile", "mine.yaml", "--config", "scale=smoke")
    done = run_snakemake(*words, "studies={slice_vae: null}", "--", "all", folder=project)
    assert done.returncode != 0
    logs = "\n".join(path.read_text() for path in project.glob("results/mine/logs/**/*.log"))
    assert "nowhere/at-all: no such folder" in logs and "cure:" in logs
    assert "Traceback" not in done.text + logs


@pytest.mark.workflow
def test_5_an_edited_docstring_reruns_nothing(finished_study, tmp_path):
    project = tmp_path / "copy"
    shutil.copytree(finished_study, project, symlinks=True)
    module = project / "src/genmorph/models/m3ae.py"
    text = module.read_text()
    assert text.count('"""') > 4
    module.write_text(text.replace('"""', '"""Said otherwise. ', 1))
    done = run_snakemake(*SMOKE, "-n", "--", "all", folder=project)
    assert "Nothing to be done" in done.text, done.text[-2000:]


def test_10_slurm_is_asked_by_squeue_which_needs_no_accounting():
    profile = yaml.safe_load((PROJECT / "profiles/slurm/profile.yaml").read_text())
    assert profile["executor"] == "slurm"
    assert profile["slurm-status-command"] == "squeue"
