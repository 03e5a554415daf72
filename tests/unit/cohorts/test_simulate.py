"""Simulated cohorts: same bytes, true anatomy, valid names."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice

import nibabel as nib
import numpy as np
import pytest

from genmorph.cohorts.simulate import DATA_LABEL, simulate_cohort
from genmorph.cohorts.simulate.cohort import _template
from genmorph.cohorts.simulate.person import (
    Visit,
    _people,
    anatomy_of,
    contrast_of,
    plan_visits,
)
from genmorph.cohorts.simulate.scan import simulate_scan
from genmorph.cohorts.simulate.scanner import (
    Acquisition,
    Scanner,
    acquire,
    bias_field,
    rotation_matrix,
    template_from_scanner,
)
from genmorph.cohorts.simulate.tissue import draw_lesions, lesion_map
from genmorph.cohorts.simulate.trees.truth import TRUTH_COLUMNS, quantised
from genmorph.errors import CohortError
from genmorph.files import folder_hashes, read_json, read_tsv

MM = 8.0
SCANNER = Scanner().at(MM)
# of this seed, person 4 comes twice, so eight scans show people with and without sessions
SEED, N = 9, 8


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Eight scans at 8 mm made by one process; returns the root."""
    root = tmp_path_factory.mktemp("simulate") / "cohort"
    simulate_cohort(root, n=N, seed=SEED, resolution_mm=MM)
    return root


@pytest.fixture(scope="module")
def truth(cohort):
    """Rows of truth.tsv by scan."""
    rows = read_tsv(cohort / "derivatives/truth/truth.tsv", TRUTH_COLUMNS)
    return {row["scan_id"]: row for row in rows}


def images(root, suffix):
    return sorted(root.rglob(f"*_{suffix}.nii.gz"))


def values(path):
    return np.asarray(nib.load(path).dataobj, dtype=float)


def truth_image(scan, label):
    root = scan.parents[3 if "_ses-" in scan.name else 2]
    name = scan.name.replace("T1w", label)
    return root / "derivatives/truth" / scan.relative_to(root).with_name(name)


# -- the same bytes --------------------------------------------------------------------------------


def test_two_workers_write_the_bytes_of_one(cohort, tmp_path):
    simulate_cohort(tmp_path / "again", n=N, seed=SEED, resolution_mm=MM, workers=2)
    assert folder_hashes(tmp_path / "again") == folder_hashes(cohort)


def test_a_larger_cohort_starts_with_the_same_scans(cohort, tmp_path):
    made = []
    simulate_cohort(
        tmp_path / "small", n=2, seed=SEED, resolution_mm=MM, progress=lambda *at: made.append(at)
    )
    assert made == [(1, 2), (2, 2)]
    for path in images(tmp_path / "small", "T1w"):
        assert path.read_bytes() == (cohort / path.relative_to(tmp_path / "small")).read_bytes()


def test_another_seed_makes_other_people(cohort, tmp_path):
    simulate_cohort(tmp_path / "other", n=1, seed=SEED + 1, resolution_mm=MM)
    other = values(tmp_path / "other/sub-0001/anat/sub-0001_T1w.nii.gz")
    assert not np.array_equal(other, values(cohort / "sub-0001/anat/sub-0001_T1w.nii.gz"))


# -- the tree --------------------------------------------------------------------------------------


def test_names_are_bids_and_both_session_forms_occur(cohort):
    paths = [path.relative_to(cohort).as_posix() for path in images(cohort, "T1w")]
    assert len(paths) == N
    pattern = re.compile(r"(sub-\d{4})/(?:(ses-\d)/)?anat/\1(?:_\2)?_T1w\.nii\.gz")
    assert all(pattern.fullmatch(path) for path in paths)
    assert any("/ses-2/" in path for path in paths)
    assert any("/ses-" not in path for path in paths)
    labels = [f"label-{name}_probseg" for name in ("GM", "WM", "CSF", "L")]
    for scan in images(cohort, "T1w"):
        for label in (*labels, "desc-brain_mask", "dseg"):
            assert truth_image(scan, label).is_file()


