"""The quality page: one HTML file that needs nothing else, with pictures and a table to sort."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

import numpy as np

from genmorph.preprocessing.gate import OUTLIER_Z, QUALITY_COLUMNS
from genmorph.preprocessing.quality import Review

MOST_ROWS = 2000  # more of them make a browser slow; quality.tsv has all
BINS = 24
BARS_WIDTH, BARS_HEIGHT = 240, 70  # pixels
COLUMNS = ("scan_id", "status", "reason", "outlier", "largest_z", *QUALITY_COLUMNS)

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Quality: $title</title>
<style>
body { font: 14px/1.45 system-ui, sans-serif; color: #1b1f24; margin: 24px auto; max-width: 1300px;
  padding: 0 16px; }
h1 { font-size: 22px; margin-bottom: 4px; }
h2 { font-size: 17px; margin: 28px 0 8px; }
p { max-width: 85ch; margin: 6px 0; }
.note { color: #57606a; }
.failed { color: #b3261e; }
.grid { display: flex; flex-wrap: wrap; gap: 14px; }
figure { margin: 0; width: 300px; }
figure img { width: 100%; display: block; background: #000; }
figcaption { font-size: 12.5px; padding-top: 3px; overflow-wrap: anywhere; }
.measures figure { width: 240px; }
svg rect { fill: #4a7fb5; }
svg line { stroke: #b3261e; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 12.5px; }
th { text-align: left; cursor: pointer; background: #eef1f4; position: sticky; top: 0; }
th, td { padding: 3px 8px; border-bottom: 1px solid #d8dee4; white-space: nowrap; }
td.reason { white-space: normal; min-width: 240px; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$summary</p>
<p class="note">$notes</p>
<h2>Failed scans ($n_failed)</h2>
$failed
<h2>Outliers ($n_outliers)</h2>
<p class="note">In at least one measure, |value &minus; median| / (1.4826 MAD) is above $limit.
They are marked, not dropped. Furthest first.</p>
$outliers
<h2>Measures</h2>
<p class="note">Scans that did not fail; the line is the median.</p>
<div class="grid measures">$measures</div>
<h2>All scans</h2>
<p class="note">$table_note Click on a column's title to sort.</p>
<div class="scroll"><table id="scans"><thead><tr>$heads</tr></thead><tbody>
$rows
</tbody></table></div>
<h2>$rest_title</h2>
<div class="grid">$rest</div>
<script>
const heads = document.querySelectorAll("#scans th");
heads.forEach((head, column) => head.addEventListener("click", () => {
  const body = document.querySelector("#scans tbody");
  const down = head.dataset.down = head.dataset.down === "1" ? "0" : "1";
  const text = row => row.children[column].textContent;
  const compare = (a, b) => {
    const [x, y] = [parseFloat(a), parseFloat(b)];
    if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
    const order = isNaN(x) ? a.localeCompare(b) : x - y;
    return down === "1" ? -order : order;
  };
  [...body.rows].sort((a, b) => compare(text(a), text(b))).forEach(row => body.append(row));
}));
</script>
</body>
</html>
""")


def render_page(found: Review, description: Mapping[str, Any], title: str) -> str:
    """The page as HTML text.

    Parameters
    ----------
    found : Review
    description : mapping
        The store's store.json.
    title : str
        Cohort and recipe.
    """
    shown = {row["scan_id"] for row in [*found.failed, *found.outliers]}
    rest = [row for row in found.rows if row["scan_id"] not in shown]
    label = description["data_label"]
    return PAGE.substitute(
        title=escape(title),
        summary=escape(_summary(found, description)),
        notes=escape(
            f"{label + '. ' if label else ''}{_pictures_note(found)} The pictures show raw scans: "
            "this page is not for sharing."
        ),
        n_failed=len(found.failed),
        failed=_gallery(found.failed, found.pictures) or "<p>None.</p>",
        n_outliers=len(found.outliers),
        outliers=_gallery(found.outliers, found.pictures) or "<p>None.</p>",
        limit=OUTLIER_Z,
        measures="\n".join(_measure(found, column) for column in QUALITY_COLUMNS),
        table_note=escape(_table_note(len(found.rows))),
        heads="".join(f'<th title="{escape(_meaning(key))}">{escape(key)}</th>' for key in COLUMNS),
        rows="\n".join(_row(row) for row in found.rows[:MOST_ROWS]),
        rest_title="The other scans" if len(found.pictures) == len(found.rows) else "A sample",
        rest=_figures([row for row in rest if row["scan_id"] in found.pictures], found.pictures),
    )


