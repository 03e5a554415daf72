"""A simulated tree in a layout, looked at, ingested and preprocessed by the commands.

Layouts `bids` and `hcp` go all the way in the studies m3ae and slice_vae at scale smoke.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from genmorph.cohorts.manifest import read_manifest
from genmorph.config import Config
from genmorph.files import read_tsv
from genmorph.plan import Plan

# a recipe of each room, on the layout of its paper's data
RECIPES = {
    "adni": "vqvae",
    "ukb": "autoregressive",
    "oasis": "m3ae",
}


def genmorph(*words):
    command = [sys.executable, "-m", "genmorph", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("layout", RECIPES)
def test_a_tree_goes_from_its_layout_to_volumes(layout, tmp_path):
    root, out = tmp_path / "raw", tmp_path / "out"
    size = ("--n", 9, "--seed", 4, "--resolution", 4)
    genmorph("simulate", "--layout", layout, *size, "--out", root)
    truth = read_tsv(root / "derivatives/truth/truth.tsv", ("path",))

    told = genmorph("cohorts", "check", "--layout", layout, "--root", root)
    assert "found" in told and "kept: " in told
    assert "simulated" in told

    room = RECIPES[layout]
    plan = Plan(
        Config().model_dump()
        | {
            "scale": "smoke",
            "results": str(tmp_path / "results"),
            "cohorts": {"mine": {"layout": layout, "root": str(root)}},
            "studies": {room: {"cohort": "mine"}},
            "preprocessing": {"shard_size": 2},
        }
    )
    genmorph("ingest", "--root", root, "--out", out, "--parameters", plan.json("ingest", "mine"))
    scans = read_manifest(out / "manifest.tsv")
    kept = [scan for scan in scans if scan.shard is not None]
    assert {scan.path for scan in scans} <= {row["path"] for row in truth}
    assert len(kept) >= 6
    description = json.loads((out / "cohort.json").read_text())
    assert description["simulated"] is True
    assert description["scans"]["passed"]["kept"] == len(kept)

    genmorph(
        "preprocess",
        *("--manifest", out / "manifest.tsv", "--root", root, "--shard", 0, "--cohort", "mine"),
        *("--array", tmp_path / "shard-0000.zarr", "--mosaics", tmp_path / "mosaics"),
        *("--out", tmp_path / "shard-0000.tsv", "--workers", 1),
        *("--parameters", plan.json("preprocess", room)),
    )
    rows = read_tsv(tmp_path / "shard-0000.tsv", ("scan_id", "status", "reason"))
    assert {row["status"] for row in rows} == {"ok"}, [row["reason"] for row in rows]
    assert {row["scan_id"] for row in rows} == {scan.scan_id for scan in kept if scan.shard == 0}
