"""BIDS datasets: derivatives, ages that are bounds, and what does not fit together."""

from __future__ import annotations

import json
import shutil

import pytest

from genmorph.cohorts.ingest import read_layout
from genmorph.cohorts.reading import Source
from genmorph.errors import CohortError, ConfigError, GenmorphError


def read(root, withdrawn=None, **options):
    return read_layout("bids", Source(root, None, withdrawn), options)


def left_out(reading):
    return {
        scan.path.rsplit("/", 1)[-1]: (scan.excluded_at, scan.exclude_reason)
        for scan in reading.scans
        if scan.exclude_reason
    }


@pytest.fixture
def with_derivative(make_bids):
    """Six people, two of them preprocessed: in scan space and in template space."""
    root = make_bids(twice=("02",))
    for person, session in (("01", ""), ("02", "ses-2")):
        source = root / f"sub-{person}" / session / "anat"
        target = root / "derivatives" / "fmriprep" / f"sub-{person}" / session / "anat"
        target.mkdir(parents=True)
        stem = "_".join(filter(None, (f"sub-{person}", session)))
        for name in (
            f"{stem}_desc-preproc_T1w",
            f"{stem}_space-MNI152NLin2009cAsym_desc-preproc_T1w",
            f"{stem}_desc-other_T1w",
        ):
            shutil.copy(source / f"{stem}_T1w.nii.gz", target / f"{name}.nii.gz")
            (target / f"{name}.json").write_text(json.dumps({"SkullStripped": person == "02"}))
    return root


def test_a_derivative_in_scan_space_with_the_tables_of_the_root(with_derivative):
    reading = read(with_derivative, derivative="fmriprep")
    one, two = reading.scans
    assert one.path == "derivatives/fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert (one.scan_id, one.age_years, one.skull_stripped) == ("sub-01", 60.0, False)
    assert (two.scan_id, two.age_years, two.skull_stripped) == ("sub-02_ses-2", 61.0, True)
    assert reading.rows_without_scan == ("sub-03", "sub-04", "sub-05", "sub-06")
    assert not left_out(reading)


def test_derivatives_are_not_read_unasked(with_derivative):
    assert not any("derivatives" in scan.path for scan in read(with_derivative).scans)


@pytest.mark.parametrize("name", ["../other", "/abs", "a/b", ""])
def test_a_derivative_is_one_folder_name(with_derivative, name):
    with pytest.raises(ConfigError, match="derivative"):
        read(with_derivative, derivative=name)


def test_an_absent_derivative_is_named(with_derivative):
    with pytest.raises(CohortError, match=r"derivatives/smriprep: no such folder"):
        read(with_derivative, derivative="smriprep")


def test_acquisitions_and_runs_are_chosen_by_name_and_no_part_of_the_id(make_bids):
    root = make_bids(people=("01", "02"))
    for person, names in (("01", ("acq-b", "acq-a_run-2", "acq-a_run-1")), ("02", ("run-1",))):
        anat = root / f"sub-{person}" / "anat"
        for name in names:
            shutil.copy(anat / f"sub-{person}_T1w.nii.gz", anat / f"sub-{person}_{name}_T1w.nii.gz")
    (root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").unlink()
    kept = [scan for scan in read(root).scans if scan.exclude_reason is None]
    assert [(scan.scan_id, scan.path.rsplit("/", 1)[-1]) for scan in kept] == [
        ("sub-01", "sub-01_acq-a_run-1_T1w.nii.gz"),
        ("sub-02", "sub-02_T1w.nii.gz"),
    ]


def test_an_age_that_is_a_bound_is_no_exact_age(make_bids, tmp_path):
    root = make_bids()
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("\t60\t", "\t89+\t").replace("\t61\t", "\tn/a\t"))
    reading = read(root)
    assert [(scan.age_years, scan.age_precision) for scan in reading.scans[:3]] == [
        (89.0, "bin"),
        (None, None),
        (62.0, "exact"),
    ]
    assert reading.notes == ("the ages of 1 scans are lower bounds (such as 89+)",)
    gone = tmp_path / "withdrawn.csv"
    gone.write_text("sub-01\n")
    assert read(root, withdrawn=gone).notes == ()


def test_people_without_row_rows_without_scan_and_the_withdrawn(make_bids, tmp_path):
    root = make_bids()
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("sub-02\t", "sub-77\t"))
    gone = tmp_path / "withdrawn.csv"
    gone.write_text("sub-03\n")
    reading = read(root, withdrawn=gone)
    assert left_out(reading) == {
        "sub-02_T1w.nii.gz": ("matched", "participants.tsv does not list the person"),
        "sub-03_T1w.nii.gz": ("kept", "withdrawn"),
    }
    assert reading.rows_without_scan == ("sub-77",)
    with pytest.raises(CohortError, match=r"absent.csv: the list of withdrawn people"):
        read(root, withdrawn=tmp_path / "absent.csv")


def test_a_dataset_without_participants_table_is_read(make_bids):
    root = make_bids()
    (root / "participants.tsv").unlink()
    reading = read(root)
    assert len(reading.scans) == 6 and not left_out(reading)
    assert {scan.age_years for scan in reading.scans} == {None}


def test_ids_without_their_prefix_and_unknown_columns(make_bids):
    root = make_bids(twice=("01",))
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("sub-", ""))
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tage\n2\t63.5\n")
    ages = {scan.scan_id: scan.age_years for scan in read(root).scans}
    assert (ages["sub-01_ses-1"], ages["sub-01_ses-2"], ages["sub-02"]) == (60.0, 63.5, 61.0)
    table.write_text(table.read_text().replace("participant_id", "id"))
    with pytest.raises(GenmorphError, match="column participant_id is missing; found: id, age"):
        read(root)


def test_a_sidecar_that_says_neither_true_nor_false(make_bids):
    root = make_bids()
    (root / "sub-01" / "anat" / "sub-01_T1w.json").write_text('{"SkullStripped": "false"}')
    with pytest.raises(CohortError, match="SkullStripped: 'false'"):
        read(root)


def test_a_download_cut_short_leaves_people_without_scan(make_bids):
    root = make_bids()
    shutil.rmtree(root / "sub-04" / "anat")
    shutil.rmtree(root / "sub-05")
    reading = read(root)
    assert reading.rows_without_scan == ("sub-04", "sub-05")
    assert len(reading.scans) == 4
