"""The shape of P5's Table 2 from measurements of known volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from genmorph.errors import MeasurementError
from genmorph.metrics.tissue_volumes import TISSUES, compare_tissue_volumes
from genmorph.publish.tissue_table import tissue_table

# a pattern of mean 0 and SD 1 for 30 values
PATTERN = np.array([-1.0, 1.0] * 15) * np.sqrt(29 / 30)


def table(means, sds, prefix, n=30):
    columns = {
        tissue: mean + sd * PATTERN[:n]
        for tissue, mean, sd in zip(TISSUES, means, sds, strict=True)
    }
    return pd.DataFrame({"scan_id": [f"{prefix}{row}" for row in range(n)], **columns})


def compared(means, sds, *, n=30, real=(595, 460, 280, 40), **options):
    return compare_tissue_volumes(
        table(means, sds, "sample-", n),
        table(real, (32, 29, 21, 3), "sub-"),
        **{"comparisons": 48, "source": {"engine": "made"}, **options},
    )


@pytest.fixture
def measurements():
    return {
        ("young", "VQ-VAE"): compared((587, 472, 283, 40), (24, 20, 11, 2)),
        ("old", "VQ-VAE"): compared((587, 472, 310, 40), (24, 20, 11, 2), real=(580, 450, 283, 40)),
        ("young", "VAE"): compared((550, 420, 234, 34), (1, 1, 1, 0)),
    }


def test_rows_columns_and_bold_marks(measurements):
    found = tissue_table(measurements)
    assert list(found.index) == [
        *(("young", model) for model in ("Real", "VQ-VAE", "VAE")),
        *(("old", model) for model in ("Real", "VQ-VAE")),
    ]
    assert list(found.columns) == list(TISSUES)
    assert list(found.loc["young", "Real"]) == ["595 ± 32", "460 ± 29", "280 ± 21", "40 ± 3"]
    assert list(found.loc["young", "VQ-VAE"]) == [
        "**587 ± 24**", "**472 ± 20**", "**283 ± 11**", "**40 ± 2**",
    ]  # fmt: skip
    assert list(found.loc["young", "VAE"]) == ["550 ± 1", "420 ± 1", "234 ± 1", "34 ± 0"]
    assert found.loc["old", "VQ-VAE"]["CSF"] == "310 ± 11"


def test_details_stand_beside_each_tissue(measurements):
    found = tissue_table(measurements, details=True)
    assert list(found.columns)[:4] == ["GM", "GM difference", "GM equivalence", "WM"]
    assert found.loc["young", "VAE"]["CSF difference"].startswith("-46.0 ml; -16.4 %; -53.8 to")
    assert found.loc["young", "VAE"]["CSF equivalence"] == "not shown (p = 1)"
    assert found.loc["young", "VQ-VAE"]["GM equivalence"].startswith("equivalent (p = 0.00")
    assert found.loc["young", "Real"]["GM difference"] == ""


def test_small_sides_and_missing_tissues_are_not_bold():
    few = compared((587, 472, 283, 40), (24, 20, 11, 2), n=19)
    one = compared((587, 472, 283, 40), (24, 20, 11, 2), n=1)
    generated = table((587, 472, 283, 40), (24, 20, 11, 2), "sample-").assign(DGM=np.nan)
    without = compare_tissue_volumes(
        generated,
        table((595, 460, 280, 40), (32, 29, 21, 3), "sub-"),
        comparisons=48,
        source={"engine": "made"},
    )
    assert tissue_table({("young", "few"): few}).iloc[1]["GM"].endswith("± 24 (underpowered)")
    assert tissue_table({("young", "one"): one}).iloc[1]["GM"] == "563"
    found = tissue_table({("young", "without"): without}, details=True)
    assert found.iloc[1]["DGM"] == found.iloc[1]["DGM difference"] == "n/a"
    assert found.iloc[1]["DGM equivalence"] == "n/a"


def test_what_does_not_belong_in_one_table_is_refused(measurements):
    with pytest.raises(MeasurementError, match="no measurements"):
        tissue_table({})
    first = measurements["young", "VQ-VAE"]
    other = compared((587, 472, 283, 40), (24, 20, 11, 2), comparisons=8)
    with pytest.raises(MeasurementError, match="differ in comparisons, level"):
        tissue_table({**measurements, ("old", "VAE"): other})
    other = compared((587, 472, 283, 40), (24, 20, 11, 2), real=(595, 460, 281, 40))
    with pytest.raises(MeasurementError, match=r"VAE and VQ-VAE of young .* different real scans"):
        tissue_table({("young", "VQ-VAE"): first, ("young", "VAE"): other})
    with pytest.raises(MeasurementError, match="a measurement of frechet"):
        tissue_table({("young", "VQ-VAE"): replace(first, measure="frechet")})
    with pytest.raises(MeasurementError, match="is called Real"):
        tissue_table({("young", "Real"): first})


def test_seeds_of_a_run_share_a_table(measurements):
    run = {
        key: replace(one, settings={**one.settings, "run": {"model": key[1], "seed": 0}})
        for key, one in measurements.items()
    }
    assert tissue_table(run).equals(tissue_table(measurements))
