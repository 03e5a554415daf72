"""The truth of a simulated cohort, as a BIDS derivative, whatever layout the raw scans have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genmorph.cohorts.reading import TRUTH
from genmorph.cohorts.simulate.anatomy import FIELD_SPACING_MM
from genmorph.cohorts.simulate.grids import Grid
from genmorph.cohorts.simulate.scan import SimulatedScan
from genmorph.cohorts.simulate.scanner import HeadWarp, ScannerGrid
from genmorph.cohorts.simulate.tissue import Tissues
from genmorph.cohorts.simulate.trees.common import (
    BIDS_VERSION,
    GENERATED_BY,
    Made,
    nifti_bytes,
    put,
)
from genmorph.files import write_json, write_tsv

TISSUES = {"GM": ("Gray Matter", 1), "WM": ("White Matter", 2), "CSF": ("Cerebrospinal Fluid", 3)}
EFFECTS = {
    "ventricles": 1,  # what age and disease enlarge
    "medial_temporal": 2,  # what disease shrinks
    "cortex": 3,  # what age and disease thin
}
# what the networks of the realistic atlas score learn, by metrics/labels/simulated.csv
STRUCTURES = {
    "cortex": 1,  # gray matter of cerebellum and brain stem included
    "white matter": 2,
    "cerebrospinal fluid": 3,
    "ventricles": 4,
    "medial temporal gray matter": 5,
    "deep gray matter": 6,
}
TRUTH_COLUMNS: dict[str, tuple[str, str]] = {
    # column: (unit, meaning)
    "scan_id": ("", "scan, by its BIDS entities"),
    "path": ("", "the raw scan below the cohort's root, as a manifest has it"),
    "source_id": ("", "person, as the source spells it"),
    "participant_id": ("", "person"),
    "session_id": ("", "visit; n/a for people seen once"),
    "age": ("year", "age at this scan"),
    "sex": ("", "F or M"),
    "diagnosis": ("", "CN, MCI or AD"),
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


def write_truth(root: Path, scan: SimulatedScan, *, images: bool, atlas: str | None) -> None:
    """Write a scan's true maps, in its own space and orientation.

    Parameters
    ----------
    images : bool
        False writes nothing: volumes stand in the truth table alone.
    atlas : str or None
        Name of the label atlas, when there is one.
    """
    if not images:
        return
    visit, grid, tissues = scan.visit, scan.grid, scan.tissues
    folder = Path(TRUTH, visit.participant_id, visit.session_id or "", "anat").as_posix()

    def write(suffix: str, volume: np.ndarray, slope: float | None = None) -> None:
        content = nifti_bytes(grid.stored(volume), grid.affine, slope=slope)
        put(root, f"{folder}/{visit.scan_id}_{suffix}.nii.gz", content)

    maps = quantised(tissues)
    for label in ("GM", "WM", "CSF", "L"):
        write(f"label-{label}_probseg", tissues.volume(maps[label]), 1 / 255)
    write("desc-brain_mask", tissues.brain.astype(np.uint8))
    classes = np.argmax(np.stack([maps[label] for label in TISSUES]), axis=0).astype(np.uint8) + 1
    write("dseg", tissues.volume(classes))
    effects = effect_regions(tissues, classes)
    write("desc-effects_dseg", tissues.volume(effects))
    write("desc-structures_dseg", tissues.volume(structures(tissues, classes, effects)))
    if scan.labels is not None:
        write(f"seg-{atlas}_dseg", scan.labels)
    displacement, affine = displacement_to_template(scan.warp, grid)
    content = nifti_bytes(displacement, affine, intent="vector")
    put(root, f"{folder}/{visit.scan_id}_from-T1w_to-MNI152_mode-image_xfm.nii.gz", content)


def truth_row(scan: SimulatedScan, path: str, source_id: str) -> dict[str, Any]:
    """A scan's row of the truth table; `path` is the raw scan's."""
    visit, tissues, voxel_ml = scan.visit, scan.tissues, scan.grid.voxel_ml
    maps = quantised(tissues)
    row = {
        "scan_id": visit.scan_id,
        "path": path,
        "source_id": source_id,
        "participant_id": visit.participant_id,
        "session_id": visit.session_id,
        "age": str(visit.age_years),  # as in the other tables
        "sex": visit.sex,
        "diagnosis": visit.diagnosis,
        "brain_ml": float(tissues.brain.sum(dtype=np.int64)) * voxel_ml,
        "gray_matter_ml": _integral_ml(maps["GM"], voxel_ml),
        "white_matter_ml": _integral_ml(maps["WM"], voxel_ml),
        "csf_ml": _integral_ml(maps["CSF"], voxel_ml),
        "lesion_ml": _integral_ml(maps["L"], voxel_ml),
        "ventricle_ml": float(tissues.ventricles.sum(dtype=np.float64)) * voxel_ml,
        "medial_temporal_ml": float(tissues.medial_temporal.sum(dtype=np.float64)) * voxel_ml,
        "gray_to_csf_ml": tissues.gray_to_csf_ml,
        "gray_to_white_ml": tissues.gray_to_white_ml,
        **scan.parameters,
    }
    return {
        key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()
    }


def write_truth_tables(root: Path, made: Made) -> None:
    """Write the derivative's description, its tables and README."""
    truth = root / TRUTH
    write_json(
        truth / "dataset_description.json",
        {
            "Name": "True anatomy of a GenMorph simulated cohort",
            "DatasetType": "derivative",
            "SourceDatasets": [{"URL": "../.."}],
            "BIDSVersion": BIDS_VERSION,
            "GeneratedBy": GENERATED_BY,
            "GenMorph": dict(made.description),
        },
    )
    (truth / "README").write_text(made.readme + _README)
    write_tsv(truth / "truth.tsv", list(TRUTH_COLUMNS), (row for _, row in made.scans))
    write_json(
        truth / "truth.json",
        {
            column: {"Description": meaning} | ({"Units": unit} if unit else {})
            for column, (unit, meaning) in TRUTH_COLUMNS.items()
        },
    )
    if made.description["Truth"] == "volumes":
        return
    write_tsv(
        truth / "dseg.tsv",
        ("index", "name", "abbreviation"),
        (
            {"index": index, "name": name, "abbreviation": label}
            for label, (name, index) in TISSUES.items()
        ),
    )
    write_tsv(
        truth / "desc-effects_dseg.tsv",
        ("index", "name"),
        ({"index": index, "name": name} for name, index in EFFECTS.items()),
    )
    write_tsv(
        truth / "desc-structures_dseg.tsv",
        ("index", "name"),
        ({"index": index, "name": name} for name, index in STRUCTURES.items()),
    )
    write_json(truth / "desc-brain_mask.json", {"Type": "Brain"})
    write_json(
        truth / "from-T1w_to-MNI152_mode-image_xfm.json",
        {
            "Description": "displacement to add to a position of the scan's world to reach the "
            "template: pose, head size and warp in one",
            "VectorAxes": "RAS+",
            "Units": "mm",
        },
    )


