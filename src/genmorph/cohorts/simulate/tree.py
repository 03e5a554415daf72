"""A simulated cohort on disk: a BIDS dataset, and its truth as a BIDS derivative."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genmorph import __version__
from genmorph.cohorts.simulate.grids import Grid
from genmorph.cohorts.simulate.person import Visit
from genmorph.cohorts.simulate.scan import SimulatedScan
from genmorph.cohorts.simulate.tissue import Tissues
from genmorph.files import write_json, write_tsv

BIDS_VERSION = "1.11.1"
TRUTH = Path("derivatives/truth")
LABELS = {"GM": 1, "WM": 2, "CSF": 3}  # of the discrete segmentation
GENERATED_BY = [
    {
        "Name": "genmorph",
        "Version": __version__,
        "Description": "genmorph simulate: warps of the MNI152 average inside a made head",
    }
]

TRUTH_COLUMNS: dict[str, tuple[str, str]] = {
    # column: (unit, meaning)
    "scan_id": ("", "scan, by its BIDS entities"),
    "participant_id": ("", "person"),
    "session_id": ("", "visit; n/a for people seen once"),
    "age": ("year", "age at this scan"),
    "sex": ("", "F or M"),
    "diagnosis": ("", "CN or AD"),
    "brain_ml": ("ml", "volume of desc-brain_mask"),
    "gray_matter_ml": ("ml", "integral of label-GM_probseg"),
    "white_matter_ml": ("ml", "integral of label-WM_probseg, lesions included"),
    "csf_ml": ("ml", "integral of label-CSF_probseg"),
    "ventricle_ml": ("ml", "CSF of the lateral and third ventricles"),
    "medial_temporal_ml": ("ml", "gray matter of hippocampus and neighbours, both sides"),
    "lesion_ml": ("ml", "integral of label-L_probseg"),
    "lesion_count": ("", "focal lesions present at this age"),
    "gray_to_csf_ml": ("ml", "cortex turned to CSF by class change, not by a warp (net)"),
    "gray_to_white_ml": ("ml", "cortex turned to white matter by class change"),
    "head_scale_x": ("", "size of the head relative to the template, left to right"),
    "head_scale_y": ("", "size of the head relative to the template, back to front"),
    "head_scale_z": ("", "size of the head relative to the template, bottom to top"),
    "ventricle_scale": ("", "wanted ventricle volume relative to the template"),
    "cortex_scale": ("", "wanted cortical volume relative to the template"),
    "medial_temporal_scale": ("", "wanted medial temporal volume relative to the template"),
    "minimum_jacobian": ("", "least Jacobian determinant of the warp from person to template"),
    "gray_signal": ("", "signal of gray matter, white matter being 1"),
    "csf_signal": ("", "signal of CSF, white matter being 1"),
    "lesion_signal": ("", "signal of lesions, white matter being 1"),
    "noise_fraction": ("", "noise of each channel, white matter being 1"),
    "bias_amplitude": ("", "largest relative change by the bias field over the head"),
    "fluid_mm": ("mm", "fluid between the brain's hull and the skull, before head size"),
    "skull_mm": ("mm", "thickness of the skull, before head size"),
    "scalp_mm": ("mm", "thickness of the scalp, before head size"),
    "rotation_x_degrees": ("degree", "rotation about the left-right axis, applied first"),
    "rotation_y_degrees": ("degree", "rotation about the back-front axis, applied second"),
    "rotation_z_degrees": ("degree", "rotation about the bottom-top axis, applied last"),
    "translation_x_mm": ("mm", "shift to the right"),
    "translation_y_mm": ("mm", "shift to the front"),
    "translation_z_mm": ("mm", "shift upwards"),
}


def write_scan(root: Path, scan: SimulatedScan) -> dict[str, Any]:
    """Write one scan with its sidecar and truth; return its row of the truth table."""
    visit, grid = scan.visit, scan.grid
    folder = Path(visit.participant_id, visit.session_id or "", "anat")
    raw, truth = root / folder, root / TRUTH / folder
    raw.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    name = visit.scan_id

    _write_nifti(raw / f"{name}_T1w.nii.gz", scan.image, grid)
    write_json(raw / f"{name}_T1w.json", _sidecar(scan))

    maps = quantised(scan.tissues)
    brain = scan.tissues.brain.astype(np.uint8)
    for label in ("GM", "WM", "CSF", "L"):
        _write_nifti(truth / f"{name}_label-{label}_probseg.nii.gz", maps[label], grid, 1 / 255)
    _write_nifti(truth / f"{name}_desc-brain_mask.nii.gz", brain, grid)
    stacked = np.stack([maps[label] for label in LABELS])
    labels = (np.argmax(stacked, axis=0).astype(np.uint8) + 1) * brain
    _write_nifti(truth / f"{name}_dseg.nii.gz", labels, grid)

    volumes = {
        "brain_ml": float(brain.sum(dtype=np.int64)) * grid.voxel_ml,
        "gray_matter_ml": _integral_ml(maps["GM"], grid),
        "white_matter_ml": _integral_ml(maps["WM"], grid),
        "csf_ml": _integral_ml(maps["CSF"], grid),
        "lesion_ml": _integral_ml(maps["L"], grid),
        "ventricle_ml": _sum(scan.tissues.ventricles) * grid.voxel_ml,
        "medial_temporal_ml": _sum(scan.tissues.medial_temporal) * grid.voxel_ml,
        "gray_to_csf_ml": scan.tissues.gray_to_csf_ml,
        "gray_to_white_ml": scan.tissues.gray_to_white_ml,
    }
    row = {
        "scan_id": name,
        "participant_id": visit.participant_id,
        "session_id": visit.session_id,
        "age": str(visit.age_years),  # as in the other tables
        "sex": visit.sex,
        "diagnosis": visit.diagnosis,
        **volumes,
        **scan.parameters,
    }
    return {
        key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()
    }


def write_tables(
    root: Path,
    visits: Sequence[Visit],
    rows: Sequence[dict[str, Any]],
    *,
    seed: int,
    resolution_mm: float,
    data_label: str,
) -> None:
    """Write descriptions, participants, sessions, truth table and README."""
    made = {
        "Simulated": True,
        "DataLabel": data_label,
        "Seed": seed,
        "ResolutionMm": resolution_mm,
        "Scans": len(visits),
    }
    common = {
        "BIDSVersion": BIDS_VERSION,
        "GeneratedBy": GENERATED_BY,
        "GenMorph": made,
    }
    write_json(
        root / "dataset_description.json",
        {"Name": "GenMorph simulated cohort", "DatasetType": "raw", **common},
    )
    (root / "README").write_text(_readme(seed, resolution_mm, data_label))
    _write_people(root, visits)

    truth = root / TRUTH
    write_json(
        truth / "dataset_description.json",
        {
            "Name": "True anatomy of a GenMorph simulated cohort",
            "DatasetType": "derivative",
            "SourceDatasets": [{"URL": "../.."}],
            **common,
        },
    )
    write_tsv(truth / "truth.tsv", list(TRUTH_COLUMNS), rows)
    write_json(
        truth / "truth.json",
        {
            column: {"Description": meaning} | ({"Units": unit} if unit else {})
            for column, (unit, meaning) in TRUTH_COLUMNS.items()
        },
    )
    names = {"GM": "Gray Matter", "WM": "White Matter", "CSF": "Cerebrospinal Fluid"}
    write_tsv(
        truth / "dseg.tsv",
        ("index", "name", "abbreviation"),
        (
            {"index": index, "name": names[label], "abbreviation": label}
            for label, index in LABELS.items()
        ),
    )
    write_json(truth / "desc-brain_mask.json", {"Type": "Brain"})


def quantised(tissues: Tissues) -> dict[str, np.ndarray]:
    """Tissue fractions in steps of 1/255, uint8; GM + WM + CSF is exactly 255 in the brain mask."""
    steps = {
        label: np.rint(volume * np.float32(255.0)).astype(np.int16)
        for label, volume in (("GM", tissues.gray), ("WM", tissues.white), ("L", tissues.lesion))
    }
    csf = 255 * tissues.brain.astype(np.int16) - steps["GM"] - steps["WM"]
    # two halves of a voxel may both have been rounded up: white matter gives the step back
    steps["WM"] += np.minimum(csf, 0)
    steps["CSF"] = np.maximum(csf, 0)
    steps["L"] = np.minimum(steps["L"], steps["WM"])
    return {label: volume.astype(np.uint8) for label, volume in steps.items()}


def _sum(volume: np.ndarray) -> float:
    return float(volume.sum(dtype=np.float64))


def _integral_ml(steps: np.ndarray, grid: Grid) -> float:
    return float(steps.sum(dtype=np.int64)) / 255.0 * grid.voxel_ml


def _sidecar(scan: SimulatedScan) -> dict[str, Any]:
    return {
        "Modality": "MR",
        "MagneticFieldStrength": scan.acquisition.field_strength_tesla,
        "Manufacturer": "none (simulated)",
        "MRAcquisitionType": "3D",
        "ScanningSequence": "SIM",
        "SeriesDescription": "synthetic T1-weighted head made by genmorph simulate",
        "SkullStripped": False,
        "BodyPart": "HEAD",
        "Synthetic": True,
    }


def _write_people(root: Path, visits: Sequence[Visit]) -> None:
    first = {visit.participant_id: visit for visit in reversed(visits)}
    write_tsv(
        root / "participants.tsv",
        ("participant_id", "age", "sex", "diagnosis"),
        (
            {
                "participant_id": person,
                "age": visit.age_years,
                "sex": visit.sex,
                "diagnosis": visit.diagnosis,
            }
            for person, visit in sorted(first.items())
        ),
    )
    write_json(
        root / "participants.json",
        {
            "age": {"Description": "age at the first scan", "Units": "year"},
            "sex": {"Description": "sex", "Levels": {"F": "female", "M": "male"}},
            "diagnosis": {
                "Description": "simulated diagnosis",
                "Levels": {"CN": "cognitively normal", "AD": "Alzheimer's disease"},
            },
        },
    )
    columns = {
        "session_id": {"Description": "visit"},
        "age": {"Description": "age at this visit", "Units": "year"},
    }
    for person, visit in first.items():
        if visit.session_id is None:
            continue
        rows = [
            {"session_id": other.session_id, "age": other.age_years}
            for other in visits
            if other.participant_id == person
        ]
        path = root / person / f"{person}_sessions"
        write_tsv(path.with_suffix(".tsv"), list(columns), rows)
        write_json(path.with_suffix(".json"), columns)


def _write_nifti(path: Path, volume: np.ndarray, grid: Grid, slope: float | None = None) -> None:
    """Write an image whose bytes depend on nothing but its content (no time, no file name)."""
    import nibabel as nib

    image = nib.Nifti1Image(volume, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code="scanner")
    image.set_qform(grid.affine, code="scanner")
    if slope is not None:
        image.header.set_slope_inter(slope, 0.0)
    with (
        path.open("wb") as stream,
        gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=stream, mtime=0) as zipped,
    ):
        zipped.write(image.to_bytes())


def _readme(seed: int, resolution_mm: float, data_label: str) -> str:
    return f"""# GenMorph simulated cohort

{data_label}

Made by `genmorph simulate` with seed {seed} at {resolution_mm:g} mm. Nobody was scanned.

Each head is the MNI152 average (2009a, as packaged with nilearn) under a smooth diffeomorphic
warp: modes of head shape shared by the cohort, growth of the ventricles, loss of cortex and of the
medial temporal lobe with age and disease, and a smaller part of each person's own. What no warp
explains comes on top: each person's tissue signals, focal lesions near the ventricles, patches
where cortex turns to CSF or white matter. Skull, scalp, face, bias field, Rician noise and pose
surround it.

`derivatives/truth` holds, in each scan's own space, the true fractions of gray matter, white
matter, CSF and lesions (lesions are part of the white matter; the other three sum to one inside
the brain mask), the brain mask, a discrete segmentation, and `truth.tsv` with volumes and the
numbers each person was made from. `truth.json` says what its columns mean.

The anatomy derives from the ICBM 2009a nonlinear symmetric average (McConnell Brain Imaging
Centre, Montreal Neurological Institute): its terms of use and its citation apply to these images.
"""
