"""Records and the audit, on a chain small enough to read: scan, volume, measurement, table."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from genmorph.cli.audit import cohort_roots
from genmorph.errors import AuditError
from genmorph.files import read_json, write_json
from genmorph.provenance import record as record_module
from genmorph.provenance.audit import CHECKS, Audit, publication
from genmorph.provenance.record import recording
from genmorph.provenance.seal import sealed, sealed_text

CELLS = (
    "row,column,source,printed,value,spread,spread_over,measurement,key,format,reported,"
    "comparable,difference\n"
    'M3AE,"L2, reported",reported,0.047,0.047,,,,,,,,\n'
    'M3AE,"L2, measured",measured,0.05,0.0512,,,runs/m.json,values.l2,.2f,0.047,no,\n'
)
CLEAN = {"commit": "c0ffee", "dirty": False, "changed": []}


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """A finished results root, made by the recorder itself, in a clean checkout."""
    for module in (record_module, publication):
        monkeypatch.setattr(module, "git_state", lambda: dict(CLEAN))
    # also where the tests run with newer packages than the locked ones
    versions = record_module.environment()["packages"].items()
    locked = {name.lower(): version.split("+")[0] for name, version in versions}
    monkeypatch.setattr(publication, "locked_versions", lambda lock: dict(locked))
    raw, root = tmp_path / "raw", tmp_path / "results"
    raw.mkdir()
    root.mkdir()
    (raw / "scan.nii").write_bytes(b"a scan of somebody")
    steps = {
        "preprocess": {"grid": 4},
        "evaluate.diversity": {"data_range": 1.5},
        "table": {"scale": "demo"},
    }
    (root / "config.resolved.yaml").write_text(
        sealed_text(
            yaml.safe_dump(
                {
                    "config": {"cohorts": {}},
                    "parameters": {name: [values] for name, values in steps.items()},
                }
            )
        )
    )
    store = root / "store"
    (store / "shard-0000.zarr").mkdir(parents=True)
    index, measurement, table = store / "index.tsv", root / "runs/m.json", root / "tables/t.csv"
    with recording(
        "preprocess",
        out=index,
        parameters=steps["preprocess"],
        outputs=[store / "shard-0000.zarr"],
    ) as record:
        record.add_input(raw / "scan.nii", base="cohort:tiny", name="scan.nii")
        (store / "shard-0000.zarr" / "c0").write_bytes(b"a volume")
        index.write_text("scan_id\nscan\n")
    with recording(
        "evaluate.diversity",
        out=measurement,
        parameters=steps["evaluate.diversity"],
        inputs=[index],
        seeds={"seed": 0},
    ):
        write_json(measurement, {"values": {"l2": 0.0512}})
    with recording(
        "table",
        out=table,
        parameters=steps["table"],
        inputs=[measurement],
        outputs=[table.with_name("t_cells.csv")],
        modules=("genmorph.studies.m3ae.tables",),
    ):
        table.parent.mkdir()
        table.write_text('row,"L2, reported","L2, measured"\nM3AE,0.047,0.05\n')
        table.with_name("t_cells.csv").write_text(CELLS)
    return root


def run(root: Path, target: str | None = "tables/t.csv", **options):
    return Audit(root, {"tiny": root.parent / "raw"}, **options).run(target)


def failed(root: Path, **options) -> set[tuple[str, str]]:
    return {(f.code, f.subject) for f in run(root, **options).failures(publication=False)}


def test_an_untouched_chain_is_trusted(chain):
    report = run(chain)
    assert report.failures(publication=False) == report.failures(publication=True) == []
    assert report.exit_code() == 0
    assert report.records == ["tables/t.csv.json", "runs/m.json.json", "store/index.tsv.json"]
    assert run(chain, None).exit_code() == 0


def test_a_label_map_is_a_link_of_the_chain(chain):
    folder = chain.parent / "labels"
    folder.mkdir()
    map_ = folder / "scan_dseg.nii.gz"
    map_.write_bytes(b"where everything lies")
    with recording(
        "preprocess", out=chain / "segmenter.json", parameters={"grid": 4}, inputs=[]
    ) as record:
        record.add_input(map_, base="labels:tiny", name=map_.name)
        write_json(chain / "segmenter.json", {})
    at_hand = {"target": "segmenter.json", "labels": {"tiny": folder}}
    subject = "labels:tiny/scan_dseg.nii.gz"
    assert failed(chain, **at_hand) == set()
    (unknown,) = (each for each in run(chain, "segmenter.json").findings if each.code == "raw")
    assert (unknown.status, unknown.subject) == ("unknown", subject)
    map_.write_bytes(b"where everything lays")
    assert failed(chain, **at_hand) == {("raw", subject)}
    assert failed(chain, fast=True, **at_hand) == set()  # of the same size
    map_.unlink()
    assert failed(chain, fast=True, **at_hand) == {("raw", subject)}


def test_records_hold_relative_paths_only(chain):
    for file in (chain / "provenance").rglob("*.json"):
        assert str(chain.parent) not in file.read_text()


def test_a_moved_root_is_trusted(chain):
    moved = chain.parent / "elsewhere"
    shutil.move(chain, moved)
    assert run(moved).exit_code() == 0


@pytest.mark.parametrize(
    ("file", "code", "subject"),
    [
        ("../raw/scan.nii", "raw", "cohort:tiny/scan.nii"),
        ("store/shard-0000.zarr/c0", "outputs", "store/shard-0000.zarr/c0"),
        ("store/index.tsv", "outputs", "store/index.tsv"),
        ("runs/m.json", "outputs", "runs/m.json"),
        ("tables/t.csv", "outputs", "tables/t.csv"),
        ("tables/t_cells.csv", "outputs", "tables/t_cells.csv"),
    ],
)
def test_one_changed_byte_anywhere_is_found_and_named(chain, file, code, subject):
    path = chain / file
    stamp = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    import os

    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert (code, subject) in failed(chain)
    assert run(chain).exit_code() == 1


@pytest.mark.parametrize(
    "file", ["../raw/scan.nii", "store/shard-0000.zarr/c0", "runs/m.json", "tables/t_cells.csv"]
)
def test_a_missing_file_is_found(chain, file):
    (chain / file).unlink()
    assert run(chain).exit_code() == 1


def test_an_edited_cell_is_recomputed_from_its_measurement(chain):
    """Also where the record was rewritten to fit."""
    table, cells = chain / "tables/t.csv", chain / "tables/t_cells.csv"
    table.write_text(table.read_text().replace("0.05\n", "0.04\n"))
    cells.write_text(cells.read_text().replace("measured,0.05,", "measured,0.04,"))
    record = chain / "provenance/tables/t.csv.json"
    content = read_json(record)
    from genmorph.files import sha256_file

    for entry in content["outputs"]:
        entry["sha256"] = sha256_file(chain / entry["path"])
    write_json(record, sealed(content))
    assert {code for code, _ in failed(chain)} == {"cells"}


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("0.0512,,,runs", "0.0512,0.01,seeds,runs", "spread none, cell 0.01"),
        ("0.047,no,", "0.047,no,0.0042", "difference none, cell 0.0042"),
        ("0.0512,,", "0.0513,,", "value 0.0512, cell 0.0513"),
    ],
)
def test_what_a_cell_says_beside_its_text_is_recomputed_too(chain, before, after, named):
    cells = chain / "tables/t_cells.csv"
    text = cells.read_text()
    assert before in text
    cells.write_text(text.replace(before, after))
    (finding,) = [
        finding
        for finding in run(chain).findings
        if (finding.code, finding.status) == ("cells", "fail")
    ]
    assert named in finding.message


@pytest.mark.parametrize("content", [{"values": {}}, {}, []])
def test_a_value_taken_out_of_a_measurement_is_found(chain, content):
    write_json(chain / "runs/m.json", content)
    assert ("cells", "tables/t.csv [M3AE, L2, measured]") in failed(chain)


def test_an_input_that_was_written_anew_is_found(chain):
    """The table still shows the measurement's older value."""
    measurement = chain / "runs/m.json"
    with recording(
        "evaluate.diversity",
        out=measurement,
        parameters={"data_range": 1.5},
        inputs=[chain / "store/index.tsv"],
    ):
        write_json(measurement, {"values": {"l2": 0.0734}})
    assert {code for code, _ in failed(chain)} >= {"inputs", "cells"}


