"""`genmorph index`: one store from shards, with its engine, its outliers and its label."""

from __future__ import annotations

import json

import pytest

from genmorph.files import read_json, read_tsv, write_json, write_tsv
from genmorph.plan import Plan
from support import run_genmorph

ENGINE = "builtin (SimpleITK 2.5.7, deepbet 1.0.2)"


@pytest.fixture
def index(tmp_path):
    """Run the command on two shards of ten scans; returns what it printed and its folder."""
    write_json(
        tmp_path / "cohort.json",
        {"cohort": "mine", "layout": "bids", "simulated": False, "data_label": "made"},
    )
    (tmp_path / "config.resolved.yaml").write_text("{}\n")

    def run(engines=(ENGINE, ENGINE), odd="1500.0", bare=(), **preprocessing):
        tables = []
        for shard, engine in enumerate(engines):
            rows = [
                {
                    "scan_id": f"sub-{shard}{number}",
                    "status": "ok",
                    "row": number,
                    "sha256": "0" * 64,
                    "engine": engine,
                    "skull_stripped": str(shard in bare).lower(),
                    "brain_ml": odd if (shard, number) == (1, 3) else 1400 + 20 * number,
                }
                for number in range(10)
            ]
            tables.append(tmp_path / f"shard-{shard:04d}.tsv")
            write_tsv(tables[-1], list(rows[0]), rows)
        room = Plan({"studies": {"autoregressive": {}}, "preprocessing": preprocessing})
        done = run_genmorph(
            "index", *map(str, tables),
            "--cohort-description", str(tmp_path / "cohort.json"),
            "--parameters", json.dumps(room.parameters("index", "autoregressive")),
            "--out", str(tmp_path / "index.tsv"),
        )  # fmt: skip
        return done, tmp_path

    return run


def test_an_outlier_is_marked_and_stays_in_the_store(index):
    done, folder = index(odd="900.0")
    assert done.returncode == 0, done.stderr
    marked = {row["scan_id"]: row["outlier"] for row in read_tsv(folder / "status.tsv")}
    assert marked.pop("sub-13") == "brain_ml" and set(marked.values()) == {None}
    assert "sub-13" in {row["scan_id"] for row in read_tsv(folder / "index.tsv")}
    description = read_json(folder / "store.json")
    assert description["source"]["engine"] == ENGINE
    assert description["data_label"] == "made"


def test_shards_of_two_versions_are_refused_unless_allowed(index):
    other = ENGINE.replace("2.5.7", "2.6.0")
    done, folder = index(engines=(ENGINE, other))
    assert done.returncode == 2
    assert "several engines or versions" in done.stderr and "cure:" in done.stderr
    assert not (folder / "index.tsv").exists()
    done, folder = index(engines=(ENGINE, other), allow_mixed_engines=True)
    assert done.returncode == 0, done.stderr
    assert read_json(folder / "store.json")["source"]["engine"] == f"{ENGINE}; {other}"


def test_whole_heads_are_labelled(index):
    whole = {"autoregressive": {"brain_extraction": {"skull_strip": False}}}
    done, folder = index(recipes=whole)
    assert done.returncode == 0, done.stderr
    label = read_json(folder / "store.json")["data_label"]
    assert label == "made; whole heads, skull not removed"


@pytest.mark.parametrize(
    ("changes", "bare", "stripped", "registered"),
    [
        ({}, (), True, True),
        ({"registration": None}, (), True, False),
        ({"brain_extraction": {"skull_strip": False}}, (), False, True),
        ({"brain_extraction": {"skull_strip": False}}, (0, 1), True, True),  # brains from the start
        ({"brain_extraction": {"skull_strip": False}}, (0,), None, True),
    ],
)
def test_the_store_says_how_scans_were_prepared(index, changes, bare, stripped, registered):
    done, folder = index(recipes={"autoregressive": changes}, bare=bare)
    assert done.returncode == 0, done.stderr
    source = read_json(folder / "store.json")["source"]
    assert (source["skull_stripped"], source["registered"]) == (stripped, registered)
