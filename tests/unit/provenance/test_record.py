"""Records: what a command says of itself, beside others that are writing theirs."""

from __future__ import annotations

import pytest

from genmorph.errors import AuditError
from genmorph.files import atomic_path, read_json
from genmorph.provenance.record import record_files, record_path, recording


def write(root, name, reads=()):
    """Run a command's body that writes one file."""
    out = root / name
    with recording("checks", out=out, parameters={}, inputs=[root / other for other in reads]):
        out.write_text(name)
    return read_json(record_path(root, name))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "config.resolved.yaml").write_text("{}")
    return tmp_path


def test_a_record_that_is_being_written_is_none_yet(root):
    """On a cluster many jobs write at once; and a killed one leaves half a record for good."""
    write(root, "first.csv")
    with pytest.raises(KeyboardInterrupt), atomic_path(record_path(root, "other.csv")) as half:
        half.write_text('{"outputs": [')
        record = write(root, "second.csv", reads=["first.csv"])
        assert list(record["parents"]) == ["first.csv.json"]
        assert list(record_files(root)) == ["first.csv.json", "second.csv.json"]
        raise KeyboardInterrupt


def test_a_root_without_whole_records_is_said(root):
    with pytest.raises(AuditError, match="no records"):
        record_files(root)
    (root / "provenance").mkdir()
    (root / "provenance" / ".tmp-1-x.csv.json").write_text("{")
    with pytest.raises(AuditError, match="no records"):
        record_files(root)