def test_a_lost_record_is_named_with_the_command_that_restores_it(chain):
    (chain / "provenance/runs/m.json.json").unlink()
    report = run(chain)
    finding = next(f for f in report.findings if f.subject == "runs/m.json")
    assert (finding.code, finding.status) == ("records", "fail")
    assert "snakemake" in finding.message and "runs/m.json" in finding.message
    assert report.exit_code() == 1


def test_changed_parameters_name_the_key(chain):
    path = chain / "config.resolved.yaml"
    path.write_text(path.read_text().replace("1.5", "2.0"))
    messages = [f.message for f in run(chain).failures(publication=False)]
    assert "it was edited" in messages[0]
    assert messages[1:] == ["differ from config.resolved.yaml in: data_range"]


def test_changed_code_names_the_module(chain):
    record = chain / "provenance/tables/t.csv.json"
    content = read_json(record)
    content["code"]["modules"]["genmorph.publish.tables"] = "0" * 64
    write_json(record, sealed(content))
    (finding,) = run(chain).failures(publication=False)
    assert finding.code == "code" and "genmorph.publish.tables" in finding.message


def test_uncommitted_code_is_sound_but_not_publishable(chain):
    record = chain / "provenance/tables/t.csv.json"
    content = read_json(record)
    content["git"] |= {"dirty": True, "changed": ["src/genmorph/store.py"]}
    write_json(record, sealed(content))
    report = run(chain)
    assert report.exit_code() == 3
    assert report.exit_code(strict=True) == 1
    assert "src/genmorph/store.py" in report.failures(publication=True)[0].message


