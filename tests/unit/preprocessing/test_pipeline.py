"""A shard on made heads: bad scans are rows, bytes do not depend on workers, results are right."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from genmorph.cohorts.simulate import simulate_cohort
from genmorph.errors import CohortError, GenmorphError
from genmorph.files import folder_hashes, read_tsv
from genmorph.preprocessing import pipeline
from genmorph.preprocessing.engines import Engines, builtin
from genmorph.preprocessing.grid import resample
from genmorph.preprocessing.pipeline import ScanRow, one_engine, preprocess_shard
from genmorph.preprocessing.raw import Image, RawFile, read_scan
from genmorph.preprocessing.scan import preprocess_scan
from genmorph.preprocessing.steps import BiasCorrection, Registration, Resample
from genmorph.store import Store, write_index
from genmorph.studies import load_spec

GRID = (20, 24, 20)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Four simulated heads at 4 mm, with their true brain masks."""
    root = tmp_path_factory.mktemp("heads") / "raw"
    simulate_cohort(root, n=4, seed=3, resolution_mm=4.0)
    return root


@pytest.fixture(scope="module")
def recipe():
    coarse = {"shrink_factors": (2, 1), "smoothing_mm": (4.0, 2.0), "sampling_fraction": 0.3}
    return load_spec("m3ae").recipe.altered(
        {
            "resample": {"grid": GRID},
            "bias_correction": {"working_mm": 8.0},
            "brain_extraction": {"network_voxels": 192},
            "registration": coarse,
        }
    )


def raw_file(path: Path) -> RawFile:
    return RawFile(path.parent, path.name)


def file_of(scan: ScanRow) -> Path:
    return scan.raw.root / scan.raw.path


def scans_of(root: Path) -> list[ScanRow]:
    paths = sorted(root.glob("sub-*/**/anat/*_T1w.nii.gz"))
    return [ScanRow(path.name.removesuffix("_T1w.nii.gz"), raw_file(path), False) for path in paths]


def run(scans, out, recipe, workers=2):
    lines = []
    report = preprocess_shard(
        scans,
        out / "shard-0000.zarr",
        out / "shard-0000.tsv",
        out / "mosaics",
        recipe,
        workers=workers,
        say=lines.append,
    )
    assert len(lines) == len(scans)
    return report, read_tsv(out / "shard-0000.tsv")


