"""ADNI downloads as they lie: both folder layouts, old and new tables, and what is wrong."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from genmorph.cohorts.adni_tables import month_of
from genmorph.cohorts.ingest import read_layout
from genmorph.cohorts.reading import Source
from genmorph.errors import CohortError, ConfigError

SCALED = "MPR__GradWarp__B1_Correction__N3__Scaled"
COLLECTION = (
    '"Image Data ID","Subject","Group","Sex","Age","Visit","Modality","Description","Type",'
    '"Acq Date","Format","Downloaded"'
)
ADNIMERGE = "RID,PTID,VISCODE,EXAMDATE,DX_bl,DX,AGE,PTGENDER"
MAYO = "RID,loni_image,series_type,series_quality,series_selected"


class Download:
    """A download of a few tiny images, built image by image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.root.mkdir()
        self.listed: list[str] = []

    def image(
        self,
        person="002_S_0413",
        image=120917,
        *,
        sequence=SCALED,
        day="2006-05-02",
        series=54591,
        visit="ADNI Screening",
        group="CN",
        age="76",
        listed="",
        by_series=False,
        dicom=False,
    ):
        """Write one image; `listed` is what stands before its id in the collection's list."""
        last = f"S{series}" if by_series else f"I{image}"
        folder = self.root / "ADNI" / person / sequence / f"{day}_12_31_52.0" / last
        folder.mkdir(parents=True)
        stem = f"ADNI_{person}_MR_{sequence}"
        if dicom:
            for number in (1, 2, 10):
                name = f"{stem}_br_raw_20061102123250714_{number}_S{series}_I{image}.dcm"
                (folder / name).write_bytes(bytes(number))
        else:
            scan = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4))
            scan.to_filename(folder / f"{stem}_Br_20081015122825655_S{series}_I{image}.nii")
        american = f"{int(day[5:7])}/{int(day[8:])}/{day[:4]}"
        if listed is not None:
            kind = "Original" if "N3" not in sequence else "Processed"
            words = (f"{listed}{image}", person, group, "F", age, visit, "MRI", sequence, kind)
            self.listed.append(",".join(f'"{word}"' for word in (*words, american, "NiFTI", "")))
        return folder

    def table(self, name, *lines):
        (self.root / name).write_text("\n".join(lines) + "\n")

    def read(self, withdrawn=None, tables=None, **options):
        if self.listed:
            self.table("collection_5_01_2024.csv", COLLECTION, *self.listed)
        return read_layout("adni", Source(self.root, tables, withdrawn), options)


@pytest.fixture
def download(tmp_path):
    return Download(tmp_path / "raw")


def kept(reading):
    return {scan.scan_id: scan for scan in reading.scans if scan.exclude_reason is None}


def reasons(reading):
    return {
        scan.path.rsplit("I", 1)[-1].split(".")[0]: (scan.excluded_at, scan.exclude_reason)
        for scan in reading.scans
        if scan.exclude_reason
    }


def test_a_scan_with_all_that_the_list_says(download):
    download.image(listed="I")
    (scan,) = download.read().scans
    assert (scan.scan_id, scan.participant_id, scan.session, scan.source_id) == (
        "sub-ADNI002S0413_ses-M000",
        "sub-ADNI002S0413",
        "ses-M000",
        "002_S_0413",
    )
    assert (scan.age_years, scan.age_precision, scan.sex, scan.diagnosis, scan.site) == (
        76.0,
        "exact",
        "F",
        "CN",
        "002",
    )
    assert (scan.acquisition_date, scan.format) == ("2006-05-02", "nifti")
    assert (download.root / scan.path).stat().st_size == scan.size
    assert scan.public_name == scan.path  # the study's id is the source's in other letters


