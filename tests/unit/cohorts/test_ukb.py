"""Layout `ukb`: zips in place, every spelling of a column, and people who must not be used."""

from __future__ import annotations

import zipfile

import pytest

from genmorph.cohorts.flow import Flow
from genmorph.cohorts.ingest import ingest_cohort, read_layout
from genmorph.cohorts.manifest import read_manifest
from genmorph.cohorts.reading import Source
from genmorph.cohorts.ukb import parse_column
from genmorph.errors import CohortError, ConfigError
from genmorph.files import read_json, read_tsv

PEOPLE = [f"10000{n:02d}" for n in range(8)]
HEADER = "eid,31-0.0,34-0.0,21003-2.0,21003-3.0,53-2.0,54-2.0,25004-2.0,25009-2.0"


def write_zip(path, members=("T1/T1.nii.gz", "T1/T1_brain.nii.gz")):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, f"voxels of {name}")


@pytest.fixture
def tree(tmp_path):
    """Eight people, the first scanned twice, with a table."""
    root = tmp_path / "raw"
    for eid in PEOPLE:
        write_zip(root / f"{eid}_20252_2_0.zip")
    write_zip(root / f"{PEOPLE[0]}_20252_3_0.zip")
    rows = [
        f"{eid},{n % 2},1950,{60 + n},{64 + n},2016-03-0{n + 1},11025,30500,1500000"
        for n, eid in enumerate(PEOPLE)
    ]
    (root / "ukb_tables.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return root


def read(root, options=None, **source):
    return read_layout("ukb", Source(root, **source), options)


def of(reading, eid, session="ses-2"):
    return next(scan for scan in reading.scans if scan.scan_id == f"sub-{eid}_{session}")


def ingest(root, out, **source):
    return ingest_cohort(
        name="ukb",
        layout="ukb",
        source=Source(root, **source),
        out=out,
        shares={"train": 0.6, "validation": 0.2, "test": 0.2},
        split_seed=0,
        shard_size=4,
    )


@pytest.mark.parametrize(
    "name",
    [
        "21003-2.0",
        "f.21003.2.0",
        "age_when_attended_assessment_centre_f21003_2_0",
        "p21003_i2",
        "p21003_i2_a0",
        "participant.p21003_i2",
        "n_21003_2_0",
        "X21003.2.0",
    ],
)
def test_every_spelling_of_a_column(name):
    assert parse_column(name) == (21003, 2, 0)


@pytest.mark.parametrize("name", ["p31", "31-0.0", "f.31.0.0", "sex_f31_0_0"])
def test_fields_without_instance_are_of_the_first(name):
    assert parse_column(name) == (31, 0, 0)


@pytest.mark.parametrize("name", ["eid", "age", "21003", "p_21003", "f21003", "21003-2"])
def test_other_columns_are_no_fields(name):
    assert parse_column(name) is None


def test_zips_are_listed_with_their_persons_row(tree):
    reading = read(tree)
    scan = of(reading, PEOPLE[1])
    assert scan.path == f"{PEOPLE[1]}_20252_2_0.zip!T1/T1.nii.gz"
    assert scan.size == len("voxels of T1/T1.nii.gz")
    assert len(scan.crc32) == 8
    assert (scan.age_years, scan.age_precision, scan.sex) == (61.0, "exact", "M")
    assert (scan.acquisition_date, scan.site) == ("2016-03-02", "11025")
    assert (scan.ventricle_ml, scan.brain_normalised_ml, scan.brain_ml) == (30.5, 1500.0, None)
    assert of(reading, PEOPLE[0], "ses-3").age_years == 64.0
    assert not scan.skull_stripped
    assert len(reading.scans) == 9
    assert [path.name for path in reading.files] == ["ukb_tables.csv"]


def test_another_member_and_another_instance(tree):
    reading = read(tree, {"image": "T1/T1_brain.nii.gz", "instances": [2]})
    assert of(reading, PEOPLE[0]).skull_stripped
    assert "instance 3" in of(reading, PEOPLE[0], "ses-3").exclude_reason


def test_tables_may_be_spelled_and_placed_otherwise(tree, tmp_path):
    (tree / "ukb_tables.csv").rename(tree / "other.csv")
    text = (tree / "other.csv").read_text()
    (tree / "other.csv").unlink()
    folder = tmp_path / "tables"
    folder.mkdir()
    head = "participant.eid\tparticipant.p31\tparticipant.p34\tparticipant.p21003_i2"
    rows = [line.split(",")[:4] for line in text.splitlines()[1:]]
    coded = [[eid, {"0": "Female", "1": "Male"}[sex], *rest] for eid, sex, *rest in rows]
    (folder / "export.tsv").write_text("\n".join([head, *map("\t".join, coded)]))
    scan = of(read(tree, tables=folder), PEOPLE[1])
    assert (scan.age_years, scan.sex) == (61.0, "M")


def test_without_an_age_at_the_visit_the_year_of_birth_serves_and_it_is_said(tree):
    table = tree / "ukb_tables.csv"
    table.write_text(table.read_text().replace("1950,61,", "1950,,"))
    reading = read(tree)
    scan = of(reading, PEOPLE[1])
    assert (scan.age_years, scan.age_precision) == (66.0, "bin")
    assert any("year of birth" in note for note in reading.notes)


def test_people_of_the_table_without_a_scan_are_told(tree):
    with (tree / "ukb_tables.csv").open("a") as stream:
        stream.write("1999999,0,1950,70,,2016-01-01,11025,1,1\n")
        stream.write("1999998,0,1950,,,,,,\n")  # never came to an imaging visit
    assert read(tree).rows_without_scan == ("1999999",)


@pytest.mark.parametrize(
    ("damage", "stage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "selected", "damaged"),
        (lambda path: path.write_bytes(b""), "selected", "damaged"),
        (
            lambda path: write_zip(path, ["T1/T1.nii.gz", "../../passwords"]),
            "selected",
            "leads outside",
        ),
        (lambda path: write_zip(path, ["/etc/T1.nii.gz"]), "selected", "leads outside"),
        (
            lambda path: write_zip(path, ["T1/unusable/T1_orig_defaced.nii.gz"]),
            "selected",
            "unusable",
        ),
        (lambda path: write_zip(path, ["T2/T2.nii.gz"]), "selected", "holds no T1/T1.nii.gz"),
    ],
)
def test_an_archive_that_cannot_be_used_says_why(tree, damage, stage, reason):
    damage(tree / f"{PEOPLE[2]}_20252_2_0.zip")
    reading = read(tree)
    scan = of(reading, PEOPLE[2])
    assert scan.excluded_at == stage
    assert reason in scan.exclude_reason
    assert sum(scan.exclude_reason is None for scan in reading.scans) == 8


def test_a_scan_without_a_row_is_not_matched(tree):
    write_zip(tree / "1234567_20252_2_0.zip")
    scan = of(read(tree), "1234567")
    assert scan.excluded_at == "matched"


def test_a_second_image_of_a_visit_is_not_selected(tree):
    write_zip(tree / f"{PEOPLE[3]}_20252_2_1.zip")
    reasons = [scan.exclude_reason for scan in read(tree).scans if PEOPLE[3] in scan.path]
    assert reasons.count(None) == 1
    assert "a further image of the same visit" in reasons


@pytest.mark.parametrize("beside", [True, False])
def test_nobody_who_withdrew_is_kept(tree, tmp_path, beside):
    file = (tree if beside else tmp_path) / "w12345_20260101.csv"
    file.write_text(f"{PEOPLE[4]}\n1777777\n")
    reading = read(tree) if beside else read(tree, withdrawn=file)
    assert of(reading, PEOPLE[4]).exclude_reason == "withdrew consent"
    assert Flow.of(reading.scans).left_out["kept"] == {"withdrew consent": 1}


def test_a_missing_withdrawal_list_is_an_error(tree, tmp_path):
    with pytest.raises(CohortError, match="list of withdrawn people cannot be read"):
        read(tree, withdrawn=tmp_path / "w1_1.csv")


def test_no_table_is_an_error_that_says_what_is_wanted(tree):
    (tree / "ukb_tables.csv").write_text("eid,something\n1,2\n")
    with pytest.raises(CohortError, match=r"21003.*ukb_tables\.csv"):
        read(tree)


def test_tables_that_disagree_name_both(tree):
    (tree / "second.csv").write_text(f"eid,31-0.0\n{PEOPLE[0]},1\n")
    with pytest.raises(CohortError, match=r"ukb_tables\.csv.*second\.csv"):
        read(tree)


def test_a_wrong_root_lists_patterns_and_files(tmp_path):
    (tmp_path / "sub-01_T1w.nii.gz").write_text("")
    with pytest.raises(CohortError, match=r"20252.*sub-01_T1w"):
        read(tmp_path)


def test_an_unknown_option_is_refused(tree):
    with pytest.raises(ConfigError, match="imag"):
        read(tree, {"imag": "T1/T1.nii.gz"})


def test_ids_of_the_source_stay_in_the_manifest(tree, tmp_path):
    out = tmp_path / "out"
    ingest(tree, out)
    scans = read_manifest(out / "manifest.tsv")
    assert {scan.participant_id for scan in scans} == {f"sub-ukb{n:05d}" for n in range(1, 9)}
    assert {scan.source_id for scan in scans} == set(PEOPLE)
    assert all(scan.public_name == scan.scan_id for scan in scans)
    told = (out / "participants.tsv").read_text() + (out / "cohort.json").read_text()
    assert not any(eid in told for eid in PEOPLE)


def test_pseudonyms_and_visits_stay_when_the_cohort_grows(tree, tmp_path):
    out = tmp_path / "out"
    ingest(tree, out)
    before = {scan.source_id: scan.participant_id for scan in read_manifest(out / "manifest.tsv")}
    write_zip(tree / "1000000_20252_2_0.zip")  # there already, written anew
    write_zip(tree / "0999999_20252_2_0.zip")  # sorts before all others
    with (tree / "ukb_tables.csv").open("a") as stream:
        stream.write("0999999,0,1950,70,,2016-01-01,11025,1,1\n")
    ingest(tree, out)
    scans = read_manifest(out / "manifest.tsv")
    now = {scan.source_id: scan.participant_id for scan in scans}
    assert now == before | {"0999999": "sub-ukb00009"}
    visits = {scan.scan_id: scan.visit for scan in scans}
    assert visits["sub-ukb00001_ses-2"] == 1
    assert visits["sub-ukb00001_ses-3"] == 2


def test_the_flow_is_written_with_its_reasons(tree, tmp_path):
    write_zip(tree / "1234567_20252_2_0.zip")
    write_zip(tree / f"{PEOPLE[2]}_20252_2_0.zip", ["T1/unusable/T1.nii.gz"])
    ingest(tree, tmp_path / "out")
    told = read_json(tmp_path / "out" / "cohort.json")
    assert told["scans"]["passed"] == {"found": 10, "matched": 9, "selected": 8, "kept": 8}
    assert sum(told["people"].values()) == 7
    assert len(read_tsv(tmp_path / "out" / "participants.tsv")) == 7


def test_numbers_of_people_fill_the_splits_and_the_rest_is_left_out(tree, tmp_path):
    flow, _ = ingest_cohort(
        name="ukb",
        layout="ukb",
        source=Source(tree),
        out=tmp_path,
        shares={"train": 3, "validation": 1, "test": 2},
        split_seed=0,
        shard_size=4,
    )
    assert read_json(tmp_path / "cohort.json")["people"] == {"train": 3, "validation": 1, "test": 2}
    assert flow.left_out["kept"].keys() == {"the splits have the people they take"}
    assert len(read_tsv(tmp_path / "participants.tsv")) == 6


@pytest.mark.parametrize("damaged", [False, True])
def test_a_second_copy_is_used_only_when_the_first_cannot_be(tree, damaged):
    """Also where the copies have one name, in two folders."""
    name = f"{PEOPLE[3]}_20252_2_0.zip"
    write_zip(tree / "Bulk" / "Brain MRI" / "T1" / "10" / name)
    if damaged:
        (tree / name).write_bytes(b"half")
    kept = [s.path for s in read(tree).scans if s.source_id == PEOPLE[3] and not s.exclude_reason]
    assert len(kept) == 1
    assert damaged is False or kept[0].startswith("Bulk/Brain MRI/T1/10/")


def test_no_reason_names_a_person(tree):
    write_zip(tree / "1234567_20252_2_0.zip")
    write_zip(tree / f"{PEOPLE[3]}_20252_2_1.zip")
    (tree / f"{PEOPLE[2]}_20252_2_0.zip").write_bytes(b"half")
    reasons = [scan.exclude_reason for scan in read(tree).scans if scan.exclude_reason]
    assert len(reasons) == 3
    assert not any(eid in reason for eid in [*PEOPLE, "1234567"] for reason in reasons)


def test_the_year_of_birth_serves_alone(tree):
    rows = "".join(f"{eid},1950,2016-03-01\n" for eid in PEOPLE)
    (tree / "ukb_tables.csv").write_text("eid,34-0.0,53-2.0\n" + rows)
    scan = of(read(tree), PEOPLE[1])
    assert (scan.age_years, scan.age_precision) == (66.0, "bin")


@pytest.mark.parametrize(("born", "scanned"), [("195O", "2016-03-01"), ("1950", ":016-03-01")])
def test_a_year_that_is_no_number_is_named(tree, born, scanned):
    rows = "".join(f"{eid},{born},{scanned}\n" for eid in PEOPLE)
    (tree / "ukb_tables.csv").write_text("eid,34-0.0,53-2.0\n" + rows)
    with pytest.raises(CohortError, match="which is no number"):
        read(tree)


def test_one_number_in_two_spellings_is_no_disagreement(tree):
    (tree / "second.csv").write_text(f"eid,p21003_i2\n{PEOPLE[0]},60.0\n")
    assert of(read(tree), PEOPLE[0]).age_years == 60.0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",1,1950,61,", ",7,1950,61,", r"field 31 \(sex\) is '7'"),
        (",1,1950,61,", ",1,1950,many,", "field 21003 is 'many'"),
        ("1500000", "1500", r"median brain has 1\.5 ml"),
    ],
)
def test_a_value_that_cannot_be_is_an_error(tree, old, new, words):
    table = tree / "ukb_tables.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(CohortError, match=words):
        read(tree)


def test_a_table_that_cannot_be_read_is_named(tree):
    with (tree / "ukb_tables.csv").open("a") as stream:
        stream.write('1000001,"unclosed\n')
    with pytest.raises(CohortError, match=r"ukb_tables\.csv: cannot be read"):
        read(tree)
