"""Dry runs: the workflow resolves, for this study and for one that is added."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from support import PROJECT, copy_project
from support import run_snakemake as snakemake


@pytest.fixture
def project(tmp_path):
    """A checkout without results."""
    return copy_project(tmp_path / "project")


def test_slurm_is_a_link_to_its_profile():
    assert (PROJECT / "slurm").is_symlink()
    assert (PROJECT / "slurm").readlink() == Path("profiles/slurm")


def test_each_profile_says_only_what_it_is_for():
    def profile(name):
        return yaml.safe_load((PROJECT / "profiles" / name / "profile.yaml").read_text())

    # a resource without a limit is unlimited: two trainings would share the one GPU
    assert profile("local")["resources"] == {"gpu": 1}
    assert all("seconds" in key or key == "latency-wait" for key in profile("test"))
    slurm = profile("slurm")
    assert (slurm["executor"], slurm["slurm-status-command"]) == ("slurm", "squeue")
    # both wait for ever in the executor's present version
    assert not [key for key in slurm if "array" in key or "group" in key]


@pytest.mark.parametrize("profile", ["profiles/local", "slurm"])
def test_a_fresh_clone_shows_the_plan(project, profile):
    done = snakemake("--profile", profile, "-n", "--", "all", folder=project)
    assert done.returncode == 0, done.text
    for rule in ("simulate_cohort", "ingest_cohort", "train_model", "make_table", "make_figure"):
        assert rule in done.text
    assert "make_reported_checks" in done.text
    assert "run_notebook" in done.text
    assert not (project / "results").exists()


def test_targets_read_as_a_table_of_contents():
    done = snakemake("--list-target-rules")
    assert done.returncode == 0
    assert {"all", "tables", "figures", "notebooks", "m3ae"} <= set(done.text.split())


def test_every_rule_has_a_docstring_log_benchmark_and_conda():
    for file in [PROJECT / "Snakefile", *(PROJECT / "rules").glob("*.smk")]:
        text = file.read_text()
        for block in re.split(r"^(?:rule|checkpoint) ", text, flags=re.M)[1:]:
            assert '"""' in block.splitlines()[1], (file, block[:40])
            if "shell:" in block:
                fields = re.findall(r"^    ([a-z]+):", block, flags=re.M)
                for field in ("log", "benchmark", "conda", "threads", "resources"):
                    assert field in fields, (file, block[:40], field)
                assert block.count('"genmorph ') == 1


def test_a_room_with_only_a_recipe_makes_its_store_and_its_quality_page(project):
    added = ["--config", "studies={autoregressive: {cohort: simulated}}"]
    folder = "results/preprocessed/simulated"
    done = snakemake("-n", f"{folder}/autoregressive/index.tsv", *added, folder=project)
    assert done.returncode == 0, done.text
    assert "index_store" in done.text and "train_model" not in done.text
    done = snakemake("-n", "all", *added, folder=project)
    assert f"{folder}/autoregressive/quality.html" in done.text
    for name, message in {
        "autoregresive": "did you mean 'autoregressive'",
        "vqvae": "belongs to study vqvae, which is not configured",
    }.items():
        done = snakemake("-n", f"{folder}/{name}/index.tsv", *added, folder=project)
        assert done.returncode != 0
        assert message in done.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "scale=deno"], "did you mean 'demo'"),
        (["--config", "scael=demo"], "did you mean 'scale'"),
        (["--config", "overrides={m3ae: {m3ae: {betta: 4}}}"], "did you mean 'beta'"),
        (["--config", "overrides={m3ae: {m3ea: {beta: 4}}}"], "did you mean 'm3ae'"),
        (["--config", "overrides={m3ae: {m3ae: {beta: many}}}"], "overrides.m3ae.m3ae: beta"),
    ],
)
def test_a_typo_is_an_error_that_helps(words, message):
    done = snakemake("-n", "all", *words)
    assert done.returncode != 0
    assert message in done.text
    assert "Traceback" not in done.text


