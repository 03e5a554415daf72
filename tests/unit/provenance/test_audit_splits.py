"""Check `splits`: nobody in two, and the rule's own outcome."""

from __future__ import annotations

import pytest

from genmorph.files import write_tsv
from genmorph.provenance.audit.splits import check_splits
from genmorph.splits import assign_splits

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
PEOPLE = [f"sub-{n:02d}" for n in range(10)]


@pytest.fixture
def cohort(tmp_path):
    """Write a cohort of ten people with one scan each; keyword arguments change its tables."""

    def write(splits=None, family=None, scans=(), ledger=None):
        given = assign_splits({}, PEOPLE, SHARES, 0)
        splits = given | (splits or {})
        folder = tmp_path / "cohorts" / "tiny"
        columns = ["participant_id", "split", *(["family_id"] if family else [])]
        rows = [
            {
                "participant_id": person,
                "split": splits[person],
                "family_id": (family or {}).get(person),
            }
            for person in splits
        ]
        write_tsv(folder / "participants.tsv", columns, rows)
        scans = [(person, person) for person in PEOPLE] + list(scans)
        write_tsv(
            folder / "manifest.tsv",
            ("scan_id", "participant_id", "path", "exclude_reason"),
            [
                {"scan_id": scan, "participant_id": person, "path": f"{scan}.nii"}
                for scan, person in scans
            ],
        )
        ledger = given if ledger is None else ledger
        if ledger:
            write_tsv(
                folder / "ledger.tsv",
                ("kind", "id", "value"),
                [{"kind": "person", "id": name, "value": split} for name, split in ledger.items()],
            )
        return tmp_path

    return write


def records(suffix="", **hashes):
    ingest = {
        "command": "ingest",
        "parameters": {"cohort": "tiny", "shares": SHARES, "split_seed": 0},
        "outputs": [{"path": "cohorts/tiny/manifest.tsv"}],
    }
    inputs = [
        {"base": "cohort:tiny", "path": f"{name.replace('_', '-')}{suffix}", "sha256": value}
        for name, value in hashes.items()
    ]
    return {"ingest": ingest, "shard": {"command": "preprocess", "inputs": inputs}}


def found(root, suffix=".nii", **hashes):
    findings = check_splits(root, records(suffix, **hashes))
    return [(f.status, f.message) for f in findings if f.message]


def test_splits_by_the_rule_pass(cohort):
    findings = list(check_splits(cohort(), records()))
    assert findings and all(f.status == "pass" and not f.message for f in findings)


def test_a_cohort_nobody_ingested_in_this_chain_is_not_looked_at(cohort):
    assert list(check_splits(cohort(), {})) == []


def test_a_moved_person_fails(cohort):
    other = {"train": "test", "validation": "train", "test": "train"}
    moved = {"sub-03": other[assign_splits({}, PEOPLE, SHARES, 0)["sub-03"]]}
    assert found(cohort(splits=moved)) == [
        ("fail", "not in the split that ledger.tsv gives: sub-03")
    ]


def test_a_ledger_edited_to_fit_fails(cohort):
    given = assign_splits({}, PEOPLE, SHARES, 0)
    last = list(given)[-1]
    edited = given | {last: "test" if given[last] != "test" else "train"}
    ((status, message),) = found(cohort(splits=edited, ledger=edited))
    assert status == "fail" and message.startswith(f"{last} is in {edited[last]}, shares and hash")


def test_a_grown_cohort_passes_and_says_what_is_not_known(cohort):
    first = assign_splits({}, PEOPLE[5:], SHARES, 0)
    grown = assign_splits(first, PEOPLE, SHARES, 0)
    ((status, message),) = found(cohort(splits=grown, ledger=grown))
    assert status == "pass" and "has grown" in message


def test_without_a_ledger_only_a_cohort_that_never_grew_is_known(cohort):
    assert found(cohort(ledger={})) == []
    grown = assign_splits(assign_splits({}, PEOPLE[5:], SHARES, 0), PEOPLE, SHARES, 0)
    assert grown != assign_splits({}, PEOPLE, SHARES, 0)
    ((status, message),) = found(cohort(splits=grown, ledger={}))
    assert status == "unknown" and "no ledger.tsv" in message


def test_a_person_in_two_splits_fails(cohort):
    root = cohort()
    table = root / "cohorts/tiny/participants.tsv"
    table.write_text(table.read_text() + "sub-03\tvalidation\nsub-03\ttest\n")
    assert any("sub-03 is in test and" in message for _, message in found(root))


def test_a_family_in_two_splits_fails(cohort):
    given = assign_splits({}, PEOPLE, SHARES, 0)
    by_split = {split: [p for p in PEOPLE if given[p] == split] for split in SHARES}
    torn = {by_split["train"][0]: "f1", by_split["test"][0]: "f1"}
    assert ("fail", "f1 is in test and train") in found(cohort(family=torn))


def test_a_family_goes_to_a_split_as_a_whole(cohort):
    siblings, others = PEOPLE[:2], PEOPLE[2:]
    ledger = assign_splits({}, ["family-f1", *others], SHARES, 0)
    splits = ledger | dict.fromkeys(siblings, ledger["family-f1"])
    del splits["family-f1"]
    family = dict.fromkeys(siblings, "f1")
    assert found(cohort(splits, family=family, ledger=ledger)) == []


def test_a_scan_of_nobody_and_a_scan_twice_fail(cohort):
    assert ("fail", "no split for the person of x") in found(cohort(scans=[("x", "sub-99")]))
    assert ("fail", "twice: sub-00") in found(cohort(scans=[("sub-00", "sub-01")]))


@pytest.mark.parametrize("suffix", [".nii", ""])
def test_one_image_under_two_splits_fails(cohort, suffix):
    """Records name a scan by its path, or a pseudonymous one by its id."""
    given = assign_splits({}, PEOPLE, SHARES, 0)
    train, test = (next(p for p in PEOPLE if given[p] == split) for split in ("train", "test"))
    also = [p for p in PEOPLE if given[p] == "train"][1]
    same = {train.replace("-", "_"): "aa", test.replace("-", "_"): "aa"}
    ((status, message),) = found(cohort(), suffix, **same)
    assert status == "fail" and f"{train} (train)" in message and f"{test} (test)" in message
    same = {train.replace("-", "_"): "aa", also.replace("-", "_"): "aa"}
    assert found(cohort(), suffix, **same) == []


def test_a_split_nobody_defined_and_a_lost_table_fail(cohort):
    assert any("splits nobody defined: dev" in m for _, m in found(cohort({"sub-01": "dev"})))
    root = cohort()
    (root / "cohorts/tiny/participants.tsv").unlink()
    ((status, message),) = found(root)
    assert status == "fail" and "participants.tsv: no such file" in message
