"""A raw scan of two files has no size of its own: a fast audit only asks whether it is there."""

from __future__ import annotations

from genmorph.files import write_json, write_tsv
from genmorph.provenance.audit import Audit


def test_a_pair_passes_a_fast_audit_and_an_absent_one_does_not(tmp_path):
    raw, results = tmp_path / "raw", tmp_path / "results"
    raw.mkdir()
    write_json(results / "provenance/a.json", {"ended": "", "outputs": []})
    for suffix, size in ((".hdr", 348), (".img", 100)):
        (raw / f"a{suffix}").write_bytes(bytes(size))
    row = {"scan_id": "sub-1", "path": "a.img", "format": "analyze-ASL"}
    write_tsv(results / "cohorts/c/manifest.tsv", tuple(row), [row])
    audit = Audit(results, {"c": raw}, fast=True)
    entry = {"base": "cohort:c", "path": "a.img", "size": 448, "sha256": ""}
    assert audit._check_raw(entry).status == "pass"
    (raw / "a.img").unlink()
    assert audit._check_raw(entry).status == "fail"
