"""The configuration: defaults, files, errors that help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from genmorph.config import Config, expand_variables, load_config, merge, render_yaml
from genmorph.errors import ConfigError
from genmorph.validation import validate

PROJECT = Path(__file__).parents[2]
# each line ten times the one before
BOMB = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]


def test_config_yaml_is_what_the_code_says():
    assert (PROJECT / "config.yaml").read_text() == render_yaml(Config())


def test_schema_is_what_the_code_says():
    schema = json.loads((PROJECT / "docs" / "config.schema.json").read_text())
    assert schema == Config.model_json_schema()


def test_rendered_defaults_read_back_to_the_defaults():
    assert validate(Config, yaml.safe_load(render_yaml(Config())), "config") == Config()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scael": "demo"}, ["scael", "did you mean 'scale'"]),
        ({"scale": "deno"}, ["scale", "'deno'", "did you mean 'demo'", "paper"]),
        ({"features": {"extractr": "x"}}, ["features.extractr", "did you mean 'extractor'"]),
        ({"features": {"extractor": "inception-fid"}}, ["inception_weights"]),
        ({"features": {"inception_weights": "x.pth"}}, ["inception-fid", "leave"]),
        ({"cohorts": {"a": {"layuot": "bids", "root": "x"}}}, ["layuot", "did you mean 'layout'"]),
        ({"cohorts": {"a": {"layout": "bids"}}}, ["cohorts.a", "root", "simulate"]),
        ({"cohorts": {"a-b": {"root": "x"}}, "studies": {}}, ["a-b"]),
        ({"studies": {"m3ae": {"cohort": "simulatd"}}}, ["did you mean 'simulated'"]),
        ({"seeds": [1, 1]}, ["seeds"]),
        ({"compute": {"threads": 0}}, ["compute.threads", "0"]),
        (
            {"cohorts": {"simulated": {"simulate": {}, "splits": {"train": 0.9}}}},
            ["splits", "must be 1"],
        ),
    ],
)
def test_a_wrong_value_names_key_finding_and_what_is_allowed(values, words):
    with pytest.raises(ConfigError) as error:
        validate(Config, values, "config")
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("results", ["my results", "a;b", "{scale}", "a*", "$HOME"])
def test_a_results_root_stands_in_command_lines(results):
    with pytest.raises(ConfigError, match="letters, digits"):
        validate(Config, {"results": results}, "config")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested deeper"),
        ("\n".join(["a0: &a0 x", *BOMB]), "unfold"),
        ("a: &a [*a]", "unfold"),
        ("a: 2026-13-45", "not YAML"),
        ("a: !!bool x", "not YAML"),
        ("a: !!int ''", "not YAML"),
        ("a: !!timestamp x", "not YAML"),
    ],
)
def test_a_file_that_never_ends_is_refused(tmp_path, text, words):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{words}"):
        load_config(file)


def test_later_files_go_over_earlier_ones_key_by_key(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("compute: {threads: 3, training_threads: 4}\nscale: smoke\n")
    second.write_text("compute: {threads: 5}\n")
    config = load_config(first, second)
    assert (config.compute.threads, config.compute.training_threads) == (5, 4)
    assert config.scale == "smoke"


def test_files_that_are_no_configuration_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such file"):
        load_config(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("scale: [demo\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml: not YAML"):
        load_config(broken)
    broken.write_text("- demo\n")
    with pytest.raises(ConfigError, match="keys and values"):
        load_config(broken)


def test_a_root_takes_an_environment_variable(monkeypatch):
    monkeypatch.setenv("MY_SCANS", "/scans")
    assert expand_variables("${MY_SCANS}/raw", "root") == "/scans/raw"
    monkeypatch.delenv("MY_SCANS")
    with pytest.raises(ConfigError, match="MY_SCANS is not set"):
        expand_variables("${MY_SCANS}/raw", "root")


def test_merge_leaves_its_arguments_alone():
    base = {"a": {"b": 1}}
    assert merge(base, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert base == {"a": {"b": 1}}