def test_a_missing_root_is_named_when_its_cohort_is_read(project, tmp_path):
    overlay = project / "mine.yaml"
    overlay.write_text(
        f"cohorts: {{mine: {{root: {tmp_path / 'nowhere'}}}}}\n"
        "studies: {m3ae: {cohort: mine}, slice_vae: null}\nresults: results/mine\n"
    )
    done = snakemake(
        "--profile", "profiles/local", "--configfile", "mine.yaml", "--", "all", folder=project
    )
    assert done.returncode != 0
    log = project / "results/mine/logs/ingest_cohort/mine.log"
    assert log.is_file(), done.text
    assert "nowhere: no such folder" in log.read_text()
    assert "cure" in log.read_text()


def test_a_root_of_another_scale_is_refused(project):
    from genmorph.config import Config
    from genmorph.errors import ConfigError
    from genmorph.plan import Plan

    values = Config(results=str(project / "results")).model_dump()
    Plan(values).write_resolved()
    Plan(values)
    with pytest.raises(ConfigError, match=r"holds scale 'demo'.*asks for 'smoke'"):
        Plan(values | {"scale": "smoke"})
    moved = values | {"cohorts": {"simulated": {"root": "elsewhere"}}, "studies": {"m3ae": {}}}
    with pytest.raises(ConfigError, match="holds cohort 'simulated'"):
        Plan(moved)


def test_a_sixth_paper_is_one_folder(project):
    """A study is added without touching a rule, and its tables join `all`."""
    room = project / "src/genmorph/studies/toy"
    shutil.copytree(project / "src/genmorph/studies/m3ae", room)
    spec = (room / "spec.yaml").read_text()
    spec = re.sub(r"^( +)m3ae:", r"\1toy:", spec, flags=re.M)
    spec = spec.replace("model: m3ae", "model: toy").replace("[m3ae]", "[toy]")
    (room / "spec.yaml").write_text(spec)
    done = snakemake(
        "-n",
        "results/tables/toy_table1.csv",
        "--config",
        "studies={m3ae: {}, toy: {}}",
        folder=project,
    )
    assert done.returncode == 0, done.text
    assert "train_model" in done.text


MEASURES_OF_EVERY_KIND = """
  {name}_ms_ssim: {{kind: ms_ssim}}
  {name}_mmd: {{kind: mmd, split: train}}
  {name}_log_mmd: {{kind: mmd, store: reconstructions, paired: true, natural_log: true}}
  {name}_volumes: {{kind: tissue_volumes}}
  {name}_dice: {{kind: segmentation_overlap}}
  {name}_vbm: {{kind: vbm}}
  {name}_memory: {{kind: memorisation}}
  {name}_ras: {{kind: atlas_score}}
"""


def test_every_measure_has_a_rule_and_what_it_needs(project):
    file = project / "src/genmorph/studies/m3ae/spec.yaml"
    measures = "measures:" + MEASURES_OF_EVERY_KIND.format(name="own")
    file.write_text(file.read_text().replace("measures:\n", measures, 1))
    (project / "labels").mkdir()
    run = "results/runs/m3ae/m3ae/simulated-all/seed-0/measures"
    names = ("ms_ssim", "mmd", "log_mmd", "volumes", "dice", "vbm", "memory", "ras")
    targets = [f"{run}/own_{name}.json" for name in names]
    labels = "cohorts={simulated: {simulate: {seed: 1}, labels: {path: labels}}}"
    done = snakemake("-n", "--config", labels, "--", *targets, folder=project)
    assert done.returncode == 0, done.text
    for rule in (
        "measure_run", "map_run", "measure_memorisation", "score_atlas", "train_segmenter",
        "segment_run", "segment_real",
    ):  # fmt: skip
        assert f"rule {rule}:" in done.text, rule
    made = snakemake("-n", "-p", "--", targets[-1], folder=project)
    assert made.returncode == 0, made.text
    truth = "results/raw/simulated/derivatives/truth"
    assert f"--labels {truth} --grouping simulated --space scan" in made.text
    assert "--status results/preprocessed/simulated/" in made.text