def test_fast_skips_the_bytes_of_scans_and_arrays(chain):
    (chain / "../raw/scan.nii").write_bytes(b"b scan of somebody")
    (chain / "store/shard-0000.zarr/c0").write_bytes(b"b volume")
    assert run(chain, fast=True).exit_code() == 0
    (chain / "../raw/scan.nii").write_bytes(b"short")
    assert run(chain, fast=True).exit_code() == 1


def test_a_cohort_that_is_not_at_hand_is_unknown_not_passed(chain):
    report = Audit(chain, {}).run("tables/t.csv")
    assert [f.status for f in report.findings if f.code == "raw"] == ["unknown"]
    assert report.exit_code() == 1


def test_one_cell_is_traced_to_the_scans(chain):
    trace = Audit(chain, {}).trace("tables/t.csv", "M3AE", "L2")
    assert trace["cell"]["measurement"] == "runs/m.json"
    assert [step["command"] for step in trace["chain"]] == ["evaluate.diversity", "preprocess"]
    assert trace["chain"][1]["raw_scans"] == 1
    assert trace["chain"][0]["seeds"] == {"seed": 0}
    json.dumps(trace)
    with pytest.raises(AuditError, match="no cell 'M3AE,L3'"):
        Audit(chain, {}).trace("tables/t.csv", "M3AE", "L3")


def test_what_is_not_there_is_an_error_that_helps(chain, tmp_path):
    with pytest.raises(AuditError, match="no such file and no record"):
        run(chain, "tables/x.csv")
    with pytest.raises(AuditError, match="no records"):
        Audit(tmp_path / "nowhere", {})


def test_a_command_that_fails_leaves_no_record(tmp_path):
    with (
        pytest.raises(RuntimeError),
        recording("table", out=tmp_path / "t.csv", parameters={}),
    ):
        raise RuntimeError
    assert not (tmp_path / "provenance").exists()


def edit_record(root: Path, name: str, **changes):
    path = root / "provenance" / name
    write_json(path, sealed(read_json(path) | changes))


def publication_failures(root: Path, target: str | None = "tables/t.csv") -> list[tuple[str, str]]:
    return [(f.code, f.subject) for f in run(root, target).failures(publication=True)]


@pytest.mark.parametrize(("version", "said"), [("1.0.0", "has 2.0"), ("2.0+cpu", "")])
def test_packages_are_those_of_the_lock(chain, monkeypatch, version, said):
    """A build label is no other version."""
    name = "tables/t.csv.json"
    then = read_json(chain / "provenance" / name)["environment"]
    then["packages"] = {"numpy": version}
    edit_record(chain, name, environment=then)
    monkeypatch.setattr(publication, "environment", lambda: then)
    monkeypatch.setattr(publication, "locked_versions", lambda lock: {"numpy": "2.0"})
    messages = {f.subject: f.message for f in run(chain).findings if f.code == "environment"}
    assert said in messages[name] and bool(messages[name]) == bool(said)