def quantised(tissues: Tissues) -> dict[str, np.ndarray]:
    """Tissue fractions in steps of 1/255, uint8; GM + WM + CSF is exactly 255 in the brain mask."""
    steps = {
        label: np.rint(values * np.float32(255.0)).astype(np.int16)
        for label, values in (("GM", tissues.gray), ("WM", tissues.white), ("L", tissues.lesion))
    }
    csf = 255 - steps["GM"] - steps["WM"]
    # two halves of a voxel may both have been rounded up: white matter gives the step back
    steps["WM"] += np.minimum(csf, 0)
    steps["CSF"] = np.maximum(csf, 0)
    steps["L"] = np.minimum(steps["L"], steps["WM"])
    return {label: values.astype(np.uint8) for label, values in steps.items()}


def effect_regions(tissues: Tissues, classes: np.ndarray) -> np.ndarray:
    """Where age and disease act, by `EFFECTS`, for each voxel of the brain mask.

    A voxel belongs to a region when its tissue class is the region's (CSF of the ventricles, gray
    matter of the others) and more than half of that tissue is.

    Parameters
    ----------
    classes : ndarray `[voxels]`
        Tissue class of each voxel, by `TISSUES`.
    """
    _, gray = TISSUES["GM"]
    _, csf = TISSUES["CSF"]
    regions = np.zeros(classes.shape, np.uint8)
    regions[(classes == gray) & (tissues.cortex > 0.5 * tissues.gray)] = EFFECTS["cortex"]
    temporal = (classes == gray) & (tissues.medial_temporal > 0.5 * tissues.gray)
    regions[temporal] = EFFECTS["medial_temporal"]
    regions[(classes == csf) & (tissues.ventricles > 0.5 * tissues.csf)] = EFFECTS["ventricles"]
    return regions


