"""Tables are found by their header, whatever their file, separator and spelling."""

from __future__ import annotations

import pytest

from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import Source, leave_out
from genmorph.cohorts.tables import (
    by_person,
    find_tables,
    iso_date,
    leave_out_withdrawn,
    number,
    read_table,
    sex_of,
    walk,
)
from genmorph.errors import CohortError


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_separators_and_encodings(tmp_path, separator, encoding):
    lines = (["ID", " Age "], ["a", "61"], ["Zürich", "n/a"], ["", ""])
    text = "\r\n".join(separator.join(line) for line in lines)
    table = read_table(write(tmp_path / "t.csv", text, encoding))
    assert table.columns == ("id", "age")
    assert table.rows == [{"id": "a", "age": "61"}, {"id": "Zürich", "age": None}]


def test_a_quoted_separator_is_part_of_the_value(tmp_path):
    table = read_table(write(tmp_path / "t.csv", '"id","site"\n"a","Basel, Switzerland"\n'))
    assert table.rows == [{"id": "a", "site": "Basel, Switzerland"}]


def test_an_empty_table_has_no_rows(tmp_path):
    assert read_table(write(tmp_path / "t.csv", "")).rows == []


def test_a_column_that_is_asked_for_must_stand_once(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "id,age,age\na,1,2\n"))
    assert table.has(("id",)) and not table.has(("id",), ("sex",))
    with pytest.raises(CohortError, match=r"t.csv: column age stands in it more than once"):
        table.has(("id",), ("age", "age_years"))


def test_a_spreadsheet_called_csv_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"PK\x03\x04\0\0")
    with pytest.raises(CohortError, match="not a text file"):
        read_table(path)


def test_only_tables_near_the_root_count_and_no_truth_of_a_simulation(tmp_path):
    for name in ("a.csv", "tables/b.tsv", "one/two/c.csv", "derivatives/truth/truth.tsv", ".h.csv"):
        write(tmp_path / name, "id\n")
    files = list(walk(tmp_path))
    assert files == sorted(files)
    assert "truth.tsv" not in {path.name for path in files}
    found = [table.path.name for table in find_tables(Source(tmp_path), files)]
    assert found == ["a.csv", "b.tsv"]
    source = Source(tmp_path, tables=tmp_path / "one")
    assert [table.path.name for table in find_tables(source, files)] == ["c.csv"]


def test_rows_of_a_person_are_joined_unless_they_differ(tmp_path):
    one = read_table(write(tmp_path / "one.csv", "id,sex,age\na,M,\nb,F,50\n"))
    two = read_table(write(tmp_path / "two.csv", "id,sex,age\na,,61\nb,F,50.5\n"))
    assert by_person([one, two], "id", ("sex",)) == {"a": {"sex": "M"}, "b": {"sex": "F"}}
    with pytest.raises(CohortError, match=r"one.csv and .*two.csv differ on b: age is '50' and"):
        by_person([one, two], "id", ("sex", "age"))


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2006-05-02", "2006-05-02"),
        ("2006-05-02 12:31:52.0", "2006-05-02"),
        ("5/02/2006", "2006-05-02"),
        ("20060502", "2006-05-02"),
        ("13/13/2006", None),
        ("May", None),
        (None, None),
    ],
)
def test_dates(text, date):
    assert iso_date(text) == date


@pytest.mark.parametrize(
    ("text", "sex"), [("F", "F"), ("female", "F"), ("Male", "M"), ("X", None), (None, None)]
)
def test_sexes(text, sex):
    assert sex_of(text) == sex


def test_a_number_that_is_none_names_its_table(tmp_path):
    assert number({"a": None, "b": "2.5"}, ("a", "b"), tmp_path) == 2.5
    with pytest.raises(CohortError, match=r"t.csv: 'old' is not a number"):
        number({"age": "old"}, ("age",), tmp_path / "t.csv")


def test_withdrawal_comes_before_any_other_reason(tmp_path):
    def scan(name):
        return Scan(f"sub-{name}", f"sub-{name}", None, name, 1, False, source_id=name)

    scans = [scan("1"), leave_out(scan("2"), "selected", "repeat"), scan("3")]
    source = Source(tmp_path, withdrawn=write(tmp_path / "w.csv", '1\n"2"\n\n'))
    left = [(one.excluded_at, one.exclude_reason) for one in leave_out_withdrawn(scans, source)]
    assert left == [("kept", "withdrawn"), ("kept", "withdrawn"), (None, None)]
    assert leave_out_withdrawn(scans, Source(tmp_path)) == scans