def test_descriptions_say_that_it_is_simulated(cohort):
    raw = read_json(cohort / "dataset_description.json")
    assert (raw["DatasetType"], raw["BIDSVersion"]) == ("raw", "1.11.1")
    assert raw["GenMorph"] == {
        "Simulated": True,
        "DataLabel": DATA_LABEL,
        "Seed": SEED,
        "ResolutionMm": MM,
        "Scans": N,
    }
    derivative = read_json(cohort / "derivatives/truth/dataset_description.json")
    assert derivative["DatasetType"] == "derivative"
    assert DATA_LABEL in (cohort / "README").read_text()
    for scan in images(cohort, "T1w"):
        sidecar = read_json(scan.with_name(scan.name.replace(".nii.gz", ".json")))
        assert sidecar["SkullStripped"] is False
        assert sidecar["Synthetic"] is True
        assert sidecar["MagneticFieldStrength"] in (1.5, 3.0)


def test_tables_agree_with_each_other(cohort, truth):
    people = {row["participant_id"]: row for row in read_tsv(cohort / "participants.tsv")}
    assert set(people) == {path.name for path in cohort.glob("sub-*")}
    assert {row["diagnosis"] for row in people.values()} <= {"CN", "AD"}
    for row in truth.values():
        person = row["participant_id"]
        if row["session_id"] is None:
            assert row["age"] == people[person]["age"]
            continue
        sessions = read_tsv(cohort / person / f"{person}_sessions.tsv")
        ages = {session["session_id"]: session["age"] for session in sessions}
        assert row["age"] == ages[row["session_id"]]
        assert ages["ses-1"] == people[person]["age"]
        if "ses-2" in ages:
            assert 0.9 < float(ages["ses-2"]) - float(ages["ses-1"]) < 2.1
    described = read_json(cohort / "derivatives/truth/truth.json")
    assert list(described) and set(described) == set(TRUTH_COLUMNS)
    assert all(set(row) == set(TRUTH_COLUMNS) for row in truth.values())


def test_the_affine_is_ras_of_the_asked_voxels_centred_on_the_scanner(cohort):
    for path in (*images(cohort, "T1w"), *images(cohort / "derivatives", "desc-brain_mask")):
        image = nib.load(path)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert np.allclose(image.header.get_zooms(), MM)
        middle = image.affine @ [*(np.asarray(image.shape) - 1) / 2.0, 1.0]
        assert np.allclose(middle[:3], 0.0)
        assert image.header["qform_code"] == image.header["sform_code"] == 1
        assert np.all(np.asarray(image.shape) * MM >= (200.0, 244.0, 216.0))


# -- the truth -------------------------------------------------------------------------------------


def test_tissues_fill_the_brain_mask_and_nothing_else(cohort):
    for scan in images(cohort, "T1w"):
        gray, white, csf, lesion = (
            values(truth_image(scan, f"label-{name}_probseg")) for name in ("GM", "WM", "CSF", "L")
        )
        brain = values(truth_image(scan, "desc-brain_mask"))
        assert set(np.unique(brain)) == {0.0, 1.0}
        assert np.abs(gray + white + csf - brain).max() < 1e-6
        assert np.all(lesion <= white + 1e-6)
        labels = values(truth_image(scan, "dseg"))
        assert np.array_equal(labels > 0, brain > 0)
        assert np.all(gray[labels == 1] >= np.maximum(white, csf)[labels == 1])
        assert np.all(csf[labels == 3] >= np.maximum(white, gray)[labels == 3])


def test_structures_divide_the_tissues_of_the_brain_mask(cohort):
    for scan in images(cohort, "T1w"):
        tissue, structure = (
            values(truth_image(scan, name)) for name in ("dseg", "desc-structures_dseg")
        )
        for label, inside in {1: (1, 5, 6), 2: (2,), 3: (3, 4)}.items():
            assert set(np.unique(structure[tissue == label])) == set(inside)
        assert np.array_equal(structure > 0, tissue > 0)
        deep, cortex = (np.argwhere(structure == label) for label in (6, 1))
        middle = np.argwhere(tissue > 0).mean(axis=0)
        away_mm = [MM * np.linalg.norm(part - middle, axis=1).mean() for part in (deep, cortex)]
        assert away_mm[0] < 35 < away_mm[1]


def test_volumes_in_the_table_are_those_of_the_maps(cohort, truth):
    columns = {
        "gray_matter_ml": "label-GM_probseg",
        "white_matter_ml": "label-WM_probseg",
        "csf_ml": "label-CSF_probseg",
        "lesion_ml": "label-L_probseg",
        "brain_ml": "desc-brain_mask",
    }
    for scan in images(cohort, "T1w"):
        row = truth[scan.name.removesuffix("_T1w.nii.gz")]
        for column, label in columns.items():
            total = values(truth_image(scan, label)).sum() * MM**3 / 1000.0
            assert float(row[column]) == pytest.approx(total, rel=1e-4, abs=1e-4), column
        assert 950 < float(row["brain_ml"]) < 2000
        assert 0 < float(row["ventricle_ml"]) < float(row["csf_ml"])


