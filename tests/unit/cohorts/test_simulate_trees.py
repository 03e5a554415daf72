"""Raw trees of every layout: the source's names, tables that agree with the truth, orientations."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from importlib import import_module

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.datasets import load_mni152_brain_mask

from genmorph.cohorts.ingest import LAYOUTS as READERS
from genmorph.cohorts.ingest import read_layout
from genmorph.cohorts.reading import TRUTH, Source, describe_simulation
from genmorph.cohorts.simulate import DATA_LABEL, simulate_cohort
from genmorph.cohorts.simulate.cohort import _template
from genmorph.cohorts.simulate.person import plan_visits
from genmorph.cohorts.simulate.scan import simulate_scan
from genmorph.cohorts.simulate.scanner import Scanner
from genmorph.cohorts.simulate.trees import TREES
from genmorph.cohorts.simulate.trees.common import scan_time
from genmorph.files import folder_hashes
from genmorph.preprocessing.raw import RawFile, parse_scan, read_raw

MM, SEED, N = 12.0, 4, 9
LAYOUTS = sorted(TREES)
# where the axes of what is stored point to
ORIENTATIONS = {"bids": "RAS", "adni": "PSR", "hcp": "LAS", "ukb": "LAS", "oasis": "ASL"}
# second runs of a session; an unusable scan and a withdrawn person
LEFT_OUT = {"bids": 0, "adni": 1, "hcp": 2, "ukb": 2, "oasis": 1}
# names of the raw files, by section and pattern of each source's documentation
NAMES = {
    "bids": (
        r"(sub-\d{4})/(?:(ses-\d)/)?anat/\1(?:_\2)?_T1w\.(nii\.gz|json)",
        r"sub-\d{4}/sub-\d{4}_sessions\.(tsv|json)|"
        r"participants\.(tsv|json)|dataset_description\.json|README",
    ),
    "adni": (
        r"ADNI/(\d{3}_S_\d{4})/(MPR__GradWarp__B1_Correction__N3__Scaled)/"
        r"\d{4}-\d\d-\d\d_\d\d_\d\d_00\.0/(I\d{6})/ADNI_\1_MR_\2_Br_\d{17}_S\d{5}_\3\.nii",
        r"ADNI/(\d{3}_S_\d{4})/MPRAGE/\d{4}-\d\d-\d\d_\d\d_\d\d_00\.0/(I\d{6})/"
        r"ADNI_\1_MR_MPRAGE_Br_Raw_\d{17}_\d+_S\d{5}_\2\.dcm",
        r"ADNI/ADNI_\d{3}_S_\d{4}_(MPRAGE|MPR__GradWarp__B1_Correction__N3__Scaled)_S\d{5}_I\d{6}\.xml",
        r"simulated_1_01_2026\.csv|ADNIMERGE\.csv",
    ),
    "hcp": (
        r"(\d{6})/unprocessed/3T/(T1w_MPR[12])/\1_3T_\2\.nii\.gz",
        r"(unrestricted|RESTRICTED)_simulated_[0-9_]+\.csv",
    ),
    "ukb": (r"\d{7}_20252_[23]_0\.zip", r"ukb_tables\.csv|w00001_20260101\.csv"),
    "oasis": (
        r"disc1/(OAS1_\d{4}_MR[12])/RAW/\1_mpr-[12]_anon\.(hdr|img)",
        r"disc1/(OAS1_\d{4}_MR[12])/\1\.txt",
        r"oasis_cross-sectional\.csv",
    ),
}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Function that makes a layout's cohort once, by two processes, and returns its root."""
    folder = tmp_path_factory.mktemp("trees")

    def make(layout):
        root = folder / layout
        if not root.exists():
            simulate_cohort(root, layout=layout, n=N, seed=SEED, resolution_mm=MM, workers=2)
        return root

    return make


def truth_of(root):
    return pd.read_csv(
        root / TRUTH / "truth.tsv", sep="\t", keep_default_na=False, dtype={"source_id": str}
    )


def mask_of(root, row, label="desc-brain_mask"):
    session = row.session_id if row.session_id != "n/a" else ""
    folder = root / TRUTH / row.participant_id / session / "anat"
    return nib.load(folder / f"{row.scan_id}_{label}.nii.gz")


