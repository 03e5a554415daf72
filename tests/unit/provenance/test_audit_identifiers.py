"""Check `identifiers`: what would give away a machine, a user or a person, and what would not."""

from __future__ import annotations

import base64
import getpass
import socket
from pathlib import Path

import pytest
import yaml

from genmorph.files import write_json, write_tsv
from genmorph.provenance.audit.identifiers import check_identifiers, names_in

HOST = "workhorse.example.org"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr(getpass, "getuser", lambda: "bob")
    monkeypatch.setattr(Path, "home", lambda: Path("/users_of_lab/bob"))


@pytest.fixture
def root(tmp_path):
    """A results root with a real and a simulated cohort, a table, a figure and a configuration."""
    for cohort, simulated in (("clinic", False), ("made", True)):
        folder = tmp_path / "cohorts" / cohort
        write_json(folder / "cohort.json", {"cohort": cohort, "simulated": simulated})
        people = [{"participant_id": name} for name in (f"sub-{cohort}01", "sub-7", "sub-100307")]
        write_tsv(folder / "participants.tsv", ["participant_id"], people)
    (tmp_path / "config.resolved.yaml").write_text("config: {results: results}\n")
    for name in ("tables/t.csv", "figures/f.svg", "notebooks/n.ipynb"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("words\n")
    return tmp_path


def records(cohorts=("clinic", "made"), **other):
    made = {
        f"cohorts/{cohort}/manifest.tsv.json": {
            "command": "ingest",
            "parameters": {"cohort": cohort},
            "arguments": ["ingest", "--out", f"results/cohorts/{cohort}"],
            "outputs": [{"path": f"cohorts/{cohort}/manifest.tsv"}],
        }
        for cohort in cohorts
    }
    return made | other


def told(root, chain=None, *, everything=True, cohort_roots=None):
    found = check_identifiers(root, chain or records(), cohort_roots or {}, everything=everything)
    return {finding.subject: finding.message for finding in found if finding.status != "pass"}


def test_a_clean_root_passes_and_everything_was_looked_at(root):
    findings = list(check_identifiers(root, records(), {}, everything=True))
    assert {finding.status for finding in findings} == {"pass"}
    shared = {"tables/t.csv", "figures/f.svg", "notebooks/n.ipynb", "config.resolved.yaml"}
    assert shared <= {finding.subject for finding in findings}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("read from /home/alice/scans", "a home folder: /home/alice"),
        ("read from ../../home/alice/scans", "a home folder: /home/alice"),
        ("C:\\Users\\alice\\scans", "a home folder"),
        ('"C:\\\\Users\\\\alice\\\\scans"', "a home folder"),
        ("/root/scans", "a home folder: /root/"),
        ("/users_of_lab/bob/scans", "a folder of this machine"),
        ("ran on workhorse", "the name of this machine: workhorse"),
        ("Workhorse.example.org:8080", "the name of this machine"),
        ("bob@example.org", "the user's name"),
        ("~bob/scans", "the user's name"),
        ("sub-clinic01 is old", "people of a real cohort: clinic01, sub-clinic01"),
        ("sub-clinic01_ses-2", "people of a real cohort"),
        ("person 100307.", "people of a real cohort: 100307"),
    ],
)
@pytest.mark.parametrize("file", ["tables/t.csv", "figures/f.svg", "notebooks/n.ipynb"])
def test_a_name_in_what_is_shared_is_found(root, file, text, what):
    (root / file).write_text(f"<text>{text}</text>\n")
    found = told(root)
    assert found.keys() == {file} and what in found[file]


@pytest.mark.parametrize(
    "text",
    [
        "bob and root are words; data too",
        "a workhorses' gait, my-workhorse, localhost",
        "docs/home/page and results/root/x",
        "sub-made01 is of nobody",
        "sub-70 sub-clinic012 xsub-clinic01x 0.100307 100307.5",
        '<path d="M 100307 0 L 1 100307"/>',
    ],
)
def test_words_and_numbers_that_only_look_like_names_pass(root, text):
    (root / "figures/f.svg").write_text(text)
    assert told(root) == {}


def test_pictures_inside_text_are_no_text(root):
    picture = base64.b64encode(b"".join(n.to_bytes(2, "big") for n in range(3000))).decode()
    text = f'<image href="data:image/png;base64,{picture}/root/{picture}"/>'
    (root / "figures/f.svg").write_text(text)
    assert told(root) == {}


def test_a_long_folder_is_no_picture(root):
    """Letters and slashes alone look like one."""
    (root / "tables/t.csv").write_text("/home/alice" + "/folder" * 20)
    assert "/home/alice" in told(root)["tables/t.csv"]