@pytest.fixture(scope="module")
def shard(heads, recipe, tmp_path_factory):
    """One shard with two good heads and five scans that cannot be used."""
    out = tmp_path_factory.mktemp("shard")
    bad = out / "bad"
    bad.mkdir()
    good = scans_of(heads)[:2]
    content = file_of(good[0]).read_bytes()
    (bad / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    image = nib.load(file_of(good[0]))
    data = image.get_fdata(dtype=np.float32)
    holes = data.copy()
    holes[3, 4, 5] = np.nan
    made = {"nan": holes, "zero": np.zeros_like(data), "four": np.stack([data, data], -1)}
    for name, values in made.items():
        nib.Nifti1Image(values, image.affine).to_filename(bad / f"{name}.nii.gz")
    names = ("cut", "nan", "zero", "four", "absent")
    scans = [
        good[0],
        *(ScanRow(name, RawFile(bad, f"{name}.nii.gz"), False) for name in names),
        good[1],
    ]
    report, rows = run(scans, out, recipe)
    return out, scans, report, rows


def test_bad_scans_are_rows_with_their_reason_and_the_rest_goes_on(shard):
    _, scans, report, rows = shard
    assert (report.n_ok, report.n_failed) == (2, 5)
    assert [row["scan_id"] for row in rows] == [scan.scan_id for scan in scans]
    reasons = {row["scan_id"]: row["reason"] for row in rows if row["status"] == "failed"}
    for name, words in {
        "cut": "truncated",
        "nan": "NaN",
        "zero": "every voxel is 0",
        "four": "not one 3D image",
        "absent": "missing",
    }.items():
        assert words in reasons[name]
    assert [row["row"] for row in rows if row["status"] == "ok"] == ["0", "1"]
    assert {row["engine"] for row in rows} == {Engines().describe(["bias_correction"])}


def test_volumes_are_brains_on_the_grid(shard, recipe):
    out, _, _, rows = shard
    from genmorph.store import Description

    entries = [{**row, "shard": 0} for row in rows if row["status"] == "ok"]
    write_index(out, entries, Description(recipe.grid_affine(), "tiny", "", {}))
    store = Store(out)
    assert store.shape == GRID
    for row in entries:
        volume = store.read(row["scan_id"])
        assert volume.min() == 0.0 and volume.max() == 1.0
        brain_ml = (volume > 0).sum() * 8.0**3 / 1000
        assert 1400 < brain_ml < 2300  # as large as the template's, whatever the person's
        assert float(row["template_correlation"]) > 0.5


def test_the_status_table_leads_back_to_the_raw_scan(shard, heads, recipe):
    """Labels that lie on the raw scans, carried by the printed matrices, lie on the brains."""
    out, scans, _, rows = shard
    from genmorph.cohorts.reading import TRUE_LABELS, TRUTH
    from genmorph.preprocessing.label_maps import LabelMaps, LabelSource
    from genmorph.preprocessing.transforms import read_transforms
    from genmorph.store import Description

    table = out / "shard-0000.tsv"
    known = read_transforms(table)
    good = [row["scan_id"] for row in rows if row["status"] == "ok"]
    assert sorted(known) == sorted(good), "failed scans have no way back"
    exact = preprocess_scan(file_of(scans[0]), recipe, skull_stripped=False)
    # this process has more threads than a worker, which changes the last digits
    np.testing.assert_allclose(known[scans[0].scan_id], exact.affine, atol=1e-4)

    entries = [{**row, "shard": 0} for row in rows if row["status"] == "ok"]
    write_index(out, entries, Description(recipe.grid_affine(), "tiny", "", {}))
    store = Store(out)
    source = LabelSource(heads / TRUTH, "simulated", file=TRUE_LABELS, space="scan", status=table)
    maps = LabelMaps(source, store)
    assert sorted(maps) == sorted(good)
    for scan_id in good:
        labels, volume = maps[scan_id], store.read(scan_id)
        both = ((labels > 0) & (volume > 0)).sum()
        assert 2 * both / ((labels > 0).sum() + (volume > 0).sum()) > 0.85
        assert volume[labels == 2].mean() > volume[labels == 1].mean() > 0
    table.write_text(table.read_text().replace("grid_to_scan", "another"))
    with pytest.raises(GenmorphError, match="column grid_to_scan is missing"):
        LabelMaps(source, store)
    table.write_text(table.read_text().replace("another", "grid_to_scan"))


def test_each_good_scan_has_a_mosaic(shard):
    out, scans, _, _ = shard
    names = sorted(path.stem for path in (out / "mosaics").iterdir())
    assert names == sorted([scans[0].scan_id, scans[-1].scan_id])


def test_raw_scans_are_hashed_as_they_are_read(shard):
    from genmorph.files import sha256_file

    _, scans, report, _ = shard
    assert "absent" not in report.raw
    for scan in scans:
        if scan.scan_id in report.raw:
            assert report.raw[scan.scan_id][0] == sha256_file(file_of(scan))


def test_the_same_bytes_with_one_worker(shard, recipe, tmp_path):
    out, scans, _, _ = shard
    run(scans, tmp_path, recipe, workers=1)
    for name in ("shard-0000.zarr", "mosaics"):
        assert folder_hashes(out / name) == folder_hashes(tmp_path / name)
    table = "shard-0000.tsv"
    assert (out / table).read_text() == (tmp_path / table).read_text()


def test_brain_masks_are_near_the_true_ones(heads):
    scan = scans_of(heads)[0]
    image = read_scan(file_of(scan))
    options = load_spec("m3ae").recipe.step("brain_extraction")
    mask = builtin.extract_brain(image, options)
    found = next((heads / "derivatives/truth").rglob(f"{scan.scan_id}*_desc-brain_mask.nii.gz"))
    truth = nib.as_closest_canonical(nib.load(found)).get_fdata() > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95


def test_a_worker_that_dies_loses_its_scan_and_no_other(tmp_path, recipe, monkeypatch):
    # the pool's own machinery, with work that kills its process for one scan
    monkeypatch.setattr(pipeline, "_work", _deadly)
    scans = []
    for number in range(4):
        path = tmp_path / f"{number}.nii.gz"
        path.write_bytes(bytes([number]))
        scans.append(ScanRow(f"sub-{number}", raw_file(path), False))
    report, rows = run(scans, tmp_path, recipe)
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "ok"]
    assert "worker process died (SIGKILL" in rows[1]["reason"]
    assert [row["row"] for row in rows] == ["0", None, "1", "2"]
    assert report.raw["sub-1"] == (rows[1]["raw_sha256"], 1)


def _deadly(scan: ScanRow, recipe, engines) -> pipeline._Outcome:
    if scan.scan_id == "sub-1":
        os.kill(os.getpid(), signal.SIGKILL)
    return pipeline._Outcome(volume=np.full(recipe.grid, 0.5, np.float32))


def stripped_brain(folder: Path, change=lambda data: data, turn=None) -> Path:
    """The template as a skull-stripped scan of 4 mm, changed or turned in space."""
    template = builtin.template()
    affine = (np.eye(4) if turn is None else turn) @ template.affine @ np.diag([4, 4, 4, 1.0])
    data = change(1000 * template.data[::4, ::4, ::4])
    path = folder / "stripped_T1w.nii.gz"
    nib.Nifti1Image(data.astype(np.float32), affine).to_filename(path)
    return path


@pytest.fixture
def quick(recipe):
    return recipe.altered({"registration": {"resolution_mm": 4.0}})


def test_a_stripped_scan_needs_no_brain_extraction(tmp_path, quick):
    done = preprocess_scan(stripped_brain(tmp_path), quick, skull_stripped=True)
    assert done.quality["template_overlap"] > 0.97
    assert done.quality["template_correlation"] > 0.7
    assert abs(done.quality["affine_scale"] - 1) < 0.05
    np.testing.assert_allclose(done.affine, np.eye(4), atol=2.0)