def _summary(found: Review, description: Mapping[str, Any]) -> str:
    n, failed = len(found.rows), len(found.failed)
    return (
        f"{n} scans: {n - failed} preprocessed, {failed} failed, {len(found.outliers)} outliers. "
        f"Engine: {description['source'].get('engine', 'unknown')}."
    )


def _pictures_note(found: Review) -> str:
    if len(found.pictures) == len(found.rows):
        return "Every scan has its picture."
    return (
        f"{len(found.pictures)} of {len(found.rows)} scans have their picture here: failed scans "
        f"and outliers as far as there is room, and {found.sampled} of the others, drawn by "
        "chance. Scans that could not be read have none. The folder mosaics has all of them, large."
    )


def _table_note(n: int) -> str:
    if n <= MOST_ROWS:
        return "Also in quality.tsv."
    return (
        f"The first {MOST_ROWS} of {n}, failed scans and outliers before others; all of them "
        "are in quality.tsv."
    )


def _gallery(rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes]) -> str:
    """Pictures, then the scans that have none."""
    figures = _figures([row for row in rows if row["scan_id"] in pictures], pictures)
    without = [row for row in rows if row["scan_id"] not in pictures][:MOST_ROWS]
    lines = "".join(f"<li>{_caption(row)}</li>" for row in without)
    return (f'<div class="grid">{figures}</div>' if figures else "") + (
        f"<ul>{lines}</ul>" if lines else ""
    )


def _figures(rows: Iterable[Mapping[str, Any]], pictures: Mapping[str, bytes]) -> str:
    return "\n".join(
        f'<figure><img loading="lazy" alt="mosaic of {escape(row["scan_id"])}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(pictures[row["scan_id"]]).decode()}">'
        f"<figcaption>{_caption(row)}</figcaption></figure>"
        for row in rows
    )


def _caption(row: Mapping[str, Any]) -> str:
    name = f"<b>{escape(row['scan_id'])}</b>"
    if row["status"] != "ok":
        return f'{name} <span class="failed">{escape(row["reason"] or "")}</span>'
    if not row["outlier"]:
        return name
    found = ", ".join(f"{key} {row[key]}" for key in row["outlier"].split(","))
    return f"{name} {escape(found)} (z {row['largest_z']})"


def _row(row: Mapping[str, Any]) -> str:
    cells = (
        f"<td{' class=reason' if key == 'reason' else ''}>{escape(str(row[key] or ''))}</td>"
        for key in COLUMNS
    )
    return f"<tr>{''.join(cells)}</tr>"


def _meaning(column: str) -> str:
    return QUALITY_COLUMNS.get(column, "")


def _measure(found: Review, column: str) -> str:
    """A histogram with the measure's meaning below it."""
    known = [float(row[column]) for row in found.rows if row["status"] == "ok" and row[column]]
    values = np.array(known)
    caption = f"<b>{column}</b> {escape(_meaning(column))}"
    values = values[np.isfinite(values)]
    if values.size == 0:
        return f"<figure><figcaption>{caption}: not measured</figcaption></figure>"
    return (
        f"<figure>{histogram_svg(values)}<figcaption>{values.min():.4g} to {values.max():.4g}, "
        f"median {np.median(values):.4g}. {caption}</figcaption></figure>"
    )


def histogram_svg(values: np.ndarray) -> str:
    """Bars from the smallest to the largest value, and a line at the median.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Finite numbers.
    """
    counts, edges = np.histogram(values, bins=BINS)
    width = BARS_WIDTH / BINS
    bars = "".join(
        f'<rect x="{index * width:.1f}" y="{BARS_HEIGHT * (1 - count / counts.max()):.1f}" '
        f'width="{width - 1:.1f}" height="{BARS_HEIGHT * count / counts.max():.1f}"/>'
        for index, count in enumerate(counts)
    )
    middle = (np.median(values) - edges[0]) / (edges[-1] - edges[0]) * BARS_WIDTH
    return (
        f'<svg width="{BARS_WIDTH}" height="{BARS_HEIGHT}" role="img" aria-label="histogram">{bars}'
        f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="0" y2="{BARS_HEIGHT}"/></svg>'
    )
