"""Check `orphans`: records without files, files without records, records made out of date."""

from __future__ import annotations

import pytest

from genmorph.provenance.audit.orphans import abandoned_records, check_orphans, unclaimed_files


def record(outputs, inputs=()):
    return {
        "outputs": [{"path": path} for path in outputs],
        "inputs": [{"path": path, "base": ""} for path in inputs],
    }


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def orphans(root, records):
    producer = {
        entry["path"]: name for name, value in records.items() for entry in value["outputs"]
    }
    found = check_orphans(root, records, producer)
    return {finding.subject: finding.message for finding in found if finding.status != "pass"}


def test_a_complete_root_has_none(tmp_path):
    touch(tmp_path, "runs/a/store.zarr/c0", "tables/t.csv")
    records = {"a": record(["runs/a/store.zarr"]), "t": record(["tables/t.csv"])}
    findings = list(
        check_orphans(tmp_path, records, {"runs/a/store.zarr": "a", "tables/t.csv": "t"})
    )
    assert {finding.status for finding in findings} == {"pass"}
    assert {"runs", "tables"} <= {finding.subject for finding in findings}


def test_a_record_whose_files_are_gone_is_named(tmp_path):
    touch(tmp_path, "tables/t.csv")
    records = {"t": record(["tables/t.csv"]), "a": record(["runs/a/m.json"])}
    assert list(orphans(tmp_path, records)) == ["provenance/a"]


def test_a_record_that_something_rests_on_is_a_broken_link_not_an_orphan(tmp_path):
    touch(tmp_path, "tables/t.csv")
    records = {
        "t": record(["tables/t.csv"], ["runs/m.json"]),
        "m": record(["runs/m.json"], ["runs/store.tsv"]),
        "s": record(["runs/store.tsv"]),
        "x": record(["runs/x.json"], ["runs/store.tsv"]),
    }
    assert abandoned_records(tmp_path, records) == {"x"}


def test_a_record_whose_file_another_wrote_later_is_named(tmp_path):
    touch(tmp_path, "figures/a.png", "figures/a.svg")
    records = {
        "old": record(["figures/a.png", "figures/a.svg"]),
        "new": record(["figures/a.svg"]),
    }
    found = orphans(tmp_path, records)
    assert (
        list(found) == ["provenance/old"]
        and "new wrote the same file later" in found["provenance/old"]
    )


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("tables/x.csv", "tables/x.csv"),
        ("runs/b/samples/index.tsv", "runs/b"),
        ("runs/a/samples/index.tsv", "runs/a/samples"),
        ("runs/a/state/0f/state.pt", "runs/a/state"),
        ("notebooks/n.ipynb", "notebooks/n.ipynb"),
        ("cohorts/old/manifest.tsv", "cohorts/old"),
    ],
)
def test_a_file_without_a_record_is_named_by_its_topmost_folder(tmp_path, file, named):
    touch(tmp_path, "runs/a/m.json", file)
    assert orphans(tmp_path, {"a": record(["runs/a/m.json"])}).keys() == {named}


@pytest.mark.parametrize(
    "file",
    [
        "logs/train.log",
        "benchmarks/train.tsv",
        "raw/a/scan.nii",
        "runs/a/.m.json.lock",
        "runs/a/.tmp-1-x/part",
        "runs/a/events/events.out.tfevents.1.host.2.0",
        "preprocessed/a/mosaics/shard-0000/a.png",
        "runs/a/store.zarr/c/0",
    ],
)
def test_what_no_record_ever_names_is_no_orphan(tmp_path, file):
    touch(tmp_path, "runs/a/m.json", file)
    claimed = ["runs/a/m.json", "runs/a/store.zarr"]
    for folder in ("runs", "preprocessed", "cohorts", "tables"):
        assert list(unclaimed_files(tmp_path, folder, claimed)) == []