def test_packages_recorded_then_are_those_of_now(chain, monkeypatch):
    """An environment of fewer packages than the auditor's decided nothing by the others."""
    name = "tables/t.csv.json"
    then = read_json(chain / "provenance" / name)["environment"]
    few = then | {"packages": {"numpy": then["packages"]["numpy"]}}
    edit_record(chain, name, environment=few)
    assert publication_failures(chain) == []
    monkeypatch.setattr(publication, "environment", lambda: then | {"packages": {}})
    messages = {f.subject: f.message for f in run(chain).findings if f.code == "environment"}
    assert messages[name] == f"numpy {few['packages']['numpy']} then, None now"


def test_the_lock_is_read_as_pip_reads_it(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# numpy==1.0\nnumpy==2.4.6\nEfficientNet_lite.x==0.1.0 ; python_version>'3'\n")
    assert publication.locked_versions(lock) == {"numpy": "2.4.6", "efficientnet-lite-x": "0.1.0"}


def test_a_missing_lock_is_unknown(chain, monkeypatch):
    monkeypatch.setattr(publication, "LOCK_FILE", "envs/nowhere.lock")
    assert ("environment", "envs/nowhere.lock") in publication_failures(chain)


def test_orphans_are_named_of_the_whole_root_and_make_it_unpublishable(chain):
    (chain / "tables/old.csv").write_text("a table of yesterday")
    shutil.copytree(chain / "store", chain / "preprocessed/old")
    assert publication_failures(chain, None) == [
        ("orphans", "preprocessed/old"),
        ("orphans", "tables/old.csv"),
    ]
    assert run(chain, None).exit_code() == 3
    assert run(chain, None).exit_code(strict=True) == 1
    assert run(chain).exit_code() == 0


def test_a_record_left_alone_is_an_orphan_and_a_lost_link_is_not(chain):
    (chain / "tables/t.csv").unlink()
    (chain / "tables/t_cells.csv").unlink()
    assert publication_failures(chain, None) == [("orphans", "provenance/tables/t.csv.json")]
    assert run(chain, None).exit_code() == 3
    assert run(chain).exit_code() == 1


def test_of_two_records_of_one_file_the_later_counts(chain):
    """Whatever their names: the earlier one is an orphan."""
    record = chain / "provenance/runs/m.json.json"
    older = read_json(record)
    older["ended"] = "2000-01-01T00:00:00.000+00:00"
    older["outputs"][0]["sha256"] = "0" * 64
    write_json(record.with_name("z.json.json"), sealed(older))
    assert publication_failures(chain, None) == [("orphans", "provenance/runs/z.json.json")]
    assert run(chain, None).exit_code() == 3


def test_a_home_folder_in_a_table_bars_publication(chain):
    edit_record(chain, "tables/t.csv.json", notes={"from": "/home/alice/t.csv"})
    assert publication_failures(chain) == [("identifiers", "provenance/tables/t.csv.json")]
    assert run(chain).exit_code() == 3


def test_a_command_line_is_recorded_without_this_machines_folders(tmp_path, monkeypatch):
    root = tmp_path / "results"
    words = [f"{root}/t.csv", "--root", "/data/my scans/oasis-1", "@/tmp/m3ae.json"]
    words += [str(Path.cwd() / "rules"), '{"weights":"/data/w.pth","ratio":"1/2"}', "runs/m.json"]
    monkeypatch.setattr("sys.argv", ["genmorph", *words])
    with recording("table", out=root / "t.csv", parameters={}):
        root.mkdir()
        (root / "t.csv").touch()
    assert read_json(root / "provenance/t.csv.json")["arguments"] == [
        "{results}/t.csv",
        "--root",
        "{elsewhere}/oasis-1",
        "@{elsewhere}/m3ae.json",
        "rules",
        '{"weights":"{elsewhere}/w.pth","ratio":"1/2"}',
        "runs/m.json",
    ]


def test_shared_causes_are_said_once_and_orphans_each(chain):
    from genmorph.cli.audit import broken_links

    for name in ("a", "b"):
        (chain / f"tables/{name}.csv").touch()
    for name in ("tables/t.csv.json", "runs/m.json.json"):
        edit_record(chain, name, git=CLEAN | {"dirty": True, "changed": ["src/x.py"]})
    lines = broken_links(run(chain, None))
    assert sum("orphans" in line for line in lines) == 2
    assert sum("commit" in line for line in lines) == 1


@pytest.mark.parametrize("key", ["ended", "notes", "git", "seeds", "code", "sealed_sha256"])
def test_an_edit_of_anything_in_a_record_shows(chain, key):
    """Also of what no other check looks at."""
    path = chain / "provenance/runs/m.json.json"
    content = read_json(path)
    content[key] = {"made": "up"} if isinstance(content.get(key, {}), dict) else "2000-01-01"
    if key == "code":
        content[key] = read_json(path)["code"] | {"sha256": "0" * 64}
    if key == "seeds":
        content[key] = {"seed": 7}
    write_json(path, content)
    assert ("records", "provenance/runs/m.json.json") in failed(chain)


def test_a_record_that_cannot_be_read_is_a_finding_whatever_is_asked(chain):
    path = chain / "provenance/store/index.tsv.json"
    path.write_bytes(path.read_bytes()[:200])
    findings = run(chain).failures(publication=False)
    assert (findings[0].code, findings[0].subject) == ("records", "provenance/store/index.tsv.json")
    assert "not a JSON file" in findings[0].message
    path.write_text("[]")
    assert "not a record" in run(chain).failures(publication=False)[0].message


def test_two_records_that_changed_places_are_found(chain):
    one, other = (chain / "provenance" / name for name in ("tables/t.csv.json", "runs/m.json.json"))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert {
        ("records", "provenance/tables/t.csv.json"),
        ("records", "provenance/runs/m.json.json"),
    } <= failed(chain)


@pytest.mark.parametrize(
    "text", ["[1, 2", "parameters: 3", "", "- a", "a: !!bool x", "[" * 100_000]
)
def test_a_damaged_configuration_is_a_finding_not_a_crash(chain, text):
    (chain / "config.resolved.yaml").write_text(text)
    assert ("parameters", "config.resolved.yaml") in failed(chain)
    assert cohort_roots(chain) == {}


def test_the_page_has_every_check():
    page = (Path(__file__).parents[3] / "docs/provenance.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, flags=re.M) == list(CHECKS)


def test_a_root_may_be_the_target(chain):
    command = [sys.executable, "-m", "genmorph", "audit", str(chain)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"audit of {chain}: 3 records" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["inputs"][0].pop("base"),
        lambda content: content["outputs"][0].update(path="a/" + "b" * 256),
        lambda content: content["outputs"][0].update(path="a\0b"),
        lambda content: content["outputs"][0].update(path="/".join(["b" * 200] * 50)),
    ],
)
def test_a_record_of_no_file_is_a_finding_not_a_crash(chain, edit):
    path = chain / "provenance/runs/m.json.json"
    content = read_json(path)
    edit(content)
    write_json(path, content)
    first = run(chain, None).failures(publication=False)[0]
    assert (first.code, first.subject) == ("records", "provenance/runs/m.json.json")
    assert "not a record" in first.message


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("row,column", "rox,column", "cell 1 has no row"),
        (",runs/m.json,values.l2,.2f,0.047,no,", "", "cell 2 has no measurement"),
        ("M3AE", "M3AE\udcff", "cannot be read"),
    ],
)
def test_a_damaged_cell_is_not_traced(chain, before, after, message):
    path = chain / "tables/t_cells.csv"
    path.write_bytes(CELLS.replace(before, after).encode(errors="surrogateescape"))
    with pytest.raises(AuditError, match=message):
        Audit(chain, {}).trace("tables/t.csv", "M3AE", "L2")


def test_a_table_whose_header_was_damaged_is_a_finding_not_a_crash(chain):
    cells = chain / "tables/t_cells.csv"
    cells.write_text(cells.read_text().replace("row,column", "rox,column"))
    assert {"cells", "outputs"} <= {code for code, _ in failed(chain)}


@pytest.mark.parametrize("name", ["config.resolved.yaml", "provenance/runs/m.json.json"])
def test_an_edit_that_changes_no_value_shows_too(chain, name):
    path = chain / name
    text = path.read_text()
    path.write_text(text + "\n" if name.endswith("json") else "# a remark\n" + text)
    assert run(chain).exit_code() == 1


def test_a_record_that_was_made_to_name_another_input_is_named_first(chain):
    """Not the file that never was."""
    path = chain / "provenance/runs/m.json.json"
    content = read_json(path)
    content["inputs"][0]["path"] += "x"
    write_json(path, content)
    first, *others = run(chain).failures(publication=False)
    assert (first.code, first.subject) == ("records", "provenance/runs/m.json.json")
    assert any(finding.subject.endswith("index.tsvx") for finding in others)
