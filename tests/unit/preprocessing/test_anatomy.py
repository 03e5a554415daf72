"""Tissues of a store: volumes, maps, modulated gray matter, failures; segmentations of others."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from genmorph.config import AtlasSource
from genmorph.errors import ScanError, StoreError
from genmorph.files import read_tsv
from genmorph.preprocessing.anatomy import (
    MODULATED,
    VOLUMES_COLUMNS,
    AnatomyOptions,
    brain_of,
    describe,
    read_atlas,
    segment_store,
)
from genmorph.preprocessing.engines import fsl, tissue
from genmorph.preprocessing.engines.tissue import NonlinearRegistration, TissueSegmentation
from genmorph.preprocessing.own_tissues import import_folder
from genmorph.store import Description, Store, write_store

COARSE = AnatomyOptions(
    segmentation=TissueSegmentation(registration=NonlinearRegistration(working_mm=5.0))
)


def phantom(scale=1.0):
    """The template's tissues at 5 mm as an intensity image, with their true maps."""
    maps = {
        name: tissue._from_ants(tissue._coarsened(image, 5.0))
        for name, image in tissue._priors().items()
    }
    affine = maps["GM"].affine.copy()
    affine[:3, :3] *= scale
    signal = 0.25 * maps["CSF"].data + 0.6 * maps["GM"].data + 0.9 * maps["WM"].data
    return signal.astype(np.float32), affine, {name: image.data for name, image in maps.items()}


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anatomy")
    signal, affine, truth = phantom()
    volumes = {"sub-1": signal, "sub-2": np.zeros_like(signal)}
    description = Description(affine.tolist(), "made", "a label", {"cohort": "made"})
    write_store(
        folder / "store", volumes.items(), shape=signal.shape, dtype="float32",
        description=description,
    )  # fmt: skip
    deep = np.zeros(signal.shape, np.float32)
    middle = tuple(size // 2 for size in signal.shape)
    deep[tuple(slice(m - 2, m + 2) for m in middle)] = 7
    nib.save(nib.Nifti1Image(deep, affine), folder / "atlas.nii.gz")
    atlas = read_atlas(
        folder / "atlas.nii.gz", AtlasSource(name="middle", licence="CC0", labels=(7,))
    )
    lines = []
    out = folder / "tissues"
    store = Store(folder / "store")
    failed = segment_store(
        store, store.ids, out, options=COARSE, atlas=atlas, workers=2, say=lines.append
    )
    return store, out, truth, failed, lines


def test_volumes_are_near_the_truth_and_add_up_to_the_brain(segmented):
    store, out, truth, failed, _ = segmented
    rows = {row["scan_id"]: row for row in read_tsv(out / "volumes.tsv", VOLUMES_COLUMNS)}
    found = {name: float(rows["sub-1"][name]) for name in ("CSF", "GM", "WM", "DGM")}
    voxel_ml = abs(np.linalg.det(store.affine[:3, :3])) / 1000
    brain_ml = brain_of(store.read("sub-1"), COARSE.mask_threshold).sum() * voxel_ml
    assert sum(found.values()) == pytest.approx(brain_ml, rel=1e-3)
    assert found["DGM"] > 0
    assert found["GM"] + found["DGM"] == pytest.approx(truth["GM"].sum() * voxel_ml, rel=0.2)
    assert failed == 1


def test_a_volume_that_fails_is_a_row_with_its_reason(segmented):
    _, out, _, _, lines = segmented
    rows = {row["scan_id"]: row for row in read_tsv(out / "volumes.tsv", VOLUMES_COLUMNS)}
    assert rows["sub-2"]["status"] == "failed" and "zero everywhere" in rows["sub-2"]["reason"]
    assert Store(out / "GM").ids == ["sub-1"]
    assert any("sub-2" in line and "zero" in line for line in lines)


def test_modulated_gray_matter_holds_the_gray_matter_of_the_scan(segmented):
    store, out, _, _, _ = segmented
    (row,) = [row for row in read_tsv(out / "volumes.tsv", VOLUMES_COLUMNS) if row["GM"]]
    maps = Store(out / MODULATED)
    voxel_ml = abs(np.linalg.det(maps.affine[:3, :3])) / 1000
    gray_ml = float(row["GM"]) + float(row["DGM"])
    assert maps.read("sub-1").sum() * voxel_ml == pytest.approx(gray_ml, rel=0.005)
    assert maps.description.source["anatomy"]["deep_gray_atlas"]["name"] == "middle"
    assert maps.description.source["registered"]  # on the template, wherever the scan lies
    assert maps.description.data_label == store.description.data_label


def test_the_description_names_the_software_that_segmented(monkeypatch):
    assert describe(COARSE, None)["software"].startswith("Atropos and SyN of antspyx")
    monkeypatch.setattr(fsl, "versions", lambda: {"FSL": "6.0"})
    other = describe(COARSE.model_copy(update={"engine": "fsl"}), None)
    assert other["software"].startswith("FSL 6.0; SyN of antspyx")
    assert "Atropos" not in other["software"]


def test_when_every_volume_fails_nothing_is_written(tmp_path):
    signal, affine, _ = phantom()
    write_store(
        tmp_path / "store",
        [("sub-1", np.zeros_like(signal))],
        shape=signal.shape,
        dtype="uint8",
        description=Description(affine.tolist(), "", "", {}),
    )
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match="every volume failed"):
        segment_store(store, store.ids, tmp_path / "out", options=COARSE, say=print)
    assert not (tmp_path / "out").exists()


