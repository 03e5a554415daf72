"""What to look at in a preprocessed cohort: failures, outliers, and a sample of the rest."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.preprocessing.gate import QUALITY_COLUMNS, robust_z

TABLE_COLUMNS = (
    "scan_id",
    "status",
    "reason",
    "outlier",
    "largest_z",
    *QUALITY_COLUMNS,
    "skull_stripped",
    "engine",
    "shard",
)
# A page must open in a browser, whatever the size of the cohort.
MOST_PICTURES = 300
RANDOM_SAMPLE = 40  # of unremarkable scans, where not every scan has its picture
PICTURE_PIXELS = 396  # a third of them is one plane of a mosaic
JPEG_QUALITY = 75


@dataclass(frozen=True)
class Review:
    """A cohort's scans in the order in which they should be looked at.

    Attributes
    ----------
    rows : list of dict
        `TABLE_COLUMNS` for each scan: failed ones, then outliers from the furthest, then the rest.
    pictures : dict
        JPEG of the chosen scans, by scan id, in the order of `rows`.
    sampled : int
        Number of unremarkable scans among them.
    """

    rows: list[dict[str, Any]]
    pictures: dict[str, bytes]
    sampled: int

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Rows of scans without a volume."""
        return [row for row in self.rows if row["status"] != "ok"]

    @property
    def outliers(self) -> list[dict[str, Any]]:
        """Rows of scans that differ from the cohort."""
        return [row for row in self.rows if row["outlier"]]


def review(
    status: Sequence[Mapping[str, Any]],
    mosaics: Path,
    *,
    seed: int,
    most_pictures: int = MOST_PICTURES,
    random_sample: int = RANDOM_SAMPLE,
) -> Review:
    """Order the scans of a cohort and pick those to show.

    Every scan is shown where they are few. Otherwise room is kept free for a random sample of the
    rest, and failed scans leave half of the other room to outliers.

    Parameters
    ----------
    status : sequence of mapping
        Rows of status.tsv.
    mosaics : Path
        Folder with a folder of PNGs per shard; scans without one are not shown.
    seed : int
        Of the random sample.
    most_pictures, random_sample : int
    """
    scores = np.array(list(robust_z(status).values()))
    largest = np.nanmax(np.nan_to_num(np.abs(scores), nan=0.0), axis=0)
    rows = [
        {**row, "largest_z": f"{z:.2f}" if row["status"] == "ok" else None, "_z": z}
        for row, z in zip(status, largest, strict=True)
    ]
    rows.sort(key=lambda row: (_rank(row), -row["_z"] if _rank(row) == 1 else 0, row["scan_id"]))
    files = {
        row["scan_id"]: mosaics / f"shard-{int(row['shard']):04d}" / f"{row['scan_id']}.png"
        for row in rows
    }
    drawn = [row for row in rows if files[row["scan_id"]].is_file()]
    failed, outliers, plain = ([row for row in drawn if _rank(row) == rank] for rank in range(3))
    if len(drawn) > most_pictures:
        room = most_pictures - random_sample
        failed = failed[: max(room // 2, room - len(outliers))]
        outliers = outliers[: room - len(failed)]
        chosen = np.random.default_rng(seed).permutation(len(plain))[:random_sample]
        plain = [plain[index] for index in sorted(chosen)]
    pictures = {
        row["scan_id"]: small_jpeg(files[row["scan_id"]]) for row in [*failed, *outliers, *plain]
    }
    return Review(
        [{key: row.get(key) for key in TABLE_COLUMNS} for row in rows], pictures, len(plain)
    )


def _rank(row: Mapping[str, Any]) -> int:
    """0 for failed scans, 1 for outliers, 2 for the rest."""
    if row["status"] != "ok":
        return 0
    return 1 if row["outlier"] else 2


def small_jpeg(file: Path) -> bytes:
    """A mosaic, made smaller, as JPEG bytes."""
    from PIL import Image as Picture

    with Picture.open(file) as picture:
        small = picture.convert("RGB")
    small.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
