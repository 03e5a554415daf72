"""What the commands of a run share: its template, its stores."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from genmorph.cli.runs import template_id, write_run_store
from genmorph.cohorts.manifest import Scan, write_manifest
from genmorph.cohorts.reading import leave_out
from genmorph.store import Description, Store, write_store


def test_the_template_is_of_a_kept_scan_with_that_scans_diagnosis(tmp_path):
    sick = Scan("sub-1", "sub-1", None, "1.nii", 1, skull_stripped=True, diagnosis="AD", shard=0)
    well = replace(sick, scan_id="sub-2", participant_id="sub-2", diagnosis="CN")
    repeat = leave_out(replace(sick, diagnosis="CN", shard=None), "selected", "another is used")
    write_manifest(tmp_path / "manifest.tsv", [sick, well, repeat])
    people = tmp_path / "participants.tsv"
    people.write_text("participant_id\tsplit\nsub-1\ttrain\nsub-2\ttrain\n")
    volumes = [(f"sub-{n}", np.full((2, 2, 2), n / 2, np.float32)) for n in (1, 2)]
    description = Description(np.eye(4).tolist(), "", "", {})
    write_store(tmp_path, volumes, shape=(2, 2, 2), dtype="float32", description=description)
    values = {"population": None, "template_scan": None}
    template = template_id(Store(tmp_path), tmp_path / "manifest.tsv", people, values)
    assert template == "sub-2"


def test_what_a_run_makes_says_how_its_training_scans_were_prepared(tmp_path):
    source = {"engine": "builtin", "skull_stripped": True, "registered": False}
    description = Description(np.eye(4).tolist(), "", "", source)
    (tmp_path / "config.resolved.yaml").write_text("{}\n")
    write_run_store(
        "sample",
        out=tmp_path / "samples" / "index.tsv",
        volumes=[("sample-1", np.zeros((2, 2, 2), np.float32))],
        store=SimpleNamespace(description=description, shape=(2, 2, 2)),
        values={"model": "mean", "study": "m3ae", "reference": "mean"},
        run={"seed": 0},
        run_seed=1,
        inputs=[],
        checkpoint=None,
    )
    made = Store(tmp_path / "samples").description.source
    assert (made["skull_stripped"], made["registered"]) == (True, False)
    assert "engine" not in made
