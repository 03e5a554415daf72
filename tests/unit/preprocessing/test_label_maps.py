"""Label maps from files come to the grid of a store, or are refused."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from genmorph.errors import ConfigError, GenmorphError, ScanError
from genmorph.files import write_tsv
from genmorph.metrics.label_groups import group_labels
from genmorph.preprocessing.label_maps import LabelMaps, LabelSource, majority_labels
from genmorph.preprocessing.transforms import print_matrix, read_transforms
from genmorph.store import Description, Store, write_store

SHAPE = (12, 14, 10)
AFFINE = np.array([[2.0, 0, 0, -11], [0, 2.0, 0, -13], [0, 0, 2.0, -9], [0, 0, 0, 1]])
GROUPING = "freesurfer_aseg"


@pytest.fixture
def store(tmp_path) -> Store:
    volume = np.zeros(SHAPE, np.float32)
    volume[3:9, 3:11, 2:8] = 0.7
    description = Description(AFFINE.tolist(), "volumes", "", {"cohort": "tiny"})
    write_store(
        tmp_path / "store",
        [("sub-1_ses-1", volume), ("sub-2_ses-1", volume)],
        shape=SHAPE,
        dtype="float32",
        description=description,
    )
    return Store(tmp_path / "store")


def truth() -> np.ndarray:
    labels = np.zeros(SHAPE, np.int16)
    labels[3:9, 3:11, 2:8] = 2
    labels[4:6, 4:7, 3:6] = 1035
    return labels


def save(folder, name, labels, affine) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(labels, affine).to_filename(folder / name)


def maps_in(folder, store, **how) -> LabelMaps:
    return LabelMaps(LabelSource(folder, **({"grouping": GROUPING} | how)), store)


def rotation(degrees: float) -> np.ndarray:
    """About the z axis, with a shift: from the grid's world to a scan's."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0, 31.5], [s, c, 0, -12.25], [0, 0, 1, 7.125], [0, 0, 0, 1]])


# -- preprocessed volumes --------------------------------------------------------------------------


def test_maps_in_other_orientations_and_grids_come_to_the_stores(tmp_path, store):
    flipped = AFFINE @ np.array(
        [[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    save(tmp_path / "labels" / "sub-1", "sub-1_ses-1_dseg.nii.gz", truth()[::-1].copy(), flipped)
    fine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] -= 0.5
    doubled = truth().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    save(tmp_path / "labels", "sub-2_ses-1_dseg.nii", doubled, fine)
    save(tmp_path / "labels", "sub-9_ses-1_dseg.nii.gz", truth(), AFFINE)
    maps = maps_in(tmp_path / "labels", store)
    assert sorted(maps) == ["sub-1_ses-1", "sub-2_ses-1"] and len(maps) == 2
    for scan_id in maps:
        np.testing.assert_array_equal(maps[scan_id], group_labels(truth(), GROUPING))


def test_labels_of_a_scan_that_lies_elsewhere_are_refused(tmp_path, store):
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] += 10.0
    save(tmp_path / "labels", "sub-1_ses-1_dseg.nii.gz", truth(), elsewhere)
    with pytest.raises(ScanError, match="lie on the brain of sub-1_ses-1"):
        maps_in(tmp_path / "labels", store)["sub-1_ses-1"]


def test_no_map_and_two_maps_are_named(tmp_path, store):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match=r"no \*\*/\{scan_id\}_dseg\.nii\.gz of a scan"):
        maps_in(tmp_path / "empty", store)
    save(tmp_path / "labels" / "a", "sub-1_ses-1_dseg.nii.gz", truth(), AFFINE)
    save(tmp_path / "labels" / "b", "sub-1_ses-1_dseg.nii.gz", truth(), AFFINE)
    with pytest.raises(ScanError, match="two label maps of sub-1_ses-1"):
        maps_in(tmp_path / "labels", store)


def test_a_number_the_source_does_not_have_is_named_with_its_file(tmp_path, store):
    save(tmp_path / "labels", "sub-1_ses-1_dseg.nii.gz", truth(), AFFINE)
    maps = maps_in(tmp_path / "labels", store, grouping="simulated")
    with pytest.raises(ScanError, match=r"sub-1_ses-1_dseg\.nii\.gz: labels: 1035 are no numbers"):
        maps["sub-1_ses-1"]


# -- names -----------------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path):
    """A manifest, and a table that calls the scans otherwise."""
    manifest = [
        {
            "scan_id": f"sub-{n}_ses-1",
            "path": f"raw/{n}.nii.gz",
            "source_id": f"10{n}",
            "exclude_reason": None,
        }
        for n in (1, 2)
    ]
    # a repeated scan that is not used has the id of the one that is
    manifest.append(
        manifest[1] | {"path": "raw/2b.nii.gz", "source_id": "2b", "exclude_reason": "repeat"}
    )
    write_tsv(tmp_path / "manifest.tsv", list(manifest[0]), manifest)
    names = [
        {"path": "raw/2.nii.gz", "own": "second", "visit": None},
        {"path": "raw/2b.nii.gz", "own": "repeat", "visit": None},
    ]
    write_tsv(tmp_path / "names.tsv", list(names[0]), names)
    return {"manifest": tmp_path / "manifest.tsv"}, {"names": tmp_path / "names.tsv"}


