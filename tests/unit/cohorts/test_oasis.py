"""OASIS-1 discs (Analyze pairs, repeats, visits) and OASIS-3 (days since entry)."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from genmorph.cohorts.ingest import read_layout
from genmorph.cohorts.reading import Source
from genmorph.errors import CohortError
from genmorph.preprocessing.raw import RawFile, parse_scan, read_raw

HEADER = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"


def write_pair(folder, stem, shape=(20, 18, 16)):
    folder.mkdir(parents=True, exist_ok=True)
    header = nib.AnalyzeHeader(endianness=">")
    header.set_data_shape((*shape, 1))
    header.set_data_dtype(np.int16)
    header.set_zooms((1, 1, 1.25, 1))
    (folder / f"{stem}.hdr").write_bytes(header.binaryblock)
    data = np.arange(np.prod(shape)).reshape(shape).astype(">i2")
    (folder / f"{stem}.img").write_bytes(data.tobytes(order="F"))


def write_visit(root, disc, visit, repeats=2):
    folder = root / disc / visit
    for repeat in range(1, repeats + 1):
        write_pair(folder / "RAW", f"{visit}_mpr-{repeat}_anon")
    processed = folder / "PROCESSED" / "MPRAGE"
    write_pair(processed / "SUBJ_111", f"{visit}_mpr_n4_anon_sbj_111")
    write_pair(processed / "T88_111", f"{visit}_mpr_n4_anon_111_t88_gfc")
    write_pair(processed / "T88_111", f"{visit}_mpr_n4_anon_111_t88_masked_gfc")
    (processed / "T88_111" / f"{visit}_mpr_n4_anon_111_t88_gfc_sag_95.gif").write_bytes(b"GIF")
    return folder


@pytest.fixture
def discs(tmp_path):
    """Three people, one of them twice, on two discs."""
    root = tmp_path / "oasis"
    write_visit(root, "disc1", "OAS1_0001_MR1")
    write_visit(root, "disc1", "OAS1_0002_MR1", repeats=1)
    write_visit(root, "disc2", "OAS1_0061_MR1")
    write_visit(root, "disc2", "OAS1_0061_MR2", repeats=1)
    (root / "oasis_cross-sectional.csv").write_text(
        f"{HEADER}\n"
        "OAS1_0001_MR1,F,R,74,2,3,29,0,1344,0.743,1.306,N/A\n"
        "OAS1_0002_MR1,M,R,81,4,1,20,0.5,1147,0.81,1.531,N/A\n"
        "OAS1_0061_MR1,F,R,20,,,,,1215,0.849,1.444,N/A\n"
        "OAS1_0061_MR2,F,R,20,,,,,1215,0.846,1.444,40\n"
        "OAS1_0099_MR1,F,R,20,,,,,1215,0.846,1.444,N/A\n"
    )
    return root


def read(root, withdrawn=None, tables=None, **options):
    return read_layout("oasis", Source(root, tables, withdrawn), options)


def kept(reading):
    return {scan.scan_id: scan for scan in reading.scans if scan.exclude_reason is None}


def left_out(reading):
    return {
        scan.path.rsplit("/", 1)[-1]: (scan.excluded_at, scan.exclude_reason)
        for scan in reading.scans
        if scan.exclude_reason
    }


def test_discs_with_their_table(discs):
    reading = read(discs)
    scans = kept(reading)
    assert list(scans) == [
        "sub-OAS10001_ses-MR1",
        "sub-OAS10002_ses-MR1",
        "sub-OAS10061_ses-MR1",
        "sub-OAS10061_ses-MR2",
    ]
    assert [(scan.age_years, scan.sex, scan.diagnosis) for scan in scans.values()] == [
        (74.0, "F", "CN"),
        (81.0, "M", "AD"),
        (20.0, "F", None),
        (20.0, "F", None),
    ]
    one = scans["sub-OAS10001_ses-MR1"]
    assert one.path == "disc1/OAS1_0001_MR1/RAW/OAS1_0001_MR1_mpr-1_anon.img"
    assert (one.format, one.brain_ml) == ("analyze-ASL", round(1344 * 0.743, 1))
    assert len({scan.participant_id for scan in scans.values()}) == 3
    repeat = ("selected", "an earlier image of the visit is used")
    assert left_out(reading) == {
        "OAS1_0001_MR1_mpr-2_anon.img": repeat,
        "OAS1_0061_MR1_mpr-2_anon.img": repeat,
    }
    assert reading.rows_without_scan == ("OAS1_0099",)
    assert any("left from right" in note for note in reading.notes)


def test_what_the_layout_lists_can_be_read(discs):
    """Analyze's axes of an image as acquired: anterior, superior, left."""
    (scan, *_) = read(discs).scans
    raw = read_raw(RawFile(discs, scan.path, scan.format))
    assert raw.size == scan.size
    image = parse_scan(raw.content, scan.scan_id)
    assert image.data.shape == (16, 20, 18)
    np.testing.assert_allclose(image.voxel_mm, [1.25, 1, 1])