def test_of_the_whole_root_cohorts_without_a_record_count(root):
    (root / "tables/t.csv").write_text("sub-clinic01\n")
    assert told(root, records(cohorts=["made"])).keys() == {"tables/t.csv"}
    table = {"command": "table", "parameters": {}, "outputs": [{"path": "tables/t.csv"}]}
    assert told(root, records(cohorts=["clinic"], x=table), everything=False)
    assert not told(root, records(cohorts=["made"], x=table), everything=False)


def test_a_short_host_name_is_a_word(root, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "vm")
    (root / "tables/t.csv").write_text("vm, VM\n")
    assert told(root) == {}


@pytest.mark.parametrize(
    "words",
    [
        {"arguments": ["--root", "/data/clinic"]},
        {"arguments": ["--parameters", '{"weights":"/data/w.pth"}']},
        {"outputs": [{"path": "/scratch/t.csv"}]},
        {"notes": {"device": {"file": "/data/x"}}},
        {"notes": {"host": "workhorse"}},
    ],
)
def test_a_record_holds_relative_paths_only(root, words):
    plain = {"command": "table", "parameters": {}, "arguments": [], "outputs": []}
    harmless = {"query": "age / 2 > n /2", "url": "https://example.org/a/b", "path": "../a/b"}
    assert told(root, records(x=plain | {"parameters": harmless})) == {}
    assert told(root, records(x=plain | words)).keys() == {"provenance/x"}


def test_an_absolute_path_in_the_configuration_is_found(root):
    config = root / "config.resolved.yaml"
    config.write_text(yaml.safe_dump({"config": {"cohorts": {"clinic": {"root": "/data/clinic"}}}}))
    message = told(root)["config.resolved.yaml"]
    assert message.startswith("tells an absolute path: /data/clinic;") and "${NAME}" in message
    config.write_text(yaml.safe_dump({"config": {"cohorts": {"clinic": {"root": "${CLINIC}"}}}}))
    assert told(root) == {}


def test_the_folder_of_the_scans_is_found_in_text(root):
    (root / "tables/t.csv").write_text("from /data/clinic/v2/sub\n")
    assert told(root) == {}
    assert (
        "/data/clinic" in told(root, cohort_roots={"clinic": Path("/data/clinic")})["tables/t.csv"]
    )


def test_of_one_target_only_its_own_files_are_searched(root):
    (root / "tables/t.csv").write_text("workhorse\n")
    table = {"command": "table", "parameters": {}, "outputs": [{"path": "tables/t.csv"}]}
    assert told(root, everything=False) == {}
    assert told(root, records(x=table), everything=False).keys() == {"tables/t.csv"}


def test_people_that_cannot_be_known_are_unknown(root):
    (root / "cohorts/clinic/participants.tsv").unlink()
    assert "no such file" in told(root)["cohorts/clinic"]


def test_ids_are_found_at_the_joints_of_longer_names():
    people = {"sub-A1", "002_S_0295"}
    assert names_in("x_sub-A1_ses-1.nii, I002_S_0295", people) == {"sub-A1"}
    assert names_in("scan_002_S_0295_bl", people) == {"002_S_0295"}
    assert names_in("sub-A11 002_S_029", people) == set()


@pytest.fixture
def biobank(root):
    """A real cohort with pseudonyms beside the others."""
    folder = root / "cohorts" / "biobank"
    write_json(folder / "cohort.json", {"simulated": False, "pseudonyms": True})
    write_tsv(folder / "participants.tsv", ["participant_id"], [{"participant_id": "sub-ukb00001"}])
    person = {"participant_id": "sub-ukb00001", "source_id": "1000223"}
    write_tsv(folder / "manifest.tsv", tuple(person), [person])
    return root


@pytest.mark.parametrize("text", ["person 1000223", "1000223_20252_2_0.zip", "sub-1000223_ses-2"])
def test_an_id_behind_a_pseudonym_is_found_in_files_and_in_records(biobank, text):
    chain = records(cohorts=["clinic", "made", "biobank"])
    (biobank / "tables/t.csv").write_text("sub-ukb00001, 31000223, 1000223.5\n")
    assert told(biobank, chain) == {}  # a pseudonym is nobody's name
    (biobank / "tables/t.csv").write_text(f"{text}\n")
    assert "1000223" in told(biobank, chain)["tables/t.csv"]
    (biobank / "tables/t.csv").write_text("words\n")
    entry = {"base": "cohort:biobank", "path": text, "size": 5}
    own = {"command": "preprocess", "parameters": {}, "outputs": [], "inputs": [entry]}
    assert "1000223" in told(biobank, chain | {"x": own})["provenance/x"]
    entry |= {"path": "sub-ukb00001_ses-2", "size": 1000223}
    assert told(biobank, chain | {"x": own}) == {}  # a size is no id
