"""Measures of tissues from the command line: volumes, overlap, t-maps; what is missing is said."""

from __future__ import annotations

import json
from importlib import import_module

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from genmorph.cli import build
from genmorph.files import write_json, write_tsv
from genmorph.preprocessing.anatomy import VOLUMES_COLUMNS
from genmorph.store import Description, write_store
from genmorph.studies import rooms_with

SHAPE = (24, 28, 24)
AFFINE = np.array([[7.0, 0, 0, -84], [0, 7.0, 0, -119], [0, 0, 7.0, -77], [0, 0, 0, 1]])
SOURCE = {"cohort": "made", "layout": "bids", "simulated": True, "model": "m", "seed": 0}


def brain(rng, gray):
    """Maps of a ball: gray outside, white inside."""
    where = np.indices(SHAPE) - np.reshape(np.divide(SHAPE, 2), (3, 1, 1, 1))
    radius = np.sqrt(np.square(where).sum(0))
    white = (radius < 6).astype(np.float32)
    shell = ((radius < 10) & (radius >= 6)).astype(np.float32)
    level = gray + 0.02 * rng.standard_normal(SHAPE)
    return {"GM": np.clip(shell * level, 0, 0.9), "WM": white, "CSF": 0.1 * shell}


def make_tissues(folder, ids, gray, seed, failed=()):
    """A folder as `genmorph segment` writes it."""
    rng = np.random.default_rng(seed)
    maps = {scan_id: brain(rng, gray) for scan_id in ids}
    rows = [
        {"scan_id": scan_id, "status": "ok", "reason": ""}
        | {name: f"{array.sum() * 0.343:.4f}" for name, array in tissues.items()}
        for scan_id, tissues in maps.items()
    ]
    rows += [{"scan_id": scan_id, "status": "failed", "reason": "no brain"} for scan_id in failed]
    description = Description(AFFINE.tolist(), "made", "made up", SOURCE)
    for name in ("GM", "WM", "CSF", "modulated_GM"):
        source = "GM" if name == "modulated_GM" else name
        write_store(
            folder / name,
            [(scan_id, maps[scan_id][source].astype(np.float32)) for scan_id in ids],
            shape=SHAPE,
            dtype="float32",
            description=description,
        )
    content = {**vars(description), "shape": list(SHAPE)}
    segmentation = {"engine": "builtin", "software": "made", "deep_gray_atlas": None}
    write_json(folder / "anatomy.json", {"segmentation": segmentation, "store": content})
    write_tsv(folder / "volumes.tsv", VOLUMES_COLUMNS, rows)
    return folder / "volumes.tsv"


def run(*words):
    return CliRunner().invoke(build(), ["evaluate", *map(str, words)])


def compare(*words):
    return CliRunner().invoke(build(), ["compare", *map(str, words)])


@pytest.fixture
def tables(tmp_path):
    real = [f"sub-{n}" for n in range(6)]
    return (
        make_tissues(tmp_path / "made", [f"sample-{n}" for n in range(6)], 0.76, 1, ["sample-9"]),
        make_tissues(tmp_path / "real", real, 0.86, 2),
        tmp_path / "out.json",
    )


def keys_in_tables(measure):
    """Values of a measure that columns of any study's tables show."""
    keys = set()
    for room in rooms_with("tables"):
        for table in import_module(f"genmorph.studies.{room}.tables").TABLES.values():
            keys |= {column.key for column in table.columns if column.measure == measure}
    return keys


def test_volumes_are_compared_and_failures_are_said(tables):
    made, real, out = tables
    done = run("tissue_volumes", "--generated", made, "--reference", real, "--out", out)
    assert done.exit_code == 0, done.output
    content = json.loads(out.read_text())
    assert content["values"]["GM_difference_ml"] < 0
    assert keys_in_tables("tissue_volumes") <= set(content["values"])
    assert "DGM_generated_ml" not in content["values"]
    assert "GM_bold" not in content["values"]  # six people a side are too few
    assert any("sample-9" in note for note in content["notes"])
    assert content["data_label"] == "made up" and content["settings"]["data"] == "simulated"
    assert content["settings"]["comparisons"] == 4