def raw_image(root, path):
    """The raw scan as an image; Analyze gets the affine that its own header cannot hold."""
    archive, _, member = path.partition("!")
    if member:
        with zipfile.ZipFile(root / archive) as unpacked:
            (name,) = (name for name in unpacked.namelist() if name.endswith(".nii.gz"))
            return nib.Nifti1Image.from_bytes(_unzipped(unpacked.read(name)))
    image = nib.load(root / path)
    if not path.endswith(".img"):
        return image
    data = np.asarray(image.dataobj)[..., 0]
    turn = nib.orientations.axcodes2ornt("ASL")
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for column, (row, sign) in enumerate(turn.astype(int)):
        affine[row, column] = sign * image.header.get_zooms()[column]
    affine[:3, 3] = -affine[:3, :3] @ (np.asarray(data.shape) - 1) / 2.0
    return nib.Nifti1Image(data, affine)


def _unzipped(content):
    import gzip

    return gzip.decompress(content)


# -- every layout ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_process_writes_the_bytes_of_two(tmp_path, layout):
    few = {"layout": layout, "n": 3, "seed": SEED, "resolution_mm": MM}
    simulate_cohort(tmp_path / "one", **few)
    simulate_cohort(tmp_path / "two", **few, workers=2)
    assert folder_hashes(tmp_path / "one") == folder_hashes(tmp_path / "two")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_raw_files_have_the_names_of_the_source(cohorts, layout):
    root = cohorts(layout)
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    raw = [name for name in files if not name.startswith(TRUTH.as_posix())]
    strange = [name for name in raw if not any(re.fullmatch(p, name) for p in NAMES[layout])]
    assert strange == []
    for pattern in NAMES[layout]:
        assert any(re.fullmatch(pattern, name) for name in raw), pattern


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_truth_names_each_raw_scan_once(cohorts, layout):
    root, truth = cohorts(layout), truth_of(cohorts(layout))
    assert len(truth) == N and truth.path.is_unique and truth.scan_id.is_unique
    for row in truth.itertuples():
        archive, _, member = row.path.partition("!")
        assert (root / archive).exists()
        if member:
            names = zipfile.ZipFile(root / archive).namelist()
            assert member in names or "T1/unusable/T1.nii.gz" in names
        assert row.source_id in row.path
    assert (truth.minimum_jacobian > 0.05).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_tree_says_that_it_is_simulated(cohorts, layout):
    described = describe_simulation(cohorts(layout))
    assert described == {"simulated": True, "data_label": DATA_LABEL}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_raw_scan_and_truth_lie_on_the_same_voxels(cohorts, layout):
    root = cohorts(layout)
    for row in truth_of(root).itertuples():
        if layout == "adni" and "MPRAGE/" in row.path:
            continue  # see the test of DICOM
        scan, mask = raw_image(root, row.path), mask_of(root, row)
        assert scan.shape == mask.shape
        assert nib.aff2axcodes(mask.affine) == tuple(ORIENTATIONS[layout])
        assert np.allclose(scan.affine, mask.affine, atol=1e-4)
        image, brain = np.asarray(scan.dataobj), np.asarray(mask.dataobj) > 0
        # white matter is brighter than the rest of the head on average, and never cut away
        assert image[brain].mean() > 2.0 * image[~brain].mean()
        assert image[brain].min() > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mark_of_the_anatomy_stands_where_the_deformation_says(cohorts, layout):
    """The true brain, moved by the true deformation, is the template's, however arrays run."""
    root = cohorts(layout)
    row = next(truth_of(root).itertuples())
    brain = mask_of(root, row)
    world = nib.affines.apply_affine(brain.affine, np.argwhere(np.asarray(brain.dataobj) > 0))
    warp = mask_of(root, row, "from-T1w_to-MNI152_mode-image_xfm")
    assert warp.shape[3:] == (1, 3) and warp.header.get_intent()[0] == "vector"
    assert np.allclose(warp.affine[:3, :3], np.diag([4.0, 4.0, 4.0]))
    vectors = np.asarray(warp.dataobj)[:, :, :, 0]
    nodes = np.rint(nib.affines.apply_affine(np.linalg.inv(warp.affine), world)).astype(int)
    nodes = np.clip(nodes, 0, np.asarray(vectors.shape[:3]) - 1)
    there = world + vectors[tuple(nodes.T)]
    mask = load_mni152_brain_mask(resolution=2)
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(mask.affine), there)).astype(int)
    inside = np.asarray(mask.dataobj)[tuple(index.T)] > 0
    # a voxel of 12 mm at the brain's edge may have its centre just outside
    assert inside.mean() > 0.93
    assert np.linalg.norm(there.mean(axis=0) - brain_centre(mask)) < 6.0