@pytest.mark.parametrize("prefix", ["", "I"])
@pytest.mark.parametrize("by_series", [False, True])
def test_ids_with_and_without_the_letter_in_both_layouts(download, prefix, by_series):
    download.image(listed=prefix, by_series=by_series)
    assert list(kept(download.read())) == ["sub-ADNI002S0413_ses-M000"]


def test_one_image_of_a_visit_scaled_before_n3m_before_original(download):
    download.image(image=3, sequence="MPRAGE", series=1)
    download.image(image=2, sequence="MT1__N3m", series=2)
    download.image(image=1, series=3)
    reading = download.read()
    assert kept(reading)["sub-ADNI002S0413_ses-M000"].path.endswith("_I1.nii")
    reason = ("selected", "another image of the visit is preferred: Scaled")
    assert reasons(reading) == {"2": reason, "3": reason}
    original = download.read(prefer="original")
    assert kept(original)["sub-ADNI002S0413_ses-M000"].path.endswith("_I3.nii")
    everything = kept(download.read(keep_visit_repeats=True))
    assert sorted(everything) == [
        "sub-ADNI002S0413_ses-M000",
        "sub-ADNI002S0413_ses-M000_run-02",
        "sub-ADNI002S0413_ses-M000_run-03",
    ]


def test_quality_control_chooses_among_originals(download):
    for image in (5, 6, 7, 8):
        download.image(image=image, sequence=f"MPRAGE{image}", series=image)
    download.table(
        "MAYOADIRL_MRI_IMAGEQC_12_08_15_17Oct2024.csv",
        MAYO,
        "413,I5,T1,3,0",
        "413,I6,T1,4,0",
        "413,I7,T1,2,1",
    )
    download.table("MRIQUALITY.csv", "RID,LONIUID,PASS", "413,S8,0")
    reading = download.read()
    assert kept(reading)["sub-ADNI002S0413_ses-M000"].path.endswith("_I7.nii")
    failed = ("selected", "failed ADNI's quality control")
    assert reasons(reading) == {
        "5": ("selected", "another image of the visit is preferred: original"),
        "6": failed,
        "8": failed,
    }


def test_a_dicom_series_is_one_scan(download):
    folder = download.image(image=9, sequence="MPRAGE", dicom=True)
    (scan,) = download.read().scans
    assert (scan.format, scan.size) == ("dicom", 1 + 2 + 10)
    assert download.root / scan.path == folder


def test_slices_of_two_images_in_one_folder_are_left_out(download):
    folder = download.image(image=9, sequence="MPRAGE", dicom=True)
    slices = sorted(folder.iterdir())
    slices[0].rename(folder / slices[0].name.replace("_I9", "_I11"))
    download.image(image=12, day="2007-05-02", visit="ADNI1/GO Month 12")
    assert [reason for _, reason in reasons(download.read()).values()] == [
        "slices of several images in one folder"
    ]


def test_follow_ups_are_visits_with_the_diagnosis_of_the_day(download):
    download.image(image=1, group="LMCI", age="")
    download.image(image=2, day="2007-05-09", visit="v05", group="LMCI", age="")
    download.image(image=3, day="2010-05-09", visit="v06", group="LMCI", age="")
    download.table(
        "ADNIMERGE_17Oct2024.csv",
        ADNIMERGE,
        "413,002_S_0413,bl,2006-05-01,LMCI,MCI,76.0,Female",
        "413,002_S_0413,m12,2007-05-02,LMCI,Dementia,76.0,Female",
    )
    scans = kept(download.read())
    assert list(scans) == [
        "sub-ADNI002S0413_ses-20100509",  # no visit within half a year
        "sub-ADNI002S0413_ses-M000",
        "sub-ADNI002S0413_ses-M012",
    ]
    first, second = scans["sub-ADNI002S0413_ses-M000"], scans["sub-ADNI002S0413_ses-M012"]
    assert (first.diagnosis, first.age_years) == ("LMCI", 76.0)
    assert (second.diagnosis, second.age_years) == ("AD", 77.02)
    assert scans["sub-ADNI002S0413_ses-20100509"].diagnosis == "LMCI"


