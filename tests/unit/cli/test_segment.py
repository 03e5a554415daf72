"""`genmorph segment`: what its record names."""

from __future__ import annotations

import numpy as np
from typer.testing import CliRunner

from genmorph.cli import build
from genmorph.files import atomic_folder, read_json, write_json
from genmorph.preprocessing import anatomy
from genmorph.store import Description, write_store

SHAPE = (4, 5, 6)


def test_the_record_names_the_stores_of_maps_too(tmp_path, monkeypatch):
    """Morphometry reads them: a changed or a stray map must be found by the audit."""

    def segment_store(store, ids, out, **_):
        with atomic_folder(out) as folder:
            for name in ("GM", "modulated_GM"):
                write_json(folder / name / "store.json", {"of": name})
            write_json(folder / "anatomy.json", {})
            (folder / "volumes.tsv").write_text("scan_id\n")
        return 0

    monkeypatch.setattr(anatomy, "segment_store", segment_store)
    description = Description(np.eye(4).tolist(), "real", "made up", {"cohort": "c"})
    write_store(
        tmp_path / "store",
        [("sub-01", np.zeros(SHAPE, np.float32))],
        shape=SHAPE,
        dtype="float32",
        description=description,
    )
    out = tmp_path / "tissues/volumes.tsv"
    done = CliRunner().invoke(
        build(), ["segment", "--index", f"{tmp_path}/store/index.tsv", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    (record,) = tmp_path.rglob("provenance/**/*.json")
    outputs = {entry["path"]: entry for entry in read_json(record)["outputs"]}
    assert {path.rpartition("/")[2] for path in outputs} == {
        *("GM", "modulated_GM"),
        *("anatomy.json", "volumes.tsv"),
    }
    (maps,) = (entry for path, entry in outputs.items() if path.endswith("modulated_GM"))
    assert list(maps["files"]) == ["store.json"]