def test_a_measure_of_a_model_reads_its_checkpoint_and_makes_no_volumes(project):
    file = project / "src/genmorph/studies/m3ae/spec.yaml"
    text = file.read_text().replace(
        "models:\n", "models:\n  slices: {architecture: slice_vae}\n", 1
    )
    added = "measures:\n  likelihood: {kind: latent_likelihood}\n"
    text = text.replace("measures:\n", added, 1)
    file.write_text(text.replace("[frechet, diversity,", "[likelihood, frechet, diversity,"))
    folder = "results/runs/m3ae/{}/simulated-all/seed-0/measures/likelihood.json"
    done = snakemake("-n", "--", folder.format("slices"), folder=project)
    assert done.returncode == 0, done.text
    assert "rule measure_likelihood:" in done.text and "rule train_model:" in done.text
    assert "sample_run" not in done.text and "reconstruct_run" not in done.text
    # a table asks for it of the models that have it; asked for of others it is refused
    done = snakemake("-n", "--", "results/tables/m3ae_table1.csv", folder=project)
    assert done.returncode == 0, done.text
    assert done.text.count("rule measure_likelihood:") == 1
    for other in ("m3ae", "training_mean"):
        done = snakemake("-n", "--", folder.format(other), folder=project)
        assert done.returncode != 0 and f"is not taken of '{other}'" in done.text


def test_a_users_file_may_have_any_name(project, tmp_path):
    weights = tmp_path / "my weights; v1.pth"
    weights.touch()
    features = f"features={{extractor: inception-fid, inception_weights: '{weights}'}}"
    measurement = "results/runs/m3ae/m3ae/simulated-all/seed-0/measures/frechet.json"
    words = ("-n", "-p", "--config", features, "--", measurement)
    done = snakemake(*words, folder=project)
    assert done.returncode == 0, done.text
    assert f" --feature-weights '{weights}' --parameters" in done.text


def test_devices_are_the_trainings_and_other_jobs_on_gpus_ask_for_one(project):
    wanted = "compute={device: cuda, devices: 4, training_threads: 2}"
    words = ("-n", "--cores", "8", "--config", wanted, "--", "all")
    done = snakemake(*words, folder=project)
    assert done.returncode == 0, done.text
    asked = {}
    for job in done.text.split("\nrule ")[1:]:
        gpus, threads = re.search(r" gpu=(\d+)", job), re.search(r"threads: (\d+)", job)
        name = job.split(":")[0]
        asked[name] = (int(gpus[1]) if gpus else 0, int(threads[1]) if threads else 1)
    assert asked.pop("train_model") == (4, 8)
    on_gpus = {name for name, (gpus, _) in asked.items() if gpus}
    assert {asked[name][0] for name in on_gpus} == {1}
    assert on_gpus == {"sample_run", "reconstruct_run", "measure_likelihood", "train_segmenter"}


def test_controls_are_a_target_of_their_own(project):
    done = snakemake("-n", "--", "controls", folder=project)
    assert done.returncode == 0, done.text
    for rule in ("run_controls", "make_controls", "check_controls"):
        assert f"rule {rule}:" in done.text, rule
    assert "train_model" not in done.text


STAND_IN = """\
#!/bin/sh
if [ "$1" = --version ]; then echo "apptainer version 1.3.4"; exit; fi
echo "$@" >> {seen}
while [ "$1" != -c ]; do shift; done
PATH="{python}:/usr/bin:/bin" exec sh -c "$2"
"""


def test_a_container_runs_the_commands_with_the_code_of_the_checkout(project, tmp_path):
    """A stand-in answers for Apptainer: it keeps what it is given, and has another `python`."""
    python, binaries = tmp_path / "python", tmp_path / "binaries"
    for folder in (python, binaries):
        folder.mkdir()
    (python / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    seen = tmp_path / "seen.txt"
    stand_in = binaries / "apptainer"
    stand_in.write_text(STAND_IN.format(seen=seen, python=python))
    (project / "envs/genmorph.sif").touch()
    for script in (stand_in, python / "python"):
        script.chmod(0o755)
    target = "results/tables/reported_checks.csv"
    done = snakemake(
        "--profile", "profiles/local", "--sdm", "apptainer", "--config", "scale=smoke",
        "--", target, folder=project, PATH=f"{binaries}:{os.environ['PATH']}",
    )  # fmt: skip
    assert done.returncode == 0, done.text[-3000:]
    words = seen.read_text()
    assert "envs/genmorph.sif" in words and "genmorph checks" in words
    record = json.loads(
        (project / "results/provenance/tables/reported_checks.csv.json").read_text()
    )
    assert record["outputs"]