def test_tables_since_october_2024(download):
    download.image(image=31, listed=None, sequence="Accelerated_Sagittal_MPRAGE", day="2019-01-02")
    download.table(
        "ADNI3_All_Images_17Oct2024.csv",
        "subject_id,image_date,VISCODE2,image_type,image_description,image_id,study_id",
        "002_S_0413,2019-01-02,m150,Original,Accelerated Sagittal MPRAGE,31,7",
        "003_S_0001,2019-01-02,bl,Original,Accelerated Sagittal MPRAGE,32,7",
    )
    reading = download.read()
    assert list(kept(reading)) == ["sub-ADNI002S0413_ses-M150"]
    assert reading.rows_without_scan == ("003_S_0001",)


SIDECAR = """<?xml version="1.0" encoding="UTF-8"?>{doctype}
<idaxs xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><project>
<subject><subjectIdentifier>002_S_0413</subjectIdentifier><researchGroup>{group}</researchGroup>
<subjectSex>M</subjectSex><visit><visitIdentifier>ADNI1/GO Month 6</visitIdentifier></visit>
<study><subjectAge>70.5</subjectAge><series><dateAcquired>2006-11-02 12:00:00.0</dateAcquired>
<imagingProtocol><imageUID>120917</imageUID><protocolTerm>
<protocol term="Field Strength">1.5</protocol><protocol term="Mfg Model">Signa</protocol>
</protocolTerm></imagingProtocol></series></study></subject></project></idaxs>"""


def test_a_sidecar_alone_describes_its_image(download):
    download.image(listed=None, day="2006-11-02")
    name = f"ADNI_002_S_0413_{SCALED}_S54591_I120917.xml"
    (download.root / name).write_text(SIDECAR.format(doctype="", group="SMC"))
    (scan,) = download.read().scans
    assert (scan.session, scan.age_years, scan.sex, scan.diagnosis) == (
        "ses-M006",
        70.5,
        "M",
        "SMC",
    )
    assert (scan.field_strength_tesla, scan.scanner) == (1.5, "Signa")


@pytest.mark.parametrize(
    "text",
    [
        SIDECAR.format(doctype='<!DOCTYPE idaxs [<!ENTITY a "CN">]>', group="&a;"),
        SIDECAR.format(doctype='<!DOCTYPE idaxs SYSTEM "file:///etc/hostname">', group="CN"),
        SIDECAR.format(doctype="", group="CN")[:200],
    ],
    ids=["entity", "document type", "cut short"],
)
def test_unsafe_or_damaged_sidecars_are_refused(download, text):
    download.image()
    (download.root / "ADNI_002_S_0413_x_S1_I120917.xml").write_text(text)
    with pytest.raises(CohortError, match=r"_I120917.xml: not a safe XML sidecar"):
        download.read()


def test_people_and_images_that_must_not_be_used(download, tmp_path):
    download.image(image=1)
    download.image("381_S_10012", image=2)
    download.image("003_S_0907", image=3)
    gone = tmp_path / "withdrawn.csv"
    gone.write_text("003_S_0907\n")
    assert reasons(download.read(withdrawn=gone)) == {
        "2": ("kept", "ADNI's data advisory: quality of site 381"),
        "3": ("kept", "withdrawn"),
    }


def test_each_image_that_is_not_used_says_why(download):
    download.image(image=1)
    download.image(image=1, day="2006-05-03", listed=None)
    download.image("003_S_0907", image=2, listed=None)
    download.image(image=3, sequence="FLAIR")
    download.image(image=4, sequence="HHP_MPRAGE_Mask")
    download.image("004_S_0001", image=5, sequence="MPRAGE")
    download.listed[-1] = download.listed[-1].replace("004_S_0001", "004_S_0002")
    reading = download.read()
    stages = {(key, *reason) for key, reason in reasons(reading).items()}
    assert stages == {
        ("1", "selected", "the same image lies elsewhere, too"),
        ("2", "matched", "no table and no sidecar describes it"),
        ("3", "selected", "not a T1 sequence"),
        ("4", "selected", "a mask, or warped to a template"),
        ("5", "matched", "the tables give the image to another person"),
    }
    assert len(kept(reading)) == 1