def brain_centre(mask):
    voxels = np.argwhere(np.asarray(mask.dataobj) > 0)
    return nib.affines.apply_affine(mask.affine, voxels).mean(axis=0)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "LIA", "PSR", "ASL", "PIL"])
def test_a_stored_voxel_keeps_its_place_in_the_world(orientation):
    scanner = Scanner((7.0, 9.0, 8.0), orientation, centre_mm=(1.0, 2.0, 3.0))
    grid, plain = scanner.grid(), replace(scanner, orientation="RAS").grid()
    volume = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    stored = grid.stored(volume)
    assert nib.aff2axcodes(grid.affine) == tuple(orientation)
    for voxel in ((0, 0, 0), (5, 11, 3)):
        (place,) = np.argwhere(stored == volume[voxel])
        expected = nib.affines.apply_affine(plain.affine, voxel)
        assert nib.affines.apply_affine(grid.affine, place) == pytest.approx(expected)
    middle = (np.asarray(stored.shape) - 1) / 2.0
    assert nib.affines.apply_affine(grid.affine, middle) == pytest.approx([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("layout", "shape", "voxel_mm"),
    [
        ("bids", (100, 122, 108), (2.0, 2.0, 2.0)),
        ("adni", (256, 256, 166), (1.0, 1.0, 1.2)),
        ("hcp", (256, 320, 320), (0.7, 0.7, 0.7)),
        ("ukb", (182, 236, 190), (1.0, 1.0, 1.0)),
        ("oasis", (256, 256, 128), (1.0, 1.0, 1.25)),
    ],
)
def test_a_source_has_its_own_voxels(layout, shape, voxel_mm):
    grid = import_module(TREES[layout]).SCANNER.grid()
    assert grid.stored(np.empty(grid.shape, bool)).shape == shape
    assert np.linalg.norm(grid.affine[:3, :3], axis=0) == pytest.approx(voxel_mm)


def test_slabs_do_not_change_an_image(monkeypatch):
    template, visit = _template(MM), plan_visits(1, SEED)[0]
    scanner = Scanner().at(MM)
    whole = simulate_scan(template, visit, seed=SEED, scanner=scanner)
    monkeypatch.setattr("genmorph.cohorts.simulate.scanner.SLAB_VOXELS", 700)
    assert len(list(scanner.grid().slabs())) > 5
    cut = simulate_scan(template, visit, seed=SEED, scanner=scanner)
    assert np.array_equal(whole.image, cut.image)
    assert np.array_equal(whole.tissues.gray, cut.tissues.gray)


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) & set(READERS)))
def test_the_layout_reads_back_every_scan_with_its_facts(cohorts, layout):
    root = cohorts(layout)
    truth = truth_of(root).set_index("path")
    reading = read_layout(layout, Source(root))
    assert {scan.path for scan in reading.scans} == set(truth.index)
    for scan in reading.scans:
        row = truth.loc[scan.path]
        assert (scan.age_years, scan.sex) == (row.age, row.sex)
        if scan.diagnosis is not None:
            assert scan.diagnosis == row.diagnosis
        if scan.ventricle_ml is not None:
            assert scan.ventricle_ml == pytest.approx(row.ventricle_ml, rel=1e-4)
    assert len(reading.rows_without_scan) == (1 if layout == "ukb" else 0)
    left_out = [scan for scan in reading.scans if scan.exclude_reason]
    assert len(left_out) == LEFT_OUT[layout]


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) & set(READERS)))
def test_structures_lie_on_the_scan_as_preprocessing_reads_it(tmp_path, layout):
    """What the labels of a made cohort rest on: DICOM series, archives and Analyze pairs too."""
    root = tmp_path / layout
    simulate_cohort(root, layout=layout, n=5, seed=SEED, resolution_mm=8.0)
    truth = truth_of(root).set_index("path", drop=False)
    for scan in read_layout(layout, Source(root)).scans:
        if scan.exclude_reason is not None:
            continue
        raw = parse_scan(read_raw(RawFile(root, scan.path, scan.format)).content, scan.path)
        labels = mask_of(root, truth.loc[scan.path], "desc-structures_dseg")
        labels = nib.as_closest_canonical(labels)
        np.testing.assert_allclose(raw.affine, labels.affine, atol=1e-3)
        structure = np.asarray(labels.dataobj)
        cortex, white = (raw.data[structure == label].mean() for label in (1, 2))
        assert white > 1.1 * cortex