@pytest.mark.parametrize(
    ("image", "ending", "format", "stripped"),
    [
        ("averaged", "mpr_n4_anon_sbj_111.img", "analyze-ASL", False),
        ("processed", "mpr_n4_anon_111_t88_gfc.img", "analyze-LAS", False),
        ("stripped", "mpr_n4_anon_111_t88_masked_gfc.img", "analyze-LAS", True),
    ],
)
def test_other_images_of_a_visit(discs, image, ending, format, stripped):
    reading = read(discs, image=image)
    assert not left_out(reading)
    for scan in reading.scans:
        assert scan.path.endswith(ending)
        assert (scan.format, scan.skull_stripped) == (format, stripped)


def test_text_files_stand_in_for_the_table(discs):
    (discs / "oasis_cross-sectional.csv").unlink()
    for visit, age in (("OAS1_0001_MR1", 74), ("OAS1_0061_MR2", 20)):
        disc = "disc1" if visit.startswith("OAS1_0001") else "disc2"
        (discs / disc / visit / f"{visit}.txt").write_text(
            f"SESSION ID:   {visit}\n\nAGE:          {age}\nM/F:          Female\n"
            "HAND:         Right\nCDR:          0\neTIV:         1344\nnWBV:         0.743\n"
            "SCAN NUMBER:  mpr-1\nTYPE:         MPRAGE\n"
        )
    reading = read(discs)
    scan = kept(reading)["sub-OAS10001_ses-MR1"]
    assert (scan.age_years, scan.sex, scan.diagnosis) == (74.0, "F", "CN")
    assert len(kept(reading)) == 2
    unknown = ("matched", "no table and no text file describes the visit")
    assert left_out(reading)["OAS1_0002_MR1_mpr-1_anon.img"] == unknown


def test_each_scan_that_is_not_used_says_why(discs, tmp_path):
    (discs / "disc1/OAS1_0001_MR1/RAW/OAS1_0001_MR1_mpr-1_anon.hdr").unlink()
    for path in (discs / "disc1/OAS1_0002_MR1/RAW").iterdir():
        path.unlink()
    gone = tmp_path / "withdrawn.csv"
    gone.write_text("OAS1_0061\n")
    reading = read(discs, withdrawn=gone)
    assert left_out(reading) == {
        "OAS1_0001_MR1_mpr-1_anon.img": ("selected", "its .hdr file is missing"),
        "OAS1_0002_MR1": ("selected", "no image of the kind 'raw'"),
        "OAS1_0061_MR1_mpr-1_anon.img": ("kept", "withdrawn"),
        "OAS1_0061_MR1_mpr-2_anon.img": ("kept", "withdrawn"),
        "OAS1_0061_MR2_mpr-1_anon.img": ("kept", "withdrawn"),
    }
    (one,) = kept(reading).values()
    assert one.path.endswith("OAS1_0001_MR1_mpr-2_anon.img")


def test_a_visit_on_two_discs_is_an_error(discs):
    write_visit(discs, "disc2", "OAS1_0001_MR1")
    with pytest.raises(CohortError, match="OAS1_0001_MR1 is there twice: disc1"):
        read(discs)


