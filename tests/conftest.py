"""Fixtures: tiny trees made anew for each test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from genmorph.processes import limit_threads
from support import finish_study

limit_threads(1)  # before libraries start theirs: sums keep their order, workers their core


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Workflows first, which take longest. Tests of a file stay on one worker, unless their group
    says otherwise: fixtures are made once."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture
def shared_data() -> Path:
    """Real scans for trying, where somebody has them."""
    folder = os.environ.get("GENMORPH_SHARED_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real scans are not at hand: GENMORPH_SHARED_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory):
    """A fresh checkout in which the study has run at scale `smoke`; to be read, not changed.

    `GENMORPH_FINISHED_STUDY` names one that somebody has already, or where it is to be made.
    Workers share it.
    """
    if there := os.environ.get("GENMORPH_FINISHED_STUDY"):
        return finish_study(Path(there))
    base = tmp_path_factory.getbasetemp()
    return finish_study((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke")


@pytest.fixture
def make_bids(tmp_path):
    """A BIDS tree of people with tiny T1w scans; returns its root."""

    def make(people=("01", "02", "03", "04", "05", "06"), name="raw", twice=(), shape=(3, 5, 4)):
        root = tmp_path / name
        root.mkdir()
        (root / "dataset_description.json").write_text(
            json.dumps({"Name": "tiny", "BIDSVersion": "1.11.1", "DatasetType": "raw"})
        )
        lines = ["participant_id\tage\tsex\tdiagnosis"]
        for number, person in enumerate(people):
            lines.append(f"sub-{person}\t{60 + number}\tF\tCN")
            for session in ("ses-1", "ses-2") if person in twice else ("",):
                rng = np.random.default_rng(int(person))
                folder = root / f"sub-{person}" / session / "anat"
                folder.mkdir(parents=True)
                stem = "_".join(filter(None, (f"sub-{person}", session, "T1w")))
                image = nib.Nifti1Image(rng.random(shape, np.float32), np.diag([2, 2, 2, 1.0]))
                image.to_filename(folder / f"{stem}.nii.gz")
                (folder / f"{stem}.json").write_text(json.dumps({"SkullStripped": False}))
        (root / "participants.tsv").write_text("\n".join(lines) + "\n")
        return root

    return make