def test_a_download_cut_short_is_noted(download):
    folder = download.image(image=1)
    download.image(image=2, day="2007-05-02", visit="ADNI1/GO Month 12")
    for file in folder.iterdir():
        file.unlink()
    notes = download.read().notes
    assert any(note.startswith("1 images that the tables list") for note in notes)


def test_tables_in_a_folder_of_their_own(download, tmp_path):
    download.image(listed=None)
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "MPRAGEMETA.csv").write_text(
        "SubjectID,Visit,ScanDate,Sequence,Orig/Proc,MagStrength,StudyID,SeriesID,ImageUID\n"
        "002_S_0413,ADNI1/GO Month 6,2006-11-02,MPR; ; N3; Scaled,Processed,1.5,1,54591,120917\n"
    )
    (scan,) = download.read(tables=tables).scans
    assert (scan.session, scan.field_strength_tesla) == ("ses-M006", 1.5)
    with pytest.raises(CohortError, match="absent: no such folder"):
        download.read(tables=tmp_path / "absent")


def test_without_any_table_the_cure_is_named(download):
    download.image(listed=None)
    with pytest.raises(CohortError, match=r"(?s)no table or XML sidecar.*ADNIMERGE.csv"):
        download.read()


def test_other_spellings_of_the_collection_and_unknown_ones(download):
    download.image(listed=None)
    header = "Image ID,Subject ID,Research Group,Sex,Age,Visit,Study Date"
    row = "120917,002_S_0413,AD,M,80,m12,5/02/2006"
    download.table("idaSearch.csv", header, row)
    (scan,) = download.read().scans
    assert (scan.session, scan.diagnosis, scan.sex, scan.age_years) == ("ses-M012", "AD", "M", 80.0)
    download.table("idaSearch.csv", header.replace("Image ID", "Picture"), row)
    with pytest.raises(CohortError, match=r"tables seen: idaSearch.csv \(picture, subject id, "):
        download.read()


def test_a_wrong_root_says_what_was_looked_for(download, tmp_path):
    (download.root / "notes.txt").write_text("nothing here")
    with pytest.raises(CohortError, match=r"patterns tried: .*files seen: notes.txt"):
        download.read()
    with pytest.raises(CohortError, match="absent: no such folder"):
        read_layout("adni", Source(tmp_path / "absent"))


def test_an_age_that_is_no_number_names_its_table(download):
    download.image(age="old")
    with pytest.raises(CohortError, match=r"collection_5_01_2024.csv: 'old' is not a number"):
        download.read()


def test_unknown_options_name_the_known_ones(download):
    download.image()
    with pytest.raises(ConfigError, match="did you mean 'prefer'"):
        download.read(prefers="original")


def test_the_order_does_not_depend_on_the_disk(download):
    for image in (9, 1, 5):
        download.image(f"00{image}_S_000{image}", image=image)
    ids = [scan.scan_id for scan in download.read().scans]
    assert ids == sorted(ids) and len(ids) == 3


@pytest.mark.parametrize(
    ("text", "month"),
    [
        ("sc", "M000"),
        ("ADNI2 Screening MRI-New Pt", "M000"),
        ("m06", "M006"),
        ("m120", "M120"),
        ("ADNI2 Month 3 MRI-New Pt", "M003"),
        ("ADNI2 Year 1 Visit", None),
        ("ADNI3 Initial Visit-Cont Pt", None),
        ("v11", None),
        (None, None),
    ],
)
def test_months_of_visits(text, month):
    assert month_of(text) == month