# -- who is scanned --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "youngest", "oldest", "diagnoses"),
    [
        ("adni", 55, 90, {"CN", "MCI", "AD"}),
        ("hcp", 22, 37, {"CN"}),
        ("ukb", 45, 82, {"CN"}),
        ("oasis", 18, 96, {"CN", "AD"}),
    ],
)
def test_people_are_those_of_the_source(layout, youngest, oldest, diagnoses):
    visits = plan_visits(300, SEED, import_module(TREES[layout]).POPULATION)
    ages = [visit.age_years for visit in visits]
    assert youngest <= min(ages) < youngest + 3 and oldest - 4 < max(ages) <= oldest
    assert {visit.diagnosis for visit in visits} == diagnoses
    assert len({visit.scan_id for visit in visits}) == 300


def test_second_runs_share_the_session_and_its_scanner():
    from genmorph.cohorts.simulate.trees import adni

    one, two = (visit for visit in plan_visits(6, SEED, adni.POPULATION) if visit.run)
    assert (one.run, two.run) == (1, 2) and one.scan_id != two.scan_id
    assert 0 < (scan_time(two, SEED) - scan_time(one, SEED)).total_seconds() < 3600
    template, scanner = _template(MM), adni.SCANNER.at(MM)
    for seed in range(4):
        first, second = (
            simulate_scan(template, visit, seed=seed, scanner=scanner) for visit in (one, two)
        )
        assert first.acquisition.field_strength_tesla == second.acquisition.field_strength_tesla
        assert first.acquisition.rotation_degrees != second.acquisition.rotation_degrees


# -- tables ----------------------------------------------------------------------------------------


def test_ukb_tables_agree_with_the_truth(cohorts):
    root = cohorts("ukb")
    table = pd.read_csv(root / "ukb_tables.csv", dtype={"eid": str}).set_index("eid")
    truth = truth_of(root)
    eids = {path[:7] for path in truth.path}
    assert len(set(table.index) - eids) == 1  # a row without scan
    for row in truth.itertuples():
        eid, instance = row.path[:7], row.path.split("_")[2]
        person = table.loc[eid]
        assert person[f"21003-{instance}.0"] == row.age
        assert person["31-0.0"] == (row.sex == "M")
        assert person[f"25004-{instance}.0"] == pytest.approx(1000 * row.ventricle_ml, abs=0.1)
        brain = 1000 * (row.gray_matter_ml + row.white_matter_ml)
        assert person[f"25010-{instance}.0"] == pytest.approx(brain, rel=1e-4)
        size = row.head_scale_x * row.head_scale_y * row.head_scale_z
        assert person[f"25009-{instance}.0"] * size == pytest.approx(brain, rel=1e-4)
        assert person[f"25003-{instance}.0"] * size == pytest.approx(
            1000 * row.ventricle_ml, rel=1e-4
        )
        scanned = pd.Timestamp(person[f"53-{instance}.0"])
        assert scanned.year - person["34-0.0"] - row.age in (0, 1)
        assert person["21022-0.0"] < row.age
    assert any("_20252_3_0" in path for path in truth.path)


def test_ukb_has_one_unusable_scan_and_one_withdrawn_person(cohorts):
    root = cohorts("ukb")
    members = {path.name: zipfile.ZipFile(path).namelist() for path in root.glob("*.zip")}
    unusable = [name for name in members if "T1/T1.nii.gz" not in members[name]]
    assert len(unusable) == 1 and "T1/unusable/T1.nii.gz" in members[unusable[0]]
    (eid,) = (root / "w00001_20260101.csv").read_text().split()
    assert f"{eid}_20252_2_0.zip" in members
    assert eid not in unusable[0]