def test_neither_table_nor_texts(discs):
    table = discs / "oasis_cross-sectional.csv"
    table.write_text(table.read_text().replace("CDR", "Rating"))
    with pytest.raises(CohortError, match=r"(?s)columns ID, M/F, Age and CDR.*as CSV"):
        read(discs)


def test_a_wrong_root_says_what_was_looked_for(tmp_path):
    with pytest.raises(CohortError, match=r"patterns tried: .*RAW.*OAS3.*files seen: none"):
        read(tmp_path)


# OASIS-3


@pytest.fixture
def longitudinal(tmp_path):
    root = tmp_path / "oasis3"
    for name in (
        "sub-OAS30001/ses-d0129/anat/sub-OAS30001_ses-d0129_T1w.nii.gz",
        "sub-OAS30001/ses-d2430/anat/sub-OAS30001_ses-d2430_run-01_T1w.nii.gz",
        "sub-OAS30001/ses-d2430/anat/sub-OAS30001_ses-d2430_run-02_T1w.nii.gz",
        "sub-OAS30002/ses-d0653/anat/sub-OAS30002_ses-d0653_T1w.nii.gz",
        "sub-OAS30003/ses-d0001/anat/sub-OAS30003_ses-d0001_T1w.nii.gz",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"scan")
    (root / "OASIS3_demographics.csv").write_text(
        "OASISID,Subject_accession,AgeatEntry,GENDER\n"
        "OAS30001,c1,65.0,2\nOAS30002,c2,70.5,1\nOAS30009,c9,70.5,1\n"
    )
    (root / "OASIS3_UDSb4_cdr.csv").write_text(
        "OASISID,OASIS_session_label,days_to_visit,CDRTOT\n"
        "OAS30001,OAS30001_UDSb4_d0000,0,0\nOAS30001,OAS30001_UDSb4_d2400,2400,0.5\n"
        "OAS30002,OAS30002_UDSb4_d3000,3000,1\n"
    )
    return root


def test_days_since_entry_give_age_and_diagnosis(longitudinal):
    reading = read(longitudinal)
    assert {
        key: (scan.age_years, scan.sex, scan.diagnosis) for key, scan in kept(reading).items()
    } == {
        "sub-OAS30001_ses-d0129": (65.35, "F", "CN"),
        "sub-OAS30001_ses-d2430": (71.65, "F", "AD"),
        "sub-OAS30002_ses-d0653": (72.29, "M", None),  # no rating within a year
    }
    assert left_out(reading) == {
        "sub-OAS30001_ses-d2430_run-02_T1w.nii.gz": (
            "selected",
            "an earlier image of the session is used",
        ),
        "sub-OAS30003_ses-d0001_T1w.nii.gz": ("matched", "no table describes the person"),
    }
    assert reading.rows_without_scan == ("OAS30009",)


def test_older_clinical_tables_say_the_day_in_an_id(longitudinal):
    (longitudinal / "OASIS3_UDSb4_cdr.csv").unlink()
    (longitudinal / "OASIS3_demographics.csv").unlink()
    (longitudinal / "clinical.csv").write_text(
        "ADRC_ADRCCLINICALDATA ID,Subject,ageAtEntry,cdr\n"
        "OAS30001_ClinicalData_d0000,OAS30001,65.0,0\n"
        "OAS30001_ClinicalData_d2400,OAS30001,65.0,0.5\n"
    )
    scans = kept(read(longitudinal))
    assert [scan.diagnosis for scan in scans.values()] == ["CN", "AD"]


def test_without_ages_at_entry_the_cure_is_named(longitudinal):
    (longitudinal / "OASIS3_demographics.csv").unlink()
    with pytest.raises(CohortError, match=r"(?s)AgeatEntry.*OASIS3_demographics.csv"):
        read(longitudinal)


def test_two_studies_below_one_root_are_an_error(longitudinal):
    write_visit(longitudinal, "disc1", "OAS1_0001_MR1")
    with pytest.raises(CohortError, match="OASIS-1 and OASIS-3"):
        read(longitudinal)
