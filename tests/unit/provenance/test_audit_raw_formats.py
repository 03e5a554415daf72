"""A fast audit compares sizes of raw scans that are no plain files, too."""

from __future__ import annotations

import zipfile

import pytest

from genmorph.cli.audit import open_audit
from genmorph.files import write_json, write_tsv


def write_pair(raw, size):
    (raw / "a.hdr").write_bytes(bytes(348))
    (raw / "a.img").write_bytes(bytes(size))


def write_archive(raw, size):
    with zipfile.ZipFile(raw / "a.zip", "w") as packed:
        packed.writestr("T1.nii", bytes(size))


def write_slices(raw, size):
    (raw / "a").mkdir(exist_ok=True)
    (raw / "a/1.dcm").write_bytes(bytes(200))
    (raw / "a/2.dcm").write_bytes(bytes(size))


@pytest.mark.parametrize(
    ("write", "path", "format_", "size"),
    [
        (write_pair, "a.img", "analyze-ASL", 448),
        (write_archive, "a.zip!T1.nii", "nifti", 100),
        (write_slices, "a", "dicom", 300),
    ],
)
def test_a_fast_audit_finds_another_size(tmp_path, write, path, format_, size):
    raw, results = tmp_path / "raw", tmp_path / "results"
    raw.mkdir()
    write_json(results / "provenance/a.json", {"ended": "", "outputs": []})
    row = {"scan_id": "sub-1", "path": path, "format": format_}
    write_tsv(results / "cohorts/c/manifest.tsv", tuple(row), [row])
    audit = open_audit(results, fast=True)
    audit.cohort_roots = {"c": raw}
    entry = {"base": "cohort:c", "path": path, "size": size, "sha256": ""}
    write(raw, 100)
    assert audit._check_raw(entry).status == "pass"
    write(raw, 101)
    assert audit._check_raw(entry).message.endswith("another size")
    (raw / path.split("!")[0]).rename(raw / "elsewhere")
    assert audit._check_raw(entry).status == "fail"
