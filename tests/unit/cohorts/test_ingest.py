"""Ingest: BIDS trees as they lie, shards and splits that never move."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from genmorph.cohorts.ingest import ingest_cohort, listing_digest, read_layout
from genmorph.cohorts.manifest import Scan, read_manifest, rows_digest
from genmorph.cohorts.populations import select
from genmorph.cohorts.reading import Reading, Source
from genmorph.errors import CohortError, GenmorphError
from genmorph.files import read_json, read_tsv

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def ingest(root, out, **changes):
    values = {"layout": "bids", "shares": SHARES, "split_seed": 0, "shard_size": 3} | changes
    flow, _ = ingest_cohort(name="tiny", source=Source(root), out=out, **values)
    return flow


def read_cohort(root):
    return read_layout("bids", Source(root)).scans


def shards_of(out):
    return {scan.scan_id: scan.shard for scan in read_manifest(out / "manifest.tsv")}


def splits_of(out):
    return {row["participant_id"]: row["split"] for row in read_tsv(out / "participants.tsv")}


def test_scans_with_and_without_sessions(make_bids, tmp_path):
    root = make_bids(twice=("02",))
    flow = ingest(root, tmp_path / "out")
    assert flow.passed["found"] == flow.passed["kept"] == 7
    scans = {scan.scan_id: scan for scan in read_manifest(tmp_path / "out" / "manifest.tsv")}
    assert scans["sub-02_ses-2"].path == "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz"
    assert scans["sub-01"].session is None
    assert (scans["sub-03"].age_years, scans["sub-03"].sex, scans["sub-03"].diagnosis) == (
        62.0,
        "F",
        "CN",
    )


def test_a_grown_cohort_keeps_shards_and_splits(make_bids, tmp_path):
    people = ("03", "04", "05", "06", "07", "08", "09")
    small = make_bids(people, name="small")
    out = tmp_path / "out"
    ingest(small, out)
    shards, splits = shards_of(out), splits_of(out)
    digest = rows_digest([s for s in read_manifest(out / "manifest.tsv") if s.shard == 0])
    # the new people sort before the known ones
    grown = make_bids(("01", "02", *people), name="grown")
    ingest(grown, out)
    assert {key: shards_of(out)[key] for key in shards} == shards
    assert {key: splits_of(out)[key] for key in splits} == splits
    assert shards_of(out)["sub-01"] == shards_of(out)["sub-02"] == 2
    assert digest == rows_digest([s for s in read_manifest(out / "manifest.tsv") if s.shard == 0])


def test_splits_meet_their_shares_and_keep_people_together(make_bids, tmp_path):
    people = [f"{number:02d}" for number in range(20)]
    root = make_bids(people, twice=people[:5])
    out = tmp_path / "out"
    ingest(root, out)
    assert read_json(out / "cohort.json")["people"] == {"train": 12, "validation": 4, "test": 4}
    everything = [
        (split, scan)
        for split in SHARES
        for scan in select(
            read_manifest(out / "manifest.tsv"), read_tsv(out / "participants.tsv"), split=split
        )
    ]
    assert len(everything) == 25
    homes = {}
    for split, scan in everything:
        assert homes.setdefault(scan.participant_id, split) == split


def test_another_split_seed_gives_other_splits(make_bids, tmp_path):
    root = make_bids([f"{number:02d}" for number in range(20)])
    ingest(root, tmp_path / "a")
    ingest(root, tmp_path / "b", split_seed=1)
    assert splits_of(tmp_path / "a") != splits_of(tmp_path / "b")


def test_a_population_is_an_expression_over_the_manifest(make_bids, tmp_path):
    root = make_bids([f"{number:02d}" for number in range(20)])
    ingest(root, tmp_path / "out")
    scans = read_manifest(tmp_path / "out" / "manifest.tsv")
    people = read_tsv(tmp_path / "out" / "participants.tsv")
    old = select(scans, people, split="train", population="age_years >= 70")
    assert old and all(scan.age_years >= 70 for scan in old)
    with pytest.raises(CohortError, match="no scan is left"):
        select(scans, people, split="train", population="diagnosis == 'AD'")


def test_a_sidecar_says_that_a_scan_is_skull_stripped(make_bids):
    root = make_bids()
    (root / "T1w.json").write_text(json.dumps({"SkullStripped": True}))
    assert not any(scan.skull_stripped for scan in read_cohort(root))  # each has its own
    (root / "sub-01" / "anat" / "sub-01_T1w.json").unlink()
    assert [scan.scan_id for scan in read_cohort(root) if scan.skull_stripped] == ["sub-01"]


def test_session_tables_give_the_age_at_the_scan(make_bids):
    root = make_bids(twice=("02",))
    (root / "sub-02" / "sub-02_sessions.tsv").write_text("session_id\tage\nses-2\t63.5\n")
    ages = {scan.scan_id: scan.age_years for scan in read_cohort(root)}
    assert (ages["sub-02_ses-1"], ages["sub-02_ses-2"]) == (61.0, 63.5)


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(CohortError, match="absent: no such folder"):
        ingest(tmp_path / "absent", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_cohort_lists_patterns_and_what_it_saw(tmp_path):
    root = tmp_path / "raw"
    (root / "scans").mkdir(parents=True)
    (root / "scans" / "one.nii.gz").write_text("")
    with pytest.raises(CohortError, match="no scan found") as error:
        ingest(root, tmp_path / "out")
    assert "sub-*/anat/*_T1w.nii[.gz]" in str(error.value)
    assert "scans/one.nii.gz" in str(error.value)


def test_a_person_twice_in_the_table_is_refused(make_bids, tmp_path):
    root = make_bids()
    with (root / "participants.tsv").open("a") as stream:
        stream.write("sub-01\t70\tM\tAD\n")
    with pytest.raises(CohortError, match="sub-01 stands in it more than once"):
        ingest(root, tmp_path / "out")


def test_a_scan_twice_is_refused(make_bids, tmp_path):
    root = make_bids()
    anat = root / "sub-01" / "anat"
    shutil.copy(anat / "sub-01_T1w.nii.gz", anat / "sub-01_T1w.nii")
    with pytest.raises(CohortError, match="scan sub-01 is there twice"):
        ingest(root, tmp_path / "out")


def test_a_second_run_of_a_session_is_left_out_with_its_reason(make_bids, tmp_path):
    root = make_bids()
    anat = root / "sub-01" / "anat"
    for run in ("1", "2"):
        shutil.copy(anat / "sub-01_T1w.nii.gz", anat / f"sub-01_run-{run}_T1w.nii.gz")
    (anat / "sub-01_T1w.nii.gz").unlink()
    flow = ingest(root, tmp_path / "out")
    assert (flow.passed["found"], flow.passed["kept"]) == (7, 6)
    left = [s for s in read_manifest(tmp_path / "out" / "manifest.tsv") if s.exclude_reason]
    assert [scan.path for scan in left] == ["sub-01/anat/sub-01_run-2_T1w.nii.gz"]
    assert "run-1" in left[0].exclude_reason
    assert left[0].shard is None


def test_too_few_people_for_three_splits(make_bids, tmp_path):
    with pytest.raises(CohortError, match="leave split"):
        ingest(make_bids(("01", "02")), tmp_path / "out")


def test_an_age_that_is_no_number_is_named(make_bids, tmp_path):
    root = make_bids()
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("\t60\t", "\tsixty\t"))
    with pytest.raises(GenmorphError, match="'sixty'"):
        ingest(root, tmp_path / "out")


def test_the_listing_changes_when_scans_come_and_not_when_touched(make_bids):
    root = make_bids()
    before = listing_digest(root)
    scan = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    scan.touch()
    assert listing_digest(root) == before
    shutil.copy(scan, scan.with_name("sub-01_run-2_T1w.nii.gz"))
    assert listing_digest(root) != before
    assert listing_digest(root / "nowhere") == "absent"


def test_tables_and_lists_count_with_their_bytes(make_bids, tmp_path):
    """A corrected age, or another withdrawn id, may be as long as the one before."""
    root, withdrawn = make_bids(), tmp_path / "w.csv"
    withdrawn.write_text("1000001\n")
    seen = [listing_digest(root, None, withdrawn)]
    withdrawn.write_text("1000002\n")
    seen.append(listing_digest(root, None, withdrawn))
    table = root / "participants.tsv"
    table.write_text(table.read_text().replace("\t60\t", "\t61\t"))
    seen.append(listing_digest(root, None, withdrawn))
    (root / "link.nii").symlink_to(tmp_path / "nowhere")  # a tree of links not fetched yet
    assert len(set(seen)) == 3 and listing_digest(root, None, withdrawn) == seen[2]


class Made:
    """A layout whose scans the test gives."""

    def __init__(self, monkeypatch, scans):
        from genmorph.cohorts import bids

        self.scans = scans
        monkeypatch.setattr(bids, "read_cohort", lambda source, options: Reading(self.scans))


def scan(person, session=None, family=None, date=None):
    return Scan(
        scan_id="_".join(filter(None, (person, session))),
        participant_id=person,
        session=session,
        path=f"{person}-{session}.nii",
        size=1,
        skull_stripped=False,
        family_id=family,
        acquisition_date=date,
    )


def test_a_family_is_shared_out_as_one_and_stays_where_it_is(monkeypatch, tmp_path):
    people = [scan(f"sub-{n:02d}", family=f"F{n // 3}" if n < 27 else None) for n in range(30)]
    made = Made(monkeypatch, people[:24])
    ingest(tmp_path, tmp_path / "out")
    first = splits_of(tmp_path / "out")
    for family in range(8):
        assert len({first[f"sub-{n:02d}"] for n in range(3 * family, 3 * family + 3)}) == 1
    made.scans = people
    ingest(tmp_path, tmp_path / "out")
    now = splits_of(tmp_path / "out")
    assert {person: now[person] for person in first} == first and len(now) == 30
    rows = read_tsv(tmp_path / "out/participants.tsv")
    assert [row["family_id"] for row in rows[:4]] == ["F0", "F0", "F0", "F1"]
    assert check_splits_of(tmp_path, tmp_path / "out", SHARES) == []


def check_splits_of(root, out, shares):
    """What the audit's check says of an ingested cohort, but for passes."""
    from genmorph.provenance.audit.splits import check_splits

    (root / "cohorts").mkdir()
    shutil.copytree(out, root / "cohorts/tiny")
    record = {
        "command": "ingest",
        "parameters": {"cohort": "tiny", "shares": shares, "split_seed": 0},
        "outputs": [{"path": "cohorts/tiny/manifest.tsv"}],
    }
    return [f for f in check_splits(root, {"ingest": record}) if f.status != "pass"]