def test_no_warp_folds(truth):
    assert all(0.0 < float(row["minimum_jacobian"]) < 1.0 for row in truth.values())


def test_ventricles_grow_with_age_over_people(truth):
    visits = plan_visits(24, SEED)
    template = _template(MM)
    scans = [simulate_scan(template, visit, seed=SEED, scanner=SCANNER) for visit in visits[8:]]
    ages = [float(row["age"]) for row in truth.values()]
    sizes = [float(row["ventricle_ml"]) for row in truth.values()]
    ages += [scan.visit.age_years for scan in scans]
    sizes += [float(scan.tissues.ventricles.sum()) * MM**3 / 1000.0 for scan in scans]
    assert np.corrcoef(ages, sizes)[0, 1] > 0.5


def test_age_and_disease_act_on_one_and_the_same_person():
    template = _template(MM)

    def make(age, diagnosis):
        visit = Visit("sub-0001", None, "F", diagnosis, age, age)
        tissues = simulate_scan(template, visit, seed=5, scanner=SCANNER).tissues
        return {
            name: float(getattr(tissues, name).sum())
            for name in ("gray", "ventricles", "medial_temporal", "lesion", "brain")
        }

    young, old, ill = make(50.0, "CN"), make(80.0, "CN"), make(80.0, "AD")
    assert 1.25 < old["ventricles"] / young["ventricles"] < 2.5
    assert ill["ventricles"] > 1.08 * old["ventricles"]
    assert old["gray"] < 0.97 * young["gray"]
    assert ill["medial_temporal"] < 0.9 * old["medial_temporal"]
    assert old["lesion"] > young["lesion"]
    # atrophy happens inside the head, it does not shrink it
    assert ill["brain"] == pytest.approx(young["brain"], rel=0.02)


def test_quantised_fractions_sum_exactly_even_when_both_halves_round_up():
    tissues = simulate_scan(_template(MM), plan_visits(1, 1)[0], seed=1, scanner=SCANNER).tissues
    half = np.full(tissues.gray.shape, np.float32(0.5))
    maps = quantised(replace(tissues, gray=half, white=half, csf=0 * half, lesion=half))
    total = maps["GM"].astype(int) + maps["WM"] + maps["CSF"]
    assert np.all(total == 255)
    assert np.all(maps["L"] <= maps["WM"])


def test_lesions_only_add_and_grow_between_visits():
    template = _template(MM)

    def at(age):
        return draw_lesions(template, np.random.default_rng(7), age_years=age, severity=1.0)

    early, late = at(65.0), at(80.0)
    assert 0 < len(early.depths) < len(late.depths)
    assert {tuple(c) for c in early.centres_mm} < {tuple(c) for c in late.centres_mm}
    assert np.all(lesion_map(late) - lesion_map(early) > -1e-6)
    assert len(at(40.0).depths) == 0


# -- people ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 12, 33])
def test_visits_are_exactly_as_many_as_asked_and_stable(n):
    visits = plan_visits(n, 3)
    assert len({visit.scan_id for visit in visits}) == len(visits) == n
    assert visits == plan_visits(n + 7, 3)[:n]


def test_shares_of_people_are_as_stated():
    people = list(islice(_people(9), 400))
    assert np.mean([len(visits) == 2 for visits in people]) == pytest.approx(1 / 8, abs=0.02)
    firsts = [visits[0] for visits in people]
    assert np.mean([visit.diagnosis == "AD" for visit in firsts]) == pytest.approx(0.4, abs=0.02)
    assert np.mean([visit.sex == "F" for visit in firsts]) == pytest.approx(0.5, abs=0.02)
    assert all(40.0 <= visit.age_years <= 88.0 for visits in people for visit in visits)
    # traits do not go together by construction
    ages = [visit.age_years for visit in firsts if visit.diagnosis == "CN"]
    sexes = [visit.sex == "M" for visit in firsts if visit.diagnosis == "CN"]
    assert abs(np.corrcoef(ages, sexes)[0, 1]) < 0.15


