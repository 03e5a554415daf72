"""Check `withdrawn`: nobody who withdrew is kept, or lies in a store."""

from __future__ import annotations

import pytest

from genmorph.cohorts.manifest import Scan, write_manifest
from genmorph.cohorts.reading import leave_out
from genmorph.files import write_json, write_tsv
from genmorph.provenance.audit.findings import Finding, Report
from genmorph.provenance.audit.withdrawn import check_withdrawn

RECORDS = {
    "ingest": {
        "command": "ingest",
        "parameters": {"cohort": "tiny"},
        "outputs": [{"path": "cohorts/tiny/manifest.tsv"}],
    }
}


@pytest.fixture
def root(tmp_path):
    """A cohort of three people, with a store and a run's reconstructions of two."""
    scans = [
        Scan(
            f"sub-ukb{n}",
            f"sub-ukb{n}",
            None,
            f"{n}.zip",
            1,
            False,
            source_id=f"100000{n}",
            shard=0,
        )
        for n in (1, 2, 3)
    ]
    scans[1] = leave_out(scans[1], "kept", "withdrawn")
    folder = tmp_path / "cohorts/tiny"
    write_manifest(folder / "manifest.tsv", scans)
    write_json(folder / "cohort.json", {"pseudonyms": True, "simulated": False})
    for store in ("preprocessed/tiny/m3ae", "runs/m3ae/m3ae/tiny-all/seed-0/reconstructions"):
        rows = [{"scan_id": "sub-ukb1"}, {"scan_id": "sub-ukb3"}]
        write_tsv(tmp_path / store / "index.tsv", ["scan_id"], rows)
    return tmp_path


@pytest.fixture
def lists(tmp_path):
    """The withdrawal list: of the second person, and of one who was never scanned."""
    path = tmp_path / "w.csv"
    path.write_text("1000002\n7777777\n")
    return {"tiny": path}


def found(root, lists):
    findings = check_withdrawn(root, RECORDS, lists)
    return [(f.status, f.subject) for f in findings if f.status != "pass"]


def test_a_person_left_out_and_in_no_store_passes(root, lists):
    assert len(list(check_withdrawn(root, RECORDS, lists))) == 3
    assert found(root, lists) == []


@pytest.mark.parametrize(
    "store", ["preprocessed/tiny/m3ae", "runs/m3ae/m3ae/tiny-all/seed-0/reconstructions"]
)
def test_a_scan_that_is_still_in_a_store_fails(root, lists, store):
    rows = [{"scan_id": "sub-ukb1"}, {"scan_id": "sub-ukb2"}]
    write_tsv(root / store / "index.tsv", ["scan_id"], rows)
    assert found(root, lists) == [("fail", f"{store}/index.tsv")]
    (finding,) = (f for f in check_withdrawn(root, RECORDS, lists) if f.status == "fail")
    assert "sub-ukb2" in finding.message and "1000002" not in finding.message
    assert Report("x", [], [finding]).exit_code() == 1


def test_a_list_that_is_newer_than_the_manifest_fails(root, lists):
    lists["tiny"].write_text("1000003\n")
    assert ("fail", "cohorts/tiny") in found(root, lists)


@pytest.mark.parametrize("content", [None, b"\xff\xfe1"])
def test_a_list_that_cannot_be_read_breaks(root, lists, content):
    lists["tiny"].unlink() if content is None else lists["tiny"].write_bytes(content)
    (finding,) = check_withdrawn(root, RECORDS, lists)
    assert finding.status == "unknown"
    assert Report("x", [], [finding]).exit_code() == 1


def test_without_a_list_a_cohort_with_pseudonyms_is_unknown_and_not_publishable(root):
    assert found(root, {}) == [("unknown", "cohorts/tiny")]
    (finding,) = check_withdrawn(root, RECORDS, {})
    assert Report("x", [], [finding]).exit_code() == 3
    assert Report("x", [], [Finding("raw", "unknown", "x")]).exit_code() == 1
    write_json(root / "cohorts/tiny/cohort.json", {"pseudonyms": False, "simulated": False})
    assert found(root, {}) == []
