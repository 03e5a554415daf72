"""HCP young adults: folders and archives, with and without the restricted table."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from genmorph.cohorts.hcp import bin_middle
from genmorph.cohorts.ingest import read_layout
from genmorph.cohorts.reading import Source
from genmorph.errors import CohortError

UNRESTRICTED = "Subject,Release,Gender,Age,QC_Issue"
RESTRICTED = "Subject,Age_in_Yrs,Family_ID"


def raw_name(person, repeat=1):
    return f"{person}/unprocessed/3T/T1w_MPR{repeat}/{person}_3T_T1w_MPR{repeat}.nii.gz"


def write(root, name, content=b"scan"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pack(root, person, names, kind="unproc"):
    path = root / f"{person}_3T_Structural_{kind}.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            packed.writestr(name, b"packed")
    return path


def table(root, name, header, *rows):
    (root / name).write_text("\n".join((header, *rows)) + "\n")


@pytest.fixture
def root(tmp_path):
    """Two people in folders (one with a repeat), one in an archive, one only in the table."""
    root = tmp_path / "hcp"
    write(root, raw_name(100307))
    write(root, raw_name(100307, 2))
    write(root, raw_name(100408, 2))
    pack(root, 101107, [raw_name(101107), "101107/unprocessed/3T/101107_3T.csv"])
    # a list of one person's scans, with a header of its own
    table(root, "100307/unprocessed/3T/100307_3T.csv", "Subject,Age,Age", "100307,1,2")
    table(
        root,
        "unrestricted_me_1_2_2024.csv",
        UNRESTRICTED,
        "100307,Q1,F,26-30,",
        "100408,Q1,M,36+,A",
        "101107,Q1,M,22-25,",
        "101309,Q1,M,22-25,",
    )
    return root


def read(root, withdrawn=None, tables=None, **options):
    return read_layout("hcp", Source(root, tables, withdrawn), options)


def left_out(reading):
    return {
        scan.path: (scan.excluded_at, scan.exclude_reason)
        for scan in reading.scans
        if scan.exclude_reason
    }


def kept(reading):
    return {scan.source_id: scan for scan in reading.scans if scan.exclude_reason is None}


def test_folders_and_archives_without_the_restricted_table(root, tmp_path):
    reading = read(root)
    scans = kept(reading)
    assert list(scans) == ["100307", "100408", "101107"]
    assert scans["100307"].participant_id == scans["100307"].scan_id == "sub-HCP100307"
    assert scans["100408"].path == raw_name(100408, 2)
    assert [(scan.age_years, scan.age_precision) for scan in scans.values()] == [
        (28.0, "bin"),
        (36.0, "bin"),
        (23.5, "bin"),
    ]
    packed = scans["101107"]
    assert packed.path == f"101107_3T_Structural_unproc.zip!{raw_name(101107)}"
    with zipfile.ZipFile(root / "101107_3T_Structural_unproc.zip") as archive:
        member = archive.getinfo(raw_name(101107))
    assert (packed.size, packed.crc32) == (member.file_size, f"{member.CRC:08x}")
    assert left_out(reading) == {
        raw_name(100307, 2): ("selected", "the MPR1 of the person is used"),
    }
    assert reading.rows_without_scan == ("101309",)
    notes = " ".join(reading.notes)
    assert "twins" in notes and "ages of 3 people" in notes and "1 people have an issue" in notes
    assert "the middle, of an open bin (such as 36+) the lower bound" in notes
    gone = tmp_path / "withdrawn.csv"
    gone.write_text("100307\n")
    assert "ages of 2 people" in " ".join(read(root, withdrawn=gone).notes)


def test_the_restricted_table_gives_years_and_families(root, tmp_path):
    table(
        root,
        "RESTRICTED_me_1_2_2024.csv",
        RESTRICTED,
        "100307,27,52259_82122",
        "100408,36,52259_82122",
        "101107,22,51488_81352",
    )
    reading = read(root)
    scans = kept(reading)
    assert [(scan.age_years, scan.age_precision) for scan in scans.values()] == [
        (27.0, "exact"),
        (36.0, "exact"),
        (22.0, "exact"),
    ]
    assert scans["100307"].family_id == scans["100408"].family_id != scans["101107"].family_id
    assert not any("twins" in note or "bins" in note for note in reading.notes)
    assert len(reading.files) == 2


@pytest.mark.parametrize(
    ("image", "name", "stripped"),
    [
        ("restored", "T1w/T1w_acpc_dc_restore.nii.gz", False),
        ("restored_brain", "T1w/T1w_acpc_dc_restore_brain.nii.gz", True),
    ],
)
def test_restored_images(root, image, name, stripped):
    write(root, f"100307/{name}")
    write(root, "100408/MNINonLinear/T1w_restore.nii.gz")
    pack(root, 101107, [f"101107/{name}", "101107/MNINonLinear/T1w_restore.nii.gz"], "preproc")
    scans = kept(read(root, image=image))
    assert list(scans) == ["100307", "101107"]
    assert {scan.skull_stripped for scan in scans.values()} == {stripped}
    assert scans["101107"].path == f"101107_3T_Structural_preproc.zip!101107/{name}"


def test_each_scan_that_is_not_used_says_why(root, tmp_path):
    pack(root, 100307, [raw_name(100307)])
    pack(root, 111111, ["111111/unprocessed/3T/T2w_SPC1/111111_3T_T2w_SPC1.nii.gz"])
    cut = pack(root, 122222, [raw_name(122222)])
    cut.write_bytes(cut.read_bytes()[:-30])
    write(root, raw_name(133333))
    gone = tmp_path / "withdrawn.csv"
    gone.write_text("101107\n")
    assert left_out(read(root, withdrawn=gone, leave_out_qc_issues=True)) == {
        raw_name(100307, 2): ("selected", "the MPR1 of the person is used"),
        f"100307_3T_Structural_unproc.zip!{raw_name(100307)}": (
            "selected",
            "the unpacked image of the person is used",
        ),
        raw_name(100408, 2): ("kept", "the table names an issue of quality (QC_Issue)"),
        f"101107_3T_Structural_unproc.zip!{raw_name(101107)}": ("kept", "withdrawn"),
        "111111_3T_Structural_unproc.zip": ("selected", "no such image in the archive"),
        "122222_3T_Structural_unproc.zip": (
            "selected",
            "the archive cannot be read: damaged, or its download was cut short",
        ),
        raw_name(133333): ("matched", "no table describes the person"),
    }


def test_tables_that_differ_are_both_named(root):
    table(root, "older.csv", UNRESTRICTED, "100307,S900,M,26-30,")
    with pytest.raises(CohortError, match=r"older.csv and .*unrestricted.*100307: gender"):
        read(root)


def test_a_missing_table_or_an_unknown_column_names_the_cure(root):
    csv = root / "unrestricted_me_1_2_2024.csv"
    csv.write_text(csv.read_text().replace("Subject", "Person"))
    with pytest.raises(CohortError, match=r"Gender and Age; tables seen: .*2024.csv \(person, rel"):
        read(root)


def test_a_wrong_root_says_what_was_looked_for(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.nii").write_bytes(b"")
    with pytest.raises(CohortError, match=r"patterns tried: .*unprocessed.*files seen: a.nii"):
        read(tmp_path / "other")


@pytest.mark.parametrize(
    ("text", "middle"), [("22-25", 23.5), ("26-30", 28.0), ("36+", 36.0), (None, None)]
)
def test_the_middle_of_an_age_bin(text, middle):
    assert bin_middle(text, Path("a.csv")) == middle


def test_an_age_that_is_no_bin_names_its_table():
    with pytest.raises(CohortError, match=r"a\.csv: age 'young'"):
        bin_middle("young", Path("a.csv"))