@pytest.mark.parametrize(
    ("change", "words", "known"),
    [
        (
            lambda data: data * (np.indices(data.shape)[2] < 20),
            "scales|Dice|much of the brain",
            set(),
        ),
        (lambda data: np.where(data > 0, noise(data.shape), 0), "correlate", {"affine_scale"}),
        (lambda data: data + 1, "skull really removed", {"brain_ml"}),
        (lambda data: data * (np.indices(data.shape)[0] < 12), "would have", {"brain_ml"}),
    ],
)
def test_an_implausible_result_is_refused_and_can_be_looked_at(
    tmp_path, quick, change, words, known
):
    scan = ScanRow("odd", raw_file(stripped_brain(tmp_path, change)), True)
    report, rows = run([scan], tmp_path, quick, workers=1)
    assert report.n_failed == 1
    assert re.search(words, rows[0]["reason"]), rows[0]["reason"]
    assert all(rows[0][column] is not None for column in known)
    assert (tmp_path / "mosaics" / "odd.png").stat().st_size > 1000


def noise(shape):
    return np.random.default_rng(0).random(shape) * 1000


def row(engine, shard):
    return {"engine": engine, "shard": shard}


def test_two_engines_in_one_cohort_are_refused_unless_allowed():
    same, other = "builtin (SimpleITK 2.5.7)", "builtin (SimpleITK 2.6.0)"
    rows = [row(same, 0), row(other, 2), row(same, 1)]
    with pytest.raises(CohortError, match=r"made shards 0, 1; .*2.6.0.* made shards 2"):
        one_engine(rows, allow_mixed=False)
    assert one_engine(rows, allow_mixed=True) == [same, other]
    assert one_engine(rows[::2], allow_mixed=False) == [same]


def test_a_known_bias_field_is_taken_out():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 48, 44)), indexing="ij"))
    inside = (grid**2).sum(axis=0) < 0.8
    tissue = np.where((grid[0] * 7).astype(int) % 2, 0.9, 0.6) * inside
    field = np.exp(0.3 * grid[1] + 0.2 * grid[2] * grid[0])
    data = tissue * field * (1 + 0.01 * rng.standard_normal(field.shape))
    image = Image(np.maximum(data, 0).astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    corrected = builtin.correct_bias(image, inside, BiasCorrection(working_mm=8.0))
    inside &= corrected.data > 0
    left = np.log(corrected.data[inside] / tissue[inside])
    assert left.std() < 0.4 * np.log(field)[inside].std()


def test_a_known_affine_is_found():
    template = builtin.template()
    step = template.data[::3, ::3, ::3]
    scale = np.diag([3.0, 3.0, 3.0, 1.0])
    turn = np.eye(4)
    angle = np.deg2rad(8)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, :3] *= 1.08
    turn[:3, 3] = (6, -4, 5)
    moved = Image(np.ascontiguousarray(step), turn @ template.affine @ scale)
    options = Registration(resolution_mm=3.0, shrink_factors=(2, 1), smoothing_mm=(4, 2))
    found = builtin.register_affine(moved, options)
    points = np.array([[-50, -70, 0, 1], [50, 40, 30, 1], [0, -20, -40, 1], [20, 0, 60, 1]]).T
    assert np.linalg.norm(((found - turn) @ points)[:3], axis=0).max() < 3.0


def test_resampling_keeps_background_out_of_the_brain():
    mask = np.zeros((30, 30, 30), bool)
    mask[8:22, 8:22, 8:22] = True
    image = Image(np.where(mask, 5.0, 0.0).astype(np.float32), np.diag([1.0, 1.0, 1.0, 1.0]))
    options = Resample(grid=(8, 8, 8), field_of_view_mm=(32, 32, 32), centre_mm=(14.5, 14.5, 14.5))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = 14.5 - 14
    volume, inside = resample(image, mask, np.eye(4), options, affine)
    np.testing.assert_allclose(volume[inside], 5.0, rtol=1e-5)
    assert (volume[~inside] == 0).all()
    assert abs(inside.sum() * 64 - mask.sum()) < 0.35 * mask.sum()


def test_real_heads_and_stripped_scans(shared_data, tmp_path):
    recipe = load_spec("m3ae").recipe.altered(
        {
            "resample": {"grid": (40, 48, 40)},
            "bias_correction": {"working_mm": 8.0},
            "brain_extraction": {"network_voxels": 192},
            "registration": {"shrink_factors": (4, 2), "smoothing_mm": (4, 2)},
        }
    )
    stripped = sorted((shared_data / "oasis-miccai2012").glob("sub-*/ses-1/anat/*_T1w.nii.gz"))[0]
    head = tmp_path / "head.nii.gz"
    shutil.copy(shared_data / "heads" / "T1_head_ext2.nii.gz", head)
    scans = [ScanRow("head", raw_file(head), False), ScanRow("stripped", raw_file(stripped), True)]
    report, rows = run(scans, tmp_path, recipe)
    assert report.n_ok == 2, rows
    for row in rows:
        assert 1000 < float(row["brain_ml"]) < 2000
        assert float(row["template_correlation"]) > 0.4
