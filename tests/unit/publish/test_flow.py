"""The flow of a cohort: counts, text, picture."""

from __future__ import annotations

from genmorph.cohorts.flow import Flow
from genmorph.cohorts.manifest import Scan
from genmorph.cohorts.reading import leave_out
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
    assert Flow.from_json(flow().to_json()) == flow()


def test_the_text_names_reasons_before_the_stage_they_lead_to():
    lines = flow().lines()
    assert lines[0].startswith("5  found")
    assert lines.index("  -2  another is used") < next(
        n for n, line in enumerate(lines) if "selected" in line
    )


def test_the_picture_holds_every_number():
    figure = draw_flow(flow().passed, flow().left_out, title="t", people={"train": 7, "test": 3})
    told = " ".join(text.get_text() for text in figure.axes[0].texts)
    for part in ("n = 5", "n = 4", "n = 2", "n = 1", "2 × another is used", "7 people", "3 people"):
        assert part in told