def test_hcp_tables_agree_with_the_truth(cohorts):
    root = cohorts("hcp")
    files = {path.name.split("_")[0]: path for path in root.glob("*.csv")}
    known = pd.read_csv(files["unrestricted"], dtype=str).set_index("Subject")
    restricted = pd.read_csv(files["RESTRICTED"], dtype=str).set_index("Subject")
    truth = truth_of(root)
    for row in truth.itertuples():
        subject = row.path[:6]
        age = int(restricted.loc[subject, "Age_in_Yrs"])
        assert age == row.age
        low, high = (known.loc[subject, "Age"].replace("36+", "36-99")).split("-")
        assert int(low) <= age <= int(high)
        assert known.loc[subject, "Gender"] == row.sex
        assert int(known.loc[subject, "T1_Count"]) == (truth.source_id == row.source_id).sum()
    twins = restricted[restricted.ZygositySR != "NotTwin"]
    pairs = twins.groupby("Family_ID").Age_in_Yrs.agg(["size", "nunique"])
    assert (pairs["size"] == 2).any() and (pairs["nunique"] == 1).all()
    assert not restricted[restricted.ZygositySR == "NotTwin"].Family_ID.duplicated().any()


def test_oasis_table_agrees_with_the_truth(cohorts):
    root = cohorts("oasis")
    table = pd.read_csv(root / "oasis_cross-sectional.csv").set_index("ID")
    assert list(table.columns) == [
        "M/F",
        "Hand",
        "Age",
        "Educ",
        "SES",
        "MMSE",
        "CDR",
        "eTIV",
        "nWBV",
        "ASF",
        "Delay",
    ]
    truth = truth_of(root)
    assert {"AD", "CN"} == set(truth.diagnosis)
    for row in truth.itertuples():
        session = row.path.split("/")[1]
        person = table.loc[session]
        if "_mpr-2" in row.path:
            continue  # volumes of the table are those of the session's first image
        assert (person.Age, person["M/F"]) == (row.age, row.sex)
        if row.age < 60:
            assert np.isnan(person.CDR)
        else:
            assert (person.CDR > 0) == (row.diagnosis == "AD")
        brain = row.gray_matter_ml + row.white_matter_ml
        assert person.nWBV * row.brain_ml == pytest.approx(brain, rel=2e-3)
        text = (root / "disc1" / session / f"{session}.txt").read_text()
        assert f"AGE:          {int(row.age)}\n" in text


def test_oasis_images_are_big_endian_analyze(cohorts):
    path = next(cohorts("oasis").glob("disc1/*/RAW/*.img"))
    image = nib.load(path)
    assert image.header.endianness == ">"
    assert image.shape[3] == 1 and image.get_data_dtype() == np.dtype(">i2")
    assert path.stat().st_size == 2 * np.prod(image.shape)


def test_adni_tables_agree_with_the_truth(cohorts):
    root = cohorts("adni")
    images = pd.read_csv(root / "simulated_1_01_2026.csv", dtype=str)
    assert images["Image Data ID"].str.startswith("I").nunique() == 2  # with and without
    images["id"] = images["Image Data ID"].str.removeprefix("I")
    images = images.set_index("id")
    visits = pd.read_csv(root / "ADNIMERGE.csv")
    truth = truth_of(root)
    assert {"AD", "CN"} <= set(truth.diagnosis)
    for row in truth.itertuples():
        image = images.loc[re.search(r"/I(\d{6})", row.path)[1]]
        assert (image.Subject, image.Sex, image.Group) == (row.source_id, row.sex, row.diagnosis)
        assert float(image.Age) == row.age
        folder_date = row.path.split("/")[3][:10]
        assert pd.to_datetime(image["Acq Date"], format="%m/%d/%Y") == pd.Timestamp(folder_date)
        assert (image.Format, image.Type) == (
            ("DCM", "Original") if "/MPRAGE/" in row.path else ("NiFTI", "Processed")
        )
        visit = visits[(row.source_id == visits.PTID) & (folder_date == visits.EXAMDATE)]
        assert len(visit) == 1
        assert visit.DX.item() == {"AD": "Dementia"}.get(row.diagnosis, row.diagnosis)
        since = pd.Timestamp(folder_date) - pd.Timestamp(
            visits[row.source_id == visits.PTID].EXAMDATE.min()
        )
        assert visit.AGE.item() + since.days / 365.25 == pytest.approx(row.age, abs=0.01)
    assert truth.duplicated(["participant_id", "session_id"]).sum() == 1  # a repeat of one visit
    assert {"bl", "m12"} == set(visits.VISCODE)