def test_overlap_of_a_folder_with_itself_is_one(tables):
    _, real, out = tables
    done = run("segmentation_overlap", "--generated", real, "--reference", real, "--out", out)
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["values"]["dice_GM"] == 1.0


def test_a_t_map_has_its_place_its_mask_and_its_pictures(tables, tmp_path):
    made, real, out = tables
    t_map, figure = tmp_path / "t.nii.gz", tmp_path / "t.png"
    done = run(
        "vbm", "--generated", made, "--reference", real, "--out", out, "--t-map", t_map,
        "--figure", figure,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    image = nib.load(t_map)
    np.testing.assert_allclose(image.affine, AFFINE)
    assert image.header.get_intent()[0] == "t test"
    values = json.loads(out.read_text())["values"]
    assert values["least_t"] < -3 and values["voxels_over_negative"] > 100
    assert keys_in_tables("vbm") <= set(values)
    assert nib.load(tmp_path / "t_mask.nii.gz").get_fdata().any()
    assert figure.is_file() and (tmp_path / "t_glass.png").is_file()


def test_a_map_without_a_voxel_over_its_threshold_is_drawn_too(tables, tmp_path):
    _, real, out = tables
    other = make_tissues(tmp_path / "other", [f"sub-{n}" for n in range(6, 12)], 0.86, 3)
    done = run(
        "vbm", "--generated", other, "--reference", real, "--out", out, "--t-map",
        tmp_path / "t.nii.gz", "--figure", tmp_path / "t.png",
        "--parameters", '{"correction": "family-wise", "permutations": 100, "level": 0.02}',
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["values"]["voxels_over"] == 0
    assert (tmp_path / "t_glass.png").is_file()


def test_a_folder_that_is_none_names_the_cure(tmp_path, tables):
    made, real, out = tables
    (real.parent / "anatomy.json").unlink()
    done = run("tissue_volumes", "--generated", made, "--reference", real, "--out", out)
    assert "genmorph segment" in done.exception.cure
    assert not out.exists()


def test_volumes_alone_make_no_map(tmp_path, tables):
    made, real, out = tables
    for path in sorted((real.parent / "modulated_GM").rglob("index.tsv")):
        path.unlink()
    done = run(
        "vbm", "--generated", made, "--reference", real, "--out", out, "--t-map",
        tmp_path / "t.nii.gz", "--figure", tmp_path / "t.png",
    )  # fmt: skip
    assert "only volumes" in str(done.exception) and not out.exists()


def test_two_t_maps_are_compared(tables, tmp_path):
    made, real, out = tables
    maps = []
    for number, (one, other) in enumerate(((made, real), (real, made))):
        maps.append(tmp_path / f"t{number}.nii.gz")
        words = ("--generated", one, "--reference", other, "--out", out)
        run("vbm", *words, "--t-map", maps[-1], "--figure", tmp_path / "t.png")
    result = tmp_path / "agreement.json"
    done = compare("t-maps", *maps, "--out", result)
    assert done.exit_code == 0, done.output
    values = json.loads(result.read_text())["values"]
    assert values["correlation"] == pytest.approx(-1, abs=1e-6)
    assert values["dice_voxels"] == 0.0
    done = compare("t-maps", maps[0], real.parent / "anatomy.json", "--out", result)
    assert "cannot be read" in str(done.exception)


def test_overlaps_of_two_models_are_tested_or_too_few(tables, tmp_path):
    _made, real, out = tables
    run("segmentation_overlap", "--generated", real, "--reference", real, "--out", out)
    done = compare("overlaps", out, out, "--out", tmp_path / "test.json")
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "test.json").read_text())
    assert "dice_GM_p" not in content["values"] and content["notes"]