def structures(tissues: Tissues, classes: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """The structure of each voxel of the brain mask, by `STRUCTURES`.

    Parameters
    ----------
    classes : ndarray `[voxels]`
        Tissue class, by `TISSUES`.
    effects : ndarray `[voxels]`
        From `effect_regions`.
    """
    of_class = np.zeros(len(TISSUES) + 1, np.uint8)
    of_class[TISSUES["GM"][1]] = STRUCTURES["cortex"]
    of_class[TISSUES["WM"][1]] = STRUCTURES["white matter"]
    of_class[TISSUES["CSF"][1]] = STRUCTURES["cerebrospinal fluid"]
    found = of_class[classes]
    deep = (classes == TISSUES["GM"][1]) & (tissues.deep_gray > 0.5 * tissues.gray)
    found[deep] = STRUCTURES["deep gray matter"]
    # hippocampus reaches into the ellipsoid of the deep gray matter
    found[effects == EFFECTS["medial_temporal"]] = STRUCTURES["medial temporal gray matter"]
    found[effects == EFFECTS["ventricles"]] = STRUCTURES["ventricles"]
    return found


def displacement_to_template(warp: HeadWarp, grid: ScannerGrid) -> tuple[np.ndarray, np.ndarray]:
    """Displacement from a scan's world to the template over its field of view.

    The grid is the warp's own spacing whatever the scan's voxels, on the axes of the world.

    Returns
    -------
    displacement : ndarray `[x, y, z, 1, 3]`, float32
        In mm, components to the right, front and top, as NIfTI has vectors.
    affine : ndarray `[4, 4]`
    """
    low = np.asarray(grid.origin_mm)
    high = low + np.asarray(grid.voxel_mm) * (np.asarray(grid.shape) - 1)
    coarse = Grid.over(tuple(low), tuple(high), FIELD_SPACING_MM)
    moved = warp.points(coarse.axes()) - coarse.points()
    return np.moveaxis(moved, 0, -1)[:, :, :, None, :].astype(np.float32), coarse.affine


def _integral_ml(steps: np.ndarray, voxel_ml: float) -> float:
    return float(steps.sum(dtype=np.int64)) / 255.0 * voxel_ml


_README = """
## Files of the truth

Names begin with the scan id of `truth.tsv`, whose column `path` says which raw scan it is. All maps
but the displacement lie on the raw scan's voxels, with its orientation.

- `label-{GM,WM,CSF,L}_probseg`: fractions in steps of 1/255; L are lesions.
- `desc-brain_mask`, `dseg`: the mask, and the largest of the three fractions in it (`dseg.tsv`).
- `desc-effects_dseg`: where age and disease act: lateral ventricles, medial temporal gray matter,
  cortex, that of the cerebellum included (`desc-effects_dseg.tsv`).
- `desc-structures_dseg`: each voxel of the mask has one label: lateral ventricles and other CSF,
  medial temporal, deep and all other gray matter, white matter (`desc-structures_dseg.tsv`).
- `from-T1w_to-MNI152_mode-image_xfm`: displacement (x, y, z, 1, 3; mm; RAS+) on a grid of 4 mm, to
  add to a position of the scan's world to reach the template: pose, head size and warp in one.
  Between the grid's points take it trilinear.
- `seg-NAME_dseg`: regions of a label atlas, when one was given; `dataset_description.json` has its
  licence and SHA-256.
"""
