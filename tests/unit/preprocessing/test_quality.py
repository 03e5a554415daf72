"""The quality page: who comes first, who is shown, and a page that stands by itself."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as Picture

from genmorph.files import read_tsv, write_json, write_tsv
from genmorph.preprocessing.quality import PICTURE_PIXELS, review
from genmorph.preprocessing.quality_page import histogram_svg, render_page
from support import run_genmorph

DESCRIPTION = {"data_label": "simulated <made>", "source": {"engine": "builtin (SimpleITK 2.5.7)"}}


@pytest.fixture
def cohort(tmp_path):
    """Status rows of thirty scans, two of them failed and two outliers, and their mosaics."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "scan_id": f"sub-{number:02d}",
            "status": "ok",
            "reason": None,
            "shard": str(number // 10),
            "brain_ml": f"{1500 + 40 * rng.normal():.4f}",
            "outlier": None,
        }
        for number in range(30)
    ]
    rows[7] |= {"brain_ml": "1100.0000", "outlier": "brain_ml"}
    rows[21] |= {"brain_ml": "900.0000", "outlier": "brain_ml"}
    rows[4] |= {"status": "failed", "reason": "truncated: <cut> & gone", "brain_ml": None}
    rows[25] |= {"status": "failed", "reason": "overlaps too little", "brain_ml": "1480.0"}
    for row in rows:
        if row["scan_id"] == "sub-04":
            continue  # could not be read: nothing to draw
        folder = tmp_path / "mosaics" / f"shard-{int(row['shard']):04d}"
        folder.mkdir(parents=True, exist_ok=True)
        Picture.new("RGB", (660, 660), (int(row["shard"]) * 80, 9, 9)).save(
            folder / f"{row['scan_id']}.png"
        )
    return rows, tmp_path / "mosaics"


def test_failures_come_first_then_outliers_from_the_furthest(cohort):
    found = review(*cohort, seed=0)
    order = [row["scan_id"] for row in found.rows]
    assert order[:4] == ["sub-04", "sub-25", "sub-21", "sub-07"]
    assert order[4:] == sorted(order[4:]) and len(order) == 30
    assert len(found.pictures) == 29 and "sub-04" not in found.pictures


def test_of_a_large_cohort_the_remarkable_and_a_seeded_sample_are_shown(cohort):
    found = review(*cohort, seed=0, most_pictures=10, random_sample=4)
    assert list(found.pictures)[:3] == ["sub-25", "sub-21", "sub-07"]
    assert len(found.pictures) == 7 and found.sampled == 4
    again = review(*cohort, seed=0, most_pictures=10, random_sample=4)
    other = review(*cohort, seed=1, most_pictures=10, random_sample=4)
    assert found.pictures == again.pictures and set(found.pictures) != set(other.pictures)
    fewer = review(*cohort, seed=0, most_pictures=4, random_sample=2)
    assert list(fewer.pictures)[:2] == ["sub-25", "sub-21"] and len(fewer.pictures) == 4


def test_many_failures_leave_room_for_outliers(cohort):
    rows, mosaics = cohort
    for row in rows[10:20]:
        row |= {"status": "failed", "reason": "overlaps too little"}
    shown = list(review(rows, mosaics, seed=0, most_pictures=8, random_sample=4).pictures)
    assert shown[2:4] == ["sub-21", "sub-07"] and len(shown) == 8


def test_pictures_are_small(cohort):
    import io

    picture = review(*cohort, seed=0).pictures["sub-00"]
    with Picture.open(io.BytesIO(picture)) as image:
        assert image.format == "JPEG" and max(image.size) == PICTURE_PIXELS


class _Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for key, value in attributes if key in ("src", "href")]


def test_the_page_needs_nothing_else_and_escapes_what_it_prints(cohort):
    page = render_page(review(*cohort, seed=0), DESCRIPTION, "mine, recipe m3ae")
    elements = _Elements()
    elements.feed(page)
    assert elements.tags.count("img") == 29
    assert all(source.startswith("data:image/jpeg;base64,") for source in elements.sources)
    assert "truncated: &lt;cut&gt; &amp; gone" in page and "<made>" not in page
    assert page.count("<tr>") == 31
    assert "30 scans: 28 preprocessed, 2 failed, 2 outliers" in page
    for scan_id in ("sub-04", "sub-25"):
        assert page.index(f"<b>{scan_id}</b>") < page.index("<h2>Outliers") < page.index("sub-21")
    assert "not for sharing" in page


def test_the_page_says_what_it_leaves_out(cohort):
    few = render_page(review(*cohort, seed=0, most_pictures=6, random_sample=2), DESCRIPTION, "x")
    assert "5 of 30 scans have their picture here" in few
    assert "2 of the others, drawn by chance" in few


def test_a_histogram_counts_every_value():
    values = np.array([0.0] * 6 + [1.0] * 3)
    bars = re.findall(r'height="([\d.]+)"/>', histogram_svg(values))
    assert [bars[0], bars[-1]] == ["70.0", "35.0"] and set(bars[1:-1]) == {"0.0"}
    histogram_svg(np.zeros(3))  # equal values have a histogram too


def test_the_command_writes_page_table_and_record(cohort, tmp_path):
    rows, _ = cohort
    write_tsv(tmp_path / "status.tsv", list(rows[0]), rows)
    write_json(tmp_path / "store.json", DESCRIPTION)
    (tmp_path / "config.resolved.yaml").write_text("{}\n")
    out = tmp_path / "quality.html"
    done = run_genmorph(
        "quality", str(tmp_path / "status.tsv"),
        "--store-description", str(tmp_path / "store.json"),
        "--parameters", '{"cohort": "mine", "recipe": "m3ae", "seed": 0}',
        "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 failed scans, 2 outliers, 29 pictures" in done.stdout
    table = read_tsv(tmp_path / "quality.tsv", ("scan_id", "largest_z", "edge_cm2"))
    assert [row["scan_id"] for row in table[:2]] == ["sub-04", "sub-25"]
    assert float(table[2]["largest_z"]) > 3.5
    assert (tmp_path / "provenance" / "quality.html.json").is_file()
