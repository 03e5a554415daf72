"""The crate: valid, the same bytes each time, and silent about real people."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from genmorph.errors import AuditError
from genmorph.files import read_json, write_json, write_tsv
from genmorph.provenance.crate import PROFILES, write_crate
from genmorph.provenance.record import recording
from genmorph.provenance.seal import sealed
from support import PROJECT

# as they could stand in a download: an id of the source, a path that has it, a day
PERSON, SOURCE_ID, DAY = "sub-ADNI002S0413", "002_S_0413", "2006-05-02"
RAW = f"ADNI/{SOURCE_ID}/MPRAGE/{DAY}_12_31_52.0/I120917/scan.nii"
PERSONAL = (PERSON, SOURCE_ID, DAY, "I120917", "73.4")


def make_results(root: Path, *, simulated: bool) -> Path:
    """A results root of a cohort of one person: ingest, preprocess, train, measure, table."""
    root.mkdir()
    (root / "config.resolved.yaml").write_text("config: {scale: smoke}\n")
    cohort = root / "cohorts/tiny"
    cohort.mkdir(parents=True)
    scan = root.parent / "raw" / RAW
    scan.parent.mkdir(parents=True)
    scan.write_bytes(b"voxels")
    manifest, people = cohort / "manifest.tsv", cohort / "participants.tsv"
    store, measurement = root / "preprocessed/tiny/m3ae/index.tsv", root / "runs/a/measures/m.json"
    weights, table = root / "runs/a/checkpoint/model.safetensors", root / "tables/t.csv"
    with recording(
        "ingest",
        out=manifest,
        parameters={"cohort": "tiny"},
        outputs=[people, cohort / "cohort.json"],
    ) as record:
        row = {"participant_id": PERSON, "source_id": SOURCE_ID, "age_years": "73.4"}
        row |= {"scan_id": f"{PERSON}_ses-1", "path": RAW, "acquisition_date": DAY}
        write_tsv(manifest, tuple(row), [row])
        write_tsv(people, ("participant_id", "age_years"), [row])
        write_json(cohort / "cohort.json", {"cohort": "tiny", "simulated": simulated})
    with recording(
        "preprocess", out=store, parameters={"grid": [4, 4]}, inputs=[manifest]
    ) as record:
        record.add_input(scan, base="cohort:tiny", name=RAW)
        write_tsv(store, ("scan_id", "row"), [{"scan_id": f"{PERSON}_ses-1", "row": 0}])
    options = {"study": "m3ae", "options": {"beta": 6.0}}
    with recording(
        "train", out=weights, parameters=options, inputs=[store], seeds={"seed": 0, "train": 17}
    ):
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"weights")
    with recording("evaluate.diversity", out=measurement, parameters={}, inputs=[weights]):
        write_json(measurement, {"values": {"l2": 0.05}})
    with recording("table", out=table, parameters={}, inputs=[measurement]):
        table.parent.mkdir()
        table.write_text("row,L2\nM3AE,0.05\n")
    return root


@pytest.fixture
def simulated(tmp_path):
    return make_results(tmp_path / "results", simulated=True)


@pytest.fixture
def real(tmp_path):
    return make_results(tmp_path / "results", simulated=False)


def packed(root: Path, **options) -> tuple[dict[str, bytes], dict[str, dict]]:
    """Files of a crate, and its entities by id."""
    out = root.parent / "crate.zip"
    write_crate(root, out, **options)
    with zipfile.ZipFile(out) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    graph = json.loads(files["ro-crate-metadata.json"])["@graph"]
    return files, {entity["@id"]: entity for entity in graph}


def test_each_command_is_an_action_with_what_it_read_wrote_and_was_told(simulated):
    _, entities = packed(simulated)
    actions = [entity for entity in entities.values() if entity["@type"] == "CreateAction"]
    assert len(actions) == 5 + 1  # and the run of the whole workflow
    train = next(entity for entity in actions if entity["name"].startswith("train"))
    assert train["instrument"] == {"@id": "#genmorph-train"}
    assert train["startTime"] <= train["endTime"]
    read = [entities[reference["@id"]] for reference in train["object"]]
    values = {entity["name"]: entity["value"] for entity in read if "value" in entity}
    assert values["options.beta"] == "6.0" and values["seed of train"] == "17"
    assert len(values["code sha256"]) == 64
    written = entities[train["result"][0]["@id"]]
    recorded = read_json(simulated / "provenance/runs/a/checkpoint/model.safetensors.json")
    assert written["sha256"] == recorded["outputs"][0]["sha256"]
    index = next(entity for entity in read if entity["name"].endswith("index.tsv"))
    assert index["sha256"] == recorded["inputs"][0]["sha256"]


def test_every_action_is_steered_by_a_step_of_the_workflow(simulated):
    files, entities = packed(simulated)
    assert {entry["@id"] for entry in entities["./"]["conformsTo"]} == set(PROFILES)
    workflow = entities[entities["./"]["mainEntity"]["@id"]]
    assert "ComputationalWorkflow" in workflow["@type"]
    assert files[workflow["@id"]] == (PROJECT / "Snakefile").read_bytes()
    steps = [entities[reference["@id"]]["name"] for reference in workflow["step"]]
    assert steps == ["ingest", "preprocess", "train", "evaluate.diversity", "table"]
    controls = [entity for entity in entities.values() if entity["@type"] == "ControlAction"]
    assert len(controls) == 5
    organised = entities["#organisation"]
    assert {entry["@id"] for entry in organised["object"]} == {entry["@id"] for entry in controls}


def test_same_results_same_bytes(simulated):
    out = simulated.parent / "crate.zip"
    write_crate(simulated, out)
    first = out.read_bytes()
    write_crate(simulated, out)
    assert out.read_bytes() == first


def test_every_reference_has_its_entity_and_every_file_is_carried(simulated):
    files, entities = packed(simulated)

    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else ()
            for entry in value.values():
                yield from references(entry)
        elif isinstance(value, list):
            for entry in value:
                yield from references(entry)

    here = {found for entity in entities.values() for found in references(entity)}
    assert {found for found in here if found.startswith("#")} <= set(entities)
    carried = {name for name, entity in entities.items() if "File" in entity["@type"]}
    assert carried == set(files) - {"ro-crate-metadata.json"}
    assert {"tables/t.csv", "runs/a/measures/m.json"} <= carried


def test_nobody_of_a_real_cohort_is_named(real):
    files, entities = packed(real)
    for name, content in files.items():
        for word in PERSONAL:
            assert word not in name and word.encode() not in content, (name, word)
    assert not any(name.startswith(("cohorts/", "provenance/", "preprocessed/")) for name in files)
    scan = next(
        entity for entity in entities.values() if entity.get("name") == "cohort tiny: file 1"
    )
    assert scan["contentSize"] == "6" and len(scan["sha256"]) == 64
    assert "tiny" in entities["./"]["conditionsOfAccess"]


def test_personal_data_leaves_when_asked(real):
    files, _ = packed(real, include_personal=True)
    assert PERSON.encode() in files["cohorts/tiny/manifest.tsv"]
    assert RAW.encode() in files["ro-crate-metadata.json"]
    assert "provenance/tables/t.csv.json" in files


def test_a_table_that_names_a_person_stays_behind(real):
    with recording("table", out=real / "tables/bad.csv", parameters={}):
        (real / "tables/bad.csv").write_text(f"row,L2\n{PERSON},0.05\n")
    files, entities = packed(real)
    assert "tables/bad.csv" not in files
    assert any(entity.get("name") == "tables/bad.csv" for entity in entities.values())


def test_a_parameter_that_names_a_person_is_refused(real):
    with recording("table", out=real / "tables/b.csv", parameters={"template_scan": PERSON}):
        (real / "tables/b.csv").write_text("row,L2\n")
    with pytest.raises(AuditError, match="would name a person") as caught:
        write_crate(real, real.parent / "crate.zip")
    assert PERSON not in str(caught.value)
    assert not (real.parent / "crate.zip").exists()


def test_an_edited_table_is_refused(simulated):
    (simulated / "tables/t.csv").write_text("row,L2\nM3AE,0.01\n")
    with pytest.raises(AuditError, match=r"tables/t\.csv: not the bytes"):
        write_crate(simulated, simulated.parent / "crate.zip")


@pytest.mark.parametrize("damage", ["{", json.dumps(sealed({"command": "table"}))])
def test_a_damaged_record_is_refused(simulated, damage):
    (simulated / "provenance/tables/t.csv.json").write_text(damage)
    with pytest.raises(AuditError, match=r"t\.csv\.json"):
        write_crate(simulated, simulated.parent / "crate.zip")


def test_an_edited_record_is_refused(simulated):
    path = simulated / "provenance/tables/t.csv.json"
    path.write_text(path.read_text().replace('"started": "2', '"started": "3'))
    with pytest.raises(AuditError, match=r"t\.csv\.json: its seal is gone or broken"):
        write_crate(simulated, simulated.parent / "crate.zip")


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(AuditError, match="no records"):
        write_crate(tmp_path, tmp_path / "crate.zip")


@pytest.fixture
def validators() -> Path:
    folder = Path(os.environ.get("GENMORPH_VALIDATORS", PROJECT / ".venv-validators"))
    if not (folder / "bin/runcrate").is_file():
        pytest.skip("no validators: see envs/validators.txt, and set GENMORPH_VALIDATORS")
    return folder / "bin"


@pytest.mark.parametrize("options", [{}, {"include_personal": True}])
def test_the_validators_of_the_profiles_accept_it(real, validators, options):
    out = real.parent / "crate.zip"
    write_crate(real, out, **options)
    script = PROJECT / "tests/reliability/validate_crate.py"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = {"capture_output": True, "text": True, "check": True, "env": environment}
    found = json.loads(subprocess.run([validators / "python", script, out], **run).stdout)
    for profile, outcome in found.items():
        assert outcome["passed"] and outcome["issues"] == [], (profile, outcome)
        # only whether the addresses of the contexts answer
        assert outcome["skipped"] == ["ro-crate-1.1_3.1", "ro-crate-1.1_3.2"]
    assert len(found) == 3 and found["provenance-run-crate"]["checks"] > 80
    report = subprocess.run([validators / "runcrate", "report", out], **run).stdout
    assert report.count("action: ") == 6
    assert "step: Snakefile#train" in report