def test_adni_sidecars_are_xml_that_agrees(cohorts):
    from xml.etree import ElementTree

    root = cohorts("adni")
    truth = truth_of(root)
    sidecars = sorted((root / "ADNI").glob("*.xml"))
    assert len(sidecars) == N
    for path in sidecars:
        document = ElementTree.parse(path).getroot()
        assert document.tag == "idaxs"
        number = document.findtext(".//imageUID")
        row = truth[truth.path.str.contains(f"/I{number}")].iloc[0]
        assert document.findtext(".//subjectIdentifier") == row.source_id
        assert float(document.findtext(".//subjectAge")) == row.age
        assert document.findtext(".//researchGroup") == row.diagnosis


# -- DICOM -----------------------------------------------------------------------------------------


def dicom_row(root):
    return next(row for row in truth_of(root).itertuples() if "/MPRAGE/" in row.path)


def test_dicom_slices_have_one_geometry_and_their_own_names(cohorts):
    import pydicom

    root = cohorts("adni")
    row = dicom_row(root)
    slices = [pydicom.dcmread(path) for path in sorted((root / row.path).iterdir())]
    mask = mask_of(root, row)
    assert len(slices) == mask.shape[2]
    assert len({data.SOPInstanceUID for data in slices}) == len(slices)
    for tag in ("SeriesInstanceUID", "StudyInstanceUID", "PatientID", "SeriesDescription"):
        assert len({data[tag].value for data in slices}) == 1
    assert slices[0].PatientID == row.source_id
    # sagittal: rows run to the back, columns downwards, in the patient's LPS
    assert list(slices[0].ImageOrientationPatient) == [0, 1, 0, 0, 0, -1]
    slices.sort(key=lambda data: data.InstanceNumber)
    steps = np.diff([data.ImagePositionPatient for data in slices], axis=0)
    assert np.allclose(steps, [MM, 0, 0])


def test_dcm2niix_gives_the_scan_back_in_its_place(cohorts, tmp_path):
    converter = shutil.which("dcm2niix")
    if converter is None:
        pytest.skip("dcm2niix is not on the path")
    root = cohorts("adni")
    row = dicom_row(root)
    subprocess.run(
        [converter, "-f", "scan", "-o", str(tmp_path), str(root / row.path)],
        check=True,
        capture_output=True,
    )
    (path,) = tmp_path.glob("*.nii")
    scan = nib.as_closest_canonical(nib.load(path))
    mask = nib.as_closest_canonical(mask_of(root, row))
    assert np.allclose(scan.affine, mask.affine, atol=1e-3)
    image, brain = np.asarray(scan.dataobj), np.asarray(mask.dataobj) > 0
    visit = next(v for v in plan_visits(N, SEED, _adni().POPULATION) if v.scan_id == row.scan_id)
    made = simulate_scan(_template(MM), visit, seed=SEED, scanner=_adni().SCANNER.at(MM))
    assert np.array_equal(image, made.image)
    assert np.array_equal(brain, made.tissues.brain)


def _adni():
    return import_module(TREES["adni"])


def test_dicom_bytes_are_readable_without_a_path():
    import pydicom

    from genmorph.cohorts.simulate.trees.dicom import dicom_slices

    visit = plan_visits(1, SEED)[0]
    scan = simulate_scan(_template(MM), visit, seed=SEED, scanner=Scanner().at(MM))
    time = scan_time(visit, SEED)
    first, again = (
        list(dicom_slices(scan, person="002_S_0401", series="MPRAGE", time=time, number="1"))
        for _ in range(2)
    )
    assert first == again
    data = pydicom.dcmread(io.BytesIO(first[3]))
    # slices run to the left, rows downwards, columns to the back
    assert np.array_equal(data.pixel_array, scan.image[::-1][3][::-1, ::-1].T)