def test_files_are_named_by_columns_of_the_manifest(tmp_path, store, tables):
    save(tmp_path / "hcp" / "101" / "T1w", "aparc+aseg.nii.gz", truth(), AFFINE)
    save(tmp_path / "hcp" / "102" / "T1w", "aparc+aseg.nii.gz", truth(), AFFINE)
    pattern = {"file": "{source_id}/T1w/aparc+aseg.nii.gz"}
    maps = maps_in(tmp_path / "hcp", store, **pattern, **tables[0])
    assert {key: path.parts[-3] for key, path in maps.files.items()} == {
        "sub-1_ses-1": "101", "sub-2_ses-1": "102",
    }  # fmt: skip
    starred = maps_in(tmp_path / "hcp", store, file="{source_id}/*/aparc*.nii.gz", **tables[0])
    assert starred.files == maps.files
    with pytest.raises(ConfigError, match=r"has the word \{source_id\}.*allowed: scan_id"):
        maps_in(tmp_path / "hcp", store, **pattern)


def test_files_are_named_by_a_table_of_their_own(tmp_path, store, tables):
    save(tmp_path / "own", "second_dseg.nii.gz", truth(), AFFINE)
    save(tmp_path / "own", "repeat_dseg.nii.gz", truth(), AFFINE)
    for file in ("**/{own}_dseg.nii.gz", "{own}{visit}_dseg.nii.gz"):  # the visit is n/a
        maps = maps_in(tmp_path / "own", store, file=file, **tables[0], **tables[1])
        assert {key: path.name for key, path in maps.files.items()} == {
            "sub-2_ses-1": "second_dseg.nii.gz"
        }
    with pytest.raises(ConfigError, match="give --manifest too"):
        maps_in(tmp_path / "own", store, file="{own}.nii.gz", **tables[1])


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("{scan_id_dseg.nii.gz", "expected '}'"),
        ("labels.nii.gz", "the same for every scan"),
        ("/labels/{scan_id}.nii.gz", "does not begin below the folder"),
        ("{scan}_dseg.nii.gz", "did you mean 'scan_id'"),
    ],
)
def test_patterns_that_say_nothing_are_refused(tmp_path, store, file, named):
    with pytest.raises(ConfigError, match=named):
        maps_in(tmp_path, store, file=file)


# -- raw scans -------------------------------------------------------------------------------------


def status(tmp_path, matrix) -> dict:
    rows = [{"scan_id": "sub-1_ses-1", "status": "ok", "grid_to_scan": print_matrix(matrix)}]
    write_tsv(tmp_path / "status.tsv", list(rows[0]), rows)
    return {"space": "scan", "status": tmp_path / "status.tsv"}


def test_maps_of_the_raw_scan_come_by_the_printed_matrix(tmp_path, store):
    to_scan = rotation(20.0)
    save(tmp_path / "labels", "sub-1_ses-1_dseg.nii.gz", truth(), to_scan @ AFFINE)
    how = status(tmp_path, to_scan)
    maps = maps_in(tmp_path / "labels", store, **how)
    np.testing.assert_array_equal(maps["sub-1_ses-1"], group_labels(truth(), GROUPING))
    # in the other space they lie elsewhere, and the error says which space to try
    with pytest.raises(ScanError, match="lie on the brain") as caught:
        maps_in(tmp_path / "labels", store)["sub-1_ses-1"]
    assert "space: scan" in caught.value.cure


def test_an_unknown_way_to_the_scan_is_an_error(tmp_path, store):
    save(tmp_path / "labels", "sub-1_ses-1_dseg.nii.gz", truth(), AFFINE)
    with pytest.raises(GenmorphError, match="grid_to_scan of sub-1_ses-1 is not known"):
        maps_in(tmp_path / "labels", store, **status(tmp_path, None))
    with pytest.raises(ConfigError, match="no table that knows the way"):
        maps_in(tmp_path / "labels", store, space="scan")
    with pytest.raises(ConfigError, match="space 'raw' is unknown"):
        maps_in(tmp_path / "labels", store, space="raw")


def test_matrices_are_printed_and_read_exactly(tmp_path):
    matrix = rotation(17.3) * 1.1
    matrix[3] = [0, 0, 0, 1]
    assert np.array_equal(
        read_transforms(status(tmp_path, matrix)["status"])["sub-1_ses-1"], matrix
    )
    table = tmp_path / "status.tsv"
    for cell in ("1 2 3", "a b c", " ".join(["nan"] * 12)):
        write_tsv(table, ["scan_id", "grid_to_scan"], [{"scan_id": "s", "grid_to_scan": cell}])
        with pytest.raises(GenmorphError, match="grid_to_scan of s is not twelve numbers"):
            read_transforms(table)


# -- coarse grids ----------------------------------------------------------------------------------


def test_a_coarse_voxel_takes_what_most_of_it_is():
    fine = np.zeros((8, 8, 8), np.uint8)
    fine[:, :, 3:] = 1
    fine[1, 1, 1] = 2  # a single voxel that a nearest neighbour could take for four
    coarse = np.diag([4.0, 4.0, 4.0, 1.0])
    coarse[:3, 3] = 1.5
    found = majority_labels(fine, coarse, (2, 2, 2), 3)
    np.testing.assert_array_equal(found, np.stack([np.zeros((2, 2)), np.ones((2, 2))], -1))


def test_the_majority_is_that_of_counting(tmp_path):
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 5, (12, 9, 6)).astype(np.uint8)
    coarse = np.diag([3.0, 3.0, 3.0, 1.0])
    coarse[:3, 3] = 1.0
    found = majority_labels(fine, coarse, (4, 3, 2), 5)
    for x, y, z in np.ndindex(4, 3, 2):
        block = fine[3 * x : 3 * x + 3, 3 * y : 3 * y + 3, 3 * z : 3 * z + 3]
        assert found[x, y, z] == np.bincount(block.ravel(), minlength=5).argmax()
    same = majority_labels(fine, np.eye(4), fine.shape, 5)
    np.testing.assert_array_equal(same, fine)
    beyond = majority_labels(fine + 1, np.eye(4), (14, 9, 6), 7)
    assert (beyond[12:] == 0).all() and (beyond[:12] > 0).all()