def test_the_brain_is_the_largest_bright_part_without_faint_background():
    volume = np.full((20, 20, 20), 0.01, np.float32)
    volume[5:15, 5:15, 5:15] = 0.8
    volume[9:11, 9:11, 9:11] = 0.0
    volume[0, 0, 0] = 0.9
    assert brain_of(volume, 0.05).sum() == 1000


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [((0, 3), (4,), "none of the labels"), ((0, 3), None, "no probabilities")],
)
def test_an_atlas_that_is_none_is_refused(tmp_path, values, labels, message):
    data = np.resize(np.float32(values), (4, 4, 4))
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(ScanError, match=message):
        read_atlas(tmp_path / "a.nii.gz", AtlasSource(name="a", licence="b", labels=labels))


# -- segmentations of others -----------------------------------------------------------------------


@pytest.fixture
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    volumes = [(name, np.ones((5, 5, 5), np.float32)) for name in ("sub-1", "one", "two")]
    description = Description(np.eye(4).tolist(), "made", "", {"cohort": "made"})
    write_store(folder, volumes, shape=(5, 5, 5), dtype="uint8", description=description)
    return Store(folder)


def save(path, data):
    nib.save(nib.Nifti1Image(np.float32(data), np.diag([2.0, 2.0, 2.0, 1.0])), path)


def test_probability_maps_of_others_become_volumes(tmp_path, known):
    for name, share in (("GM", 0.5), ("WM", 0.25)):
        save(tmp_path / f"sub-1_label-{name}_probseg.nii.gz", np.full((5, 5, 5), share))
    read = import_folder(tmp_path, None, "GIF 3.0", known, tmp_path / "volumes.tsv")
    (row,) = read_tsv(tmp_path / "volumes.tsv", VOLUMES_COLUMNS)
    assert (float(row["GM"]), float(row["WM"])) == (0.5, 0.25)
    assert not row["CSF"] and len(read) == 2
    assert "GIF 3.0" in (tmp_path / "anatomy.json").read_text()


def test_label_maps_of_others_become_volumes_by_their_table(tmp_path, known):
    labels = np.zeros((5, 5, 5))
    labels[0], labels[1] = 10, 20
    save(tmp_path / "sub-1_dseg.nii.gz", labels)
    table = tmp_path / "labels.tsv"
    table.write_text("index\ttissue\n10\tGM\n20\tDGM\n0\tnone\n")
    import_folder(tmp_path, table, "FreeSurfer", known, tmp_path / "out" / "volumes.tsv")
    (row,) = read_tsv(tmp_path / "out" / "volumes.tsv", VOLUMES_COLUMNS)
    assert (float(row["GM"]), float(row["DGM"])) == (0.2, 0.2)
    with pytest.raises(ScanError, match="without a table"):
        import_folder(tmp_path, None, "FreeSurfer", known, tmp_path / "volumes.tsv")


def test_a_folder_with_a_missing_tissue_names_the_scan(tmp_path, known):
    save(tmp_path / "c1one.nii", np.ones((4, 4, 4)))
    save(tmp_path / "c2one.nii", np.ones((4, 4, 4)))
    save(tmp_path / "c1two.nii", np.ones((4, 4, 4)))
    with pytest.raises(ScanError, match="two has no map of WM"):
        import_folder(tmp_path, None, "SPM12", known, tmp_path / "volumes.tsv")


def test_a_segmentation_of_an_unknown_volume_is_refused(tmp_path, known):
    save(tmp_path / "c1stranger.nii", np.ones((4, 4, 4)))
    with pytest.raises(ScanError, match="stranger: no such volume"):
        import_folder(tmp_path, None, "SPM12", known, tmp_path / "volumes.tsv")
