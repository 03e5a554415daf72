"""A withdrawal list may name a person as the source or as the study does."""

from __future__ import annotations

import pytest

from genmorph.files import write_tsv
from genmorph.provenance.audit.withdrawn import check_withdrawn


@pytest.mark.parametrize(
    ("line", "status"), [("002_S_0413", "fail"), ("sub-ADNI002S0413,2026", "fail"), ("x", "pass")]
)
def test_a_person_is_found_by_either_name(tmp_path, line, status):
    row = {"scan_id": "sub-ADNI002S0413_ses-M000", "participant_id": "sub-ADNI002S0413"}
    columns = ("scan_id", "participant_id", "source_id", "exclude_reason")
    write_tsv(tmp_path / "cohorts/a/manifest.tsv", columns, [row | {"source_id": "002_S_0413"}])
    (tmp_path / "list.csv").write_text(line + "\n")
    output = {"path": "cohorts/a/manifest.tsv"}
    record = {"command": "ingest", "parameters": {"cohort": "a"}, "outputs": [output]}
    (found,) = check_withdrawn(tmp_path, {"r": record}, {"a": tmp_path / "list.csv"})
    assert found.status == status
