"""The plan: parameters decide reruns, targets are complete, inputs cross shards."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from genmorph.config import Config, load_config
from genmorph.errors import ConfigError
from genmorph.plan import Plan
from genmorph.studies import Spec, load_spec
from genmorph.validation import validate


def plan(**values) -> Plan:
    return Plan(Config().model_dump() | {"results": "nowhere"} | values)


def test_an_override_changes_one_run_and_nothing_else():
    override = {"m3ae": {"m3ae": {"beta": 4}}}
    before, after = plan(scale="paper"), plan(scale="paper", overrides=override)
    assert before.parameters("train", "m3ae", "m3ae")["options"]["beta"] == 6.0
    assert after.parameters("train", "m3ae", "m3ae")["options"]["beta"] == 4.0
    changed = {
        command
        for command, entries in after.resolved()["parameters"].items()
        if entries != before.resolved()["parameters"][command]
    }
    assert changed == {"train"}


def test_paper_scale_holds_the_papers_numbers():
    parameters = plan(scale="paper").parameters("train", "m3ae", "m3ae")
    options, training = parameters["options"], parameters["training"]
    assert (training["learning_rate"], training["epochs"], training["optimizer"]) == (
        3e-4,
        30,
        "adamw",
    )
    assert (options["latent_size"], options["channels"]) == (512, [16, 32, 64, 128])
    assert (options["beta"], options["beta_warmup_epochs"]) == (6.0, 10.0)
    assert options["intermediate_weights"] == [0.25, 0.25, 0.5]
    assert options["intensity_weights"] == [0.6, 1.2, 1.2, 2.4]
    for weights in ("smoothness_weights", "divergence_weights", "magnitude_weights"):
        assert options[weights] == [0.6, 1.2, 1.2]
    assert plan(scale="paper").study("m3ae").grid_of("m3ae") == (80, 96, 80)


def test_demo_sees_at_most_150_volumes():
    config = plan()
    training = config.parameters("train", "m3ae", "m3ae")["training"]
    scans = config.parameters("simulate", "simulated")["n"]
    seen = training["max_volume_steps"] or training["epochs"] * scans
    assert seen <= 150


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"m3ae": {"m3ae": {"betta": 4}}}, ["betta", "did you mean 'beta'"]),
        ({"m3ae": {"m3ea": {"beta": 4}}}, ["m3ea", "did you mean 'm3ae'"]),
        ({"m3ae": {"m3ae": {"beta": "many"}}}, ["overrides.m3ae.m3ae", "beta", "'many'"]),
        ({"m3ae": {"m3ae": {"architecture": "m3a"}}}, ["m3a", "did you mean 'm3ae'"]),
        ({"m3ae": {"m3ae": {"learning_rate": -1}}}, ["learning_rate", "-1"]),
    ],
)
def test_a_wrong_override_names_key_and_cure(overrides, words):
    with pytest.raises(ConfigError) as error:
        plan(overrides=overrides)
    for word in words:
        assert word in str(error.value)


def test_an_unknown_study_is_named():
    with pytest.raises(ConfigError, match="unknown study 'm3a'; did you mean 'm3ae'"):
        plan(studies={"m3a": {}})


def test_an_unknown_measure_is_named():
    with pytest.raises(ConfigError, match=r"no measure 'mmd64'\n.*did you mean 'mmd_64'"):
        Plan({}).measured("slice_vae", "slice_vae-64", "0", "mmd64")


def test_a_table_reads_the_summary_of_every_training_and_no_reference():
    room = plan(seeds=[0, 1])
    files = room.training_summaries("m3ae", "table1")
    assert len(files) == len(set(files)) == 2 * len(room.study("m3ae").models)
    for seed in (0, 1):
        run = f"nowhere/runs/m3ae/m3ae/simulated-all/seed-{seed}"
        assert f"{run}/checkpoint/training.json" in files
    assert not any("training_mean" in file for file in files)


def test_every_table_cell_has_a_run_of_each_seed():
    files = plan(seeds=[0, 1]).measurements("m3ae", "table1")
    assert len(files) == len(set(files))
    for seed in (0, 1):
        assert (
            f"nowhere/runs/m3ae/m3ae/simulated-all/seed-{seed}/measures/reconstruction.json"
            in files
        )
    assert not any("voxel_shuffled" in file and "reconstruction" in file for file in files)


def test_seeds_do_not_change_the_parameters_of_a_run():
    one, two = plan(seeds=[0]), plan(seeds=[0, 1])
    assert one.parameters("train", "m3ae", "m3ae") == two.parameters("train", "m3ae", "m3ae")


def test_gpu_is_asked_for_only_on_cuda():
    assert plan().gpu_resources() == {}
    on_cuda = plan(compute={"device": "cuda", "devices": 2, "gpu_model": "h200"})
    assert on_cuda.gpu_resources() == {"gpu": 1, "gpu_model": "h200"}
    assert on_cuda.gpu_resources(2) == {"gpu": 2, "gpu_model": "h200"}


def test_training_asks_for_the_memory_that_each_of_its_processes_may_fill():
    asked = [
        plan(compute={"devices": devices}, overrides={"m3ae": {"m3ae": {"memory_gb": kept}}})
        for devices, kept in ((1, 0), (1, 20), (4, 20))
    ]
    few, kept, shared = (one.training_memory_mb("m3ae", "m3ae") for one in asked)
    assert kept - few == 20_000
    assert shared == 4 * kept


def test_the_resolved_configuration_holds_every_commands_parameters(tmp_path):
    made = plan(results=str(tmp_path / "results"))
    made.write_resolved()
    path = tmp_path / "results" / "config.resolved.yaml"
    stamp = path.stat().st_mtime_ns
    resolved = yaml.safe_load(path.read_text())
    assert made.parameters("train", "m3ae", "m3ae") in resolved["parameters"]["train"]
    assert made.parameters("figure", "m3ae", "samples_m3ae") in resolved["parameters"]["figure"]
    made.write_resolved()
    assert path.stat().st_mtime_ns == stamp  # not written when it would not change


@pytest.mark.parametrize("text", ["[1, 2", "- a", "parameters: 3", "\0", ""])
def test_a_damaged_resolved_configuration_is_refused_with_its_cure(tmp_path, text):
    results = tmp_path / "results"
    results.mkdir()
    (results / "config.resolved.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"(?s)config\.resolved\.yaml: not.*remove it"):
        plan(results=str(results))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "m3ae"], "did you mean 'train'"),
        (["train", "m3ae"], "train: 'm3ae' is not in the configuration; did you mean 'm3ae m3ae'"),
        (["train", "m3ae", "m3ae", "more"], "did you mean 'm3ae m3ae'"),
        (["ingest", "simulatd"], "did you mean 'simulated'"),
        (["ingest"], "allowed: simulated"),
    ],
)
def test_what_was_typed_wrong_is_said(words, message):
    with pytest.raises(ConfigError, match=message):
        plan().asked_parameters(*words)


def test_parameters_of_what_exists_are_given():
    made = plan()
    for command, *names in (["train", "m3ae", "m3ae"], ["checks"], ["segment"], ["controls"]):
        assert made.asked_parameters(command, *names) == made.parameters(command, *names)
    measure = next(iter(made.study("m3ae").measures))
    assert made.asked_parameters("evaluate", "m3ae", measure)["measure"] == measure


def test_a_models_code_counts_only_where_it_runs():
    made = plan()
    assert made.modules("train", "m3ae", "m3ae") == ("genmorph.models.m3ae",)
    assert made.modules("sample", "m3ae", "training_mean") == ()
    assert made.code("sample", "m3ae", "m3ae") != made.code("sample", "m3ae", "training_mean")
    assert "genmorph.models.m3ae" in made.figure_modules("m3ae", "transforms")
    assert made.figure_modules("m3ae", "samples_m3ae") == ""


def test_training_curves_wait_for_the_metrics_of_every_model():
    made = plan()
    values = made.parameters("figure", "m3ae", "training_curves")
    models = list(made.study("m3ae").models)
    assert values["needs"] == [*(f"metrics:{model}" for model in models), "store"]
    files = made.figure_inputs("m3ae", "training_curves")
    assert len(files) == len(models) + 1
    for model, file in zip(models, files, strict=False):
        assert file == f"nowhere/runs/m3ae/{model}/simulated-all/seed-0/checkpoint/metrics.csv"


def test_a_need_that_nothing_gives_is_an_error_that_helps():
    with pytest.raises(ConfigError, match="did you mean 'manifest'"):
        plan().files("m3ae", "m3ae", ["manifesto"])


@pytest.mark.parametrize("key", [{"model": "m3ea"}, {"models": ["m3ae", "m3ea"]}])
def test_a_figure_of_a_model_that_the_study_lacks_is_refused(key):
    values = load_spec("m3ae").model_dump()
    values["figures"]["training_curves"] |= key
    with pytest.raises(ConfigError, match=r"training_curves: no model 'm3ea'; did you mean 'm3ae'"):
        validate(Spec, values, "spec.yaml")


def test_a_notebook_waits_for_what_it_reads_and_belongs_to_its_study():
    made = plan()
    assert made.notebooks() == ["nowhere/notebooks/01_first_look.ipynb"]
    reads = made.notebook_inputs("01_first_look")
    run = "nowhere/runs/m3ae/m3ae/simulated-all/seed-0"
    assert {"nowhere/tables/m3ae_table1.csv", f"{run}/checkpoint/model.safetensors"} <= set(reads)
    assert f"{run}/checkpoint/metrics.csv" in reads
    assert made.parameters("notebook", "01_first_look") in made.resolved()["parameters"]["notebook"]
    assert "genmorph.publish.curves" in made.modules("notebook", "01_first_look")
    made.studies = {}
    assert made.notebooks() == []


def test_tuning_tries_every_combination_of_factors_and_nothing_else_changes():
    room = plan()
    study = room.study("m3ae")
    assert len(study.variants) == 9 and study.variants["m3ae"] == study.models["m3ae"]
    changed = study.variants["m3ae-beta_x0.5-gamma_x2"]["options"]
    own = study.models["m3ae"]["options"]
    assert changed["beta"] == 0.5 * own["beta"]
    assert changed["divergence_weights"] == [2 * weight for weight in own["divergence_weights"]]
    assert {key for key in own if own[key] != changed[key]} == {
        "beta",
        "intensity_weights",
        "smoothness_weights",
        "divergence_weights",
        "magnitude_weights",
    }
    table = room.measurements("m3ae", "tune")
    assert len(table) == 2 * 9 and all("measures/validation_" in file for file in table)
    assert not any("_x" in file for file in room.measurements("m3ae", "table1"))
    assert not any("tune" in file for file in room.tables())


def test_validation_scans_are_rebuilt_for_tuning_alone():
    room = plan()
    split = {
        store: room.parameters("reconstruct", "m3ae", "m3ae", store)["split"]
        for store in ("reconstructions", "validation_reconstructions")
    }
    assert split == {"reconstructions": "test", "validation_reconstructions": "validation"}
    assert room.parameters("evaluate", "m3ae", "validation_frechet")["split"] == "validation"
    assert room.parameters("evaluate", "m3ae", "frechet")["split"] == "test"


def test_checks_of_printed_numbers_are_gathered_from_the_rooms_that_have_them():
    made = plan()
    assert "m3ae" in made.parameters("checks")["studies"]
    assert "genmorph.studies.m3ae.checks" in made.modules("checks")
    assert made.resolved()["parameters"]["checks"] == [made.parameters("checks")]
    assert made.paths.reported_checks == "nowhere/tables/reported_checks.csv"


@pytest.mark.parametrize(
    ("values", "seeds"),
    [
        ({"scale": "demo"}, (0,)),
        ({"scale": "pilot"}, (0, 1, 2)),
        ({"scale": "pilot", "seeds": [4]}, (4,)),
    ],
)
def test_seeds_are_the_scales_unless_given(values, seeds):
    made = plan(**values)
    assert made.seeds == seeds
    assert {f"seed-{seed}" in " ".join(made.measurements("m3ae", "table1")) for seed in seeds} == {
        True
    }


def test_a_room_may_hold_only_its_recipe():
    room = plan(studies={"autoregressive": {}, "vqvae": {}})
    assert set(room.recipes) == {"autoregressive", "vqvae", "vqvae_3mm"}
    assert room.tables() == []
    assert not any("vqvae" in figure for figure in room.figures())
    assert room.quality_pages() == [
        f"nowhere/preprocessed/simulated/{name}/quality.html"
        for name in ("autoregressive", "vqvae")
    ]
    assert len(room.resolved()["parameters"]["quality"]) == 3


def test_the_users_values_go_over_a_recipe_and_only_that_one():
    wanted = {"vqvae_3mm": {"registration": {"degrees_of_freedom": "rigid"}}}
    room = plan(studies={"vqvae": {}}, preprocessing={"recipes": wanted})
    found = {
        name: next(step for step in recipe["steps"] if step["step"] == "registration")
        for name, recipe in room.recipes.items()
    }
    assert found["vqvae_3mm"]["degrees_of_freedom"] == "rigid"
    assert found["vqvae"]["degrees_of_freedom"] == "affine"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m3a", "unknown recipe 'm3a'; did you mean 'm3ae'"),
        ("vqvae_3mm", "belongs to study vqvae, which is not configured"),
    ],
)
def test_an_unknown_recipe_is_named(name, words):
    with pytest.raises(ConfigError, match=words):
        plan().parameters("preprocess", name)
    with pytest.raises(ConfigError, match=words):
        plan(preprocessing={"recipes": {name: {}}})


def test_the_engines_code_counts_in_preprocessing():
    assert "genmorph.preprocessing.engines.builtin" in plan().modules("preprocess", "m3ae")


@pytest.mark.parametrize(
    ("overlay", "cohort", "people"),
    [("adni", "adni", 1518), ("hcp", "hcp", 1040), ("ukb", "ukb", 36210), ("oasis", "oasis", 1)],
)
def test_overlays_of_real_cohorts_are_complete(overlay, cohort, people, monkeypatch, tmp_path):
    for name in ("ADNI", "HCP", "UKB", "OASIS"):
        monkeypatch.setenv(f"GENMORPH_{name}", str(tmp_path))
    folder = Path(__file__).parents[2]
    config = load_config(folder / "config.yaml", folder / "overlays" / f"{overlay}.yaml")
    made = Plan(config.model_dump() | {"results": str(tmp_path / "results")})
    assert sum(made.parameters("ingest", cohort)["shares"].values()) == pytest.approx(people)
    assert made.cohort_arguments(cohort) == f"--root {tmp_path}"


def test_options_of_a_layout_are_typed_when_the_plan_is_read():
    cohort = {"layout": "ukb", "root": "x", "options": {"imag": "T1/T1.nii.gz"}}
    wrong = plan(cohorts={"mine": cohort}, studies={"m3ae": {"cohort": "mine"}})
    with pytest.raises(ConfigError, match=r"cohorts\.mine\.options.*did you mean 'image'"):
        wrong.parameters("ingest", "mine")


def test_another_engine_for_a_step_must_be_meant():
    engines = {"step_engines": {"brain_extraction": "freesurfer"}}
    with pytest.raises(ConfigError, match="allow_mixed_engines"):
        plan(preprocessing=engines)
    mixed = plan(preprocessing=engines | {"allow_mixed_engines": True})
    assert mixed.parameters("preprocess", "m3ae")["step_engines"] == {
        "brain_extraction": "freesurfer"
    }
    assert mixed.modules("preprocess", "m3ae") == (
        "genmorph.preprocessing.engines.builtin",
        "genmorph.preprocessing.engines.freesurfer",
    )


def test_a_population_of_the_user_carries_the_studys_visit_rule():
    young = {"field": "age_years", "lowest": 0.2}
    made = plan(studies={"m3ae": {"cohort": "simulated", "populations": {"young": young}}})
    assert made.study("m3ae").populations["young"] == {
        "expression": None,
        "field": "age_years",
        "lowest": 0.2,
        "highest": None,
        "cut_from": "train",
        "visits": "all",
    }


def test_label_maps_are_the_users_or_those_a_made_cohort_brings(monkeypatch):
    monkeypatch.setenv("LABELS", "/data/labels")
    own = {"path": "${LABELS}", "space": "scan", "file": "{source_id}/aseg.nii.gz"}
    cohorts = {
        "made": {"simulate": {}},
        "read": {"root": "scans", "labels": own},
        "bare": {"root": "scans"},
    }
    made_plan = plan(cohorts=cohorts, studies={"m3ae": {"cohort": "made"}})
    made, read = (made_plan.label_arguments(cohort, "m3ae") for cohort in ("made", "read"))
    assert "--labels nowhere/raw/made/derivatives/truth --grouping simulated --space scan" in made
    assert "--labels-names nowhere/raw/made/derivatives/truth/truth.tsv" in made
    assert "--status nowhere/preprocessed/made/m3ae/status.tsv" in made
    assert "--labels /data/labels --grouping freesurfer_aseg --space scan" in read
    assert "'{source_id}/aseg.nii.gz'" in read and "--labels-names" not in read
    # a made tree is one output: a file within it could not be waited for
    assert made_plan.label_inputs("made", "m3ae")[0] == "nowhere/raw/made"
    assert made_plan.label_inputs("read", "m3ae")[0] == "/data/labels"
    with pytest.raises(ConfigError, match=r"cohort bare: .* needs labelled scans"):
        made_plan.label_arguments("bare", "m3ae")