def test_families_known_too_late_are_an_error_with_its_cure(monkeypatch, tmp_path):
    made = Made(monkeypatch, [scan(f"sub-{n}") for n in range(9)])
    ingest(tmp_path, tmp_path / "out")
    made.scans = [scan(f"sub-{n}", family=f"F{n // 2}") for n in range(9)]
    with pytest.raises(CohortError, match=r"ledger\.tsv: 9 people were shared out alone") as error:
        ingest(tmp_path, tmp_path / "out")
    assert "remove that file" in error.value.cure


@pytest.mark.parametrize(
    ("dates", "order"),
    [
        (("2011-01-01", "2010-05-01", "2012-01-01"), [2, 1, 3]),
        ((None, "2010-05-01", "2012-01-01"), [3, 1, 2]),  # one unknown: by session, 2 before 10
    ],
)
def test_visits_are_numbered_by_date_else_by_session(monkeypatch, tmp_path, dates, order):
    sessions = ("ses-10", "ses-2", "ses-3")
    own = [scan("sub-x", name, date=date) for name, date in zip(sessions, dates, strict=True)]
    left = replace(own[0], path="z.nii", excluded_at="selected", exclude_reason="a copy: of it")
    Made(monkeypatch, [*own, left, *(scan(f"sub-{n}") for n in range(5))])
    flow = ingest(tmp_path, tmp_path / "out")
    scans = read_manifest(tmp_path / "out" / "manifest.tsv")
    visits = {s.session: s.visit for s in scans if s.participant_id == "sub-x" and s.visit}
    assert [visits[name] for name in sessions] == order
    assert next(s for s in scans if s.exclude_reason).visit is None
    assert flow.left_out == {"matched": {}, "selected": {"a copy": 1}, "kept": {}}
    assert flow.passed == {"found": 9, "matched": 9, "selected": 8, "kept": 8}


def test_splits_by_numbers_leave_the_rest_out(monkeypatch, tmp_path):
    made = Made(monkeypatch, [scan(f"sub-{n:02d}") for n in range(12)])
    numbers = {"train": 6, "validation": 1, "test": 2}
    flow = ingest(tmp_path, tmp_path / "out", shares=numbers)
    assert flow.passed["kept"] == 9
    assert read_json(tmp_path / "out" / "cohort.json")["people"] == numbers
    before = splits_of(tmp_path / "out")
    made.scans = [scan(f"sub-{n:02d}") for n in range(20)]
    assert ingest(tmp_path, tmp_path / "out", shares=numbers).passed["kept"] == 9
    assert splits_of(tmp_path / "out") == before
    assert check_splits_of(tmp_path, tmp_path / "out", numbers) == []
    with pytest.raises(CohortError, match="splits ask for 23 people, 20 are there"):
        ingest(tmp_path, tmp_path / "b", shares={"train": 20, "validation": 1, "test": 2})