def test_a_second_visit_keeps_head_and_shape():
    first = next(visits for visits in _people(SEED) if len(visits) == 2)
    one, two = (anatomy_of(visit, SEED) for visit in first)
    assert (one.head_scale, one.shape, one.layers) == (two.head_scale, two.shape, two.layers)
    assert two.ventricle_scale > one.ventricle_scale
    assert contrast_of(first[0], SEED) != contrast_of(first[1], SEED)


# -- scanner ---------------------------------------------------------------------------------------


def test_rotations_are_right_handed_and_in_the_stated_order():
    assert rotation_matrix((90, 0, 0)) @ [0, 1, 0] == pytest.approx([0, 0, 1])
    assert rotation_matrix((0, 90, 0)) @ [0, 0, 1] == pytest.approx([1, 0, 0])
    assert rotation_matrix((90, 0, 90)) @ [0, 0, 1] == pytest.approx([1, 0, 0])


def test_pose_moves_the_head_where_it_says():
    anatomy = anatomy_of(plan_visits(1, 2)[0], 2)
    still = Acquisition((0, 0, 0), (0, 0, 0), 3.0, 800.0, 0.02, 0.1)
    moved = replace(still, translation_mm=(4.0, -3.0, 2.0))
    point = np.array([10.0, 20.0, -5.0, 1.0])
    shifted = point + [4.0, -3.0, 2.0, 0.0]
    assert template_from_scanner(anatomy, moved) @ shifted == pytest.approx(
        template_from_scanner(anatomy, still) @ point
    )


def test_bias_field_spans_its_amplitude_over_the_head():
    field = np.concatenate(list(bias_field(np.random.default_rng(2), SCANNER.grid(), 0.2)))
    assert field.max() == pytest.approx(1.2, rel=1e-5)
    assert field.min() == pytest.approx(1 / 1.2, rel=1e-5)
    assert np.abs(np.diff(field, axis=0)).max() < 0.1


def test_noise_is_rician():
    acquisition = Acquisition((0, 0, 0), (0, 0, 0), 3.0, 2000.0, 0.03, 0.1)
    signal = np.zeros((40, 40, 40), np.float32)
    signal[20:] = 1.0
    image = acquire(signal, [slice(0, 7), slice(7, 40)], acquisition, np.random.default_rng(0))
    assert image.dtype == np.int16
    # Rayleigh in air: mean sigma * sqrt(pi / 2); nearly Gaussian in tissue
    assert image[:20].mean() == pytest.approx(60.0 * np.sqrt(np.pi / 2), rel=0.02)
    assert image[20:].std() == pytest.approx(60.0, rel=0.02)
    assert image[20:].mean() == pytest.approx(2000.0 * np.sqrt(1 + 0.03**2), rel=0.002)


def test_contrast_is_the_one_the_truth_states():
    visit = plan_visits(1, 6)[0]
    scan = simulate_scan(_template(MM), visit, seed=6, scanner=SCANNER)
    brain, tissues = scan.tissues.brain, scan.tissues
    # mean signals by least squares over mixed voxels
    fractions = np.stack([tissues.white, tissues.gray, tissues.csf])
    white, gray, csf = np.linalg.lstsq(fractions.T, scan.image[brain].astype(float))[0]
    assert gray / white == pytest.approx(scan.parameters["gray_signal"], abs=0.08)
    assert csf / white == pytest.approx(scan.parameters["csf_signal"], abs=0.12)
    assert scan.image[:2, :2, -2:].mean() < 0.08 * white  # air
    assert scan.image[~brain].max() > white  # fat


# -- wrong use -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layout": "bidz"}, "did you mean 'bids'"),
        ({"truth": "all"}, "truth 'all' is unknown"),
        ({"n": 0}, "n is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"resolution_mm": 40.0}, "40 mm"),
        ({"resolution_mm": 0.1}, "0.1 mm"),
        ({"resolution_mm": float("nan")}, "nan mm"),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_written(tmp_path, change, named):
    with pytest.raises(CohortError, match=named):
        simulate_cohort(tmp_path / "out", **({"n": 1, "seed": 1, "resolution_mm": MM} | change))
    assert not (tmp_path / "out").exists()


def test_an_error_midway_leaves_no_tree(tmp_path):
    def stop(done, total):
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        simulate_cohort(tmp_path / "out", n=2, seed=1, resolution_mm=MM, progress=stop)
    assert list(tmp_path.iterdir()) == []
