"""The flow of a cohort: counts, text, picture."""

from __future__ import annotations

from genmorph.cohorts.flow import Flow
from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import leave_out
from genmorph.files import read_json, write_json
from genmorph.publish.flow import draw_flow


def scan(name):
    return Scan(name, name, None, f"{name}.nii", 1, False)


def flow():
    return Flow.of(
        [
            scan("a"),
            leave_out(scan("b"), "matched", "no row"),
            leave_out(scan("c"), "selected", "another is used: x.nii"),
            leave_out(scan("d"), "selected", "another is used: y.nii"),
            leave_out(scan("e"), "kept", "withdrew"),
        ]
    )


def test_each_stage_counts_what_is_left():
    assert flow().passed == {"found": 5, "matched": 4, "selected": 2, "kept": 1}
    assert flow().left_out["selected"] == {"another is used": 2}


def test_the_text_names_reasons_before_the_stage_they_lead_to():
    lines = flow().lines()
    assert lines[0].startswith("5  found")
    assert lines.index("  -2  another is used") < next(
        n for n, line in enumerate(lines) if "selected" in line
    )


def test_the_picture_holds_every_number_in_the_order_scans_pass_as_read_from_a_sorted_file(
    tmp_path,
):
    write_json(
        tmp_path / "cohort.json",
        {"scans": flow().to_json(), "people": {"train": 7, "validation": 2, "test": 3}},
    )
    about = read_json(tmp_path / "cohort.json")
    scans = about["scans"]
    figure = draw_flow(scans["passed"], scans["left_out"], title="t", people=about["people"])
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    down = [text for text in texts if "n = " in text.get_text()]
    down.sort(key=lambda text: -text.get_position()[1])
    assert [text.get_text().split("n = ")[1] for text in down] == ["5", "4", "2", "1"]
    across = [text for text in texts if "people" in text.get_text()]
    across.sort(key=lambda text: text.get_position()[0])
    assert [text.get_text() for text in across] == [
        "train\n7 people",
        "validation\n2 people",
        "test\n3 people",
    ]
    reason = next(text for text in texts if "2 × another is used" in text.get_text())
    above, below = (text.get_position()[1] for text in down[1:3])
    assert above > reason.get_position()[1] > below
