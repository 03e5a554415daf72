"""Check `seeds`: derived, of the right run, never shared."""

from __future__ import annotations

import pytest

from genmorph.provenance.audit.seeds import check_seeds
from genmorph.seeds import derive_seed


def of_run(command, model="m3ae", seed=0, cohort="a", **seeds):
    """A run's record, with the seeds its command derives unless told otherwise."""
    seeds = {"seed": seed, command: derive_seed(seed, "m3ae", model, command)} | seeds
    return {
        "command": command,
        "parameters": {"study": "m3ae", "model": model},
        "seeds": seeds,
        "outputs": [{"path": f"runs/m3ae/{model}/{cohort}-all/seed-{seed}/{command}.tsv"}],
    }


def failures(*records):
    found = check_seeds({f"record {n}": record for n, record in enumerate(records)})
    return [(f.subject, f.message) for f in found if f.status != "pass"]


def test_derived_seeds_of_different_runs_pass():
    commands = ("train", "sample", "reconstruct")
    records = [
        of_run(command, model, seed)
        for command in commands
        for model in ("m3ae", "beta_vae-3")
        for seed in (0, 1)
    ]
    findings = list(check_seeds(dict(enumerate(records))))
    assert [finding.status for finding in findings] == ["pass"] * 12


@pytest.mark.parametrize("command", ["train", "sample", "reconstruct"])
def test_a_seed_that_is_not_the_derived_one_fails(command):
    assert failures(of_run(command, **{command: 7})) == [
        ("record 0", f"its {command} seed is not the one derived from seed 0")
    ]


def test_a_run_without_a_recorded_seed_fails():
    record = of_run("train")
    del record["seeds"]["train"]
    assert failures(record) == [("record 0", "records no seed for train")]


def test_a_run_in_the_folder_of_another_seed_fails():
    record = of_run("train", seed=1)
    record["outputs"][0]["path"] = record["outputs"][0]["path"].replace("seed-1", "seed-0")
    assert failures(record) == [("record 0", "lies in seed-0, was run with seed 1")]


def test_two_runs_that_share_a_seed_fail_but_not_two_reconstructions():
    """Of one model on two cohorts: the derivation does not know the cohort."""
    for command in ("train", "sample"):
        twice = of_run(command, cohort="a"), of_run(command, cohort="b")
        assert failures(*twice) == [("record 1", f"shares its {command} seed with record 0")]
    assert not failures(of_run("reconstruct", cohort="a"), of_run("reconstruct", cohort="b"))


def test_a_simulation_has_the_seed_of_its_parameters():
    record = {"command": "simulate", "parameters": {"seed": 1}, "seeds": {"simulate": 1}}
    assert not failures(record)
    assert failures(record | {"seeds": {"simulate": 2}})
    assert failures(record | {"seeds": {}})
