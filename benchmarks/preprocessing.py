"""How right preprocessing is, and what it costs, on scans whose truth is known.

    python benchmarks/preprocessing.py heads LABEL_MAPS --voxel 1 --out heads_1mm.tsv
    python benchmarks/preprocessing.py simulated RAW_TREE --out simulated.tsv
    python benchmarks/preprocessing.py oasis OASIS_TREE --out oasis.tsv

`heads`: made from label maps (`made_heads.py`), anatomies that neither engine nor priors have seen.
`simulated`: a tree of `genmorph simulate --layout bids`; its heads come from the same template as
the engine's, so the figures are optimistic.
`oasis`: real scans with reference masks and labels.
`cost`: seconds of each step and peak memory of a worker, two workers side by side; `--scans 100`
goes through the tree's scans again and again.

    python benchmarks/preprocessing.py cost RAW_TREE --scans 10 --out cost.tsv

Each writes a row a scan and prints means and SDs as a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from made_heads import MadeHead, label_maps, make_head
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from genmorph.cohorts.simulate.scanner import bias_field
from genmorph.cohorts.simulate.trees import bids
from genmorph.preprocessing import scan
from genmorph.preprocessing.engines import builtin, tissue
from genmorph.preprocessing.raw import Image, read_scan
from genmorph.preprocessing.scan import preprocess_image
from genmorph.processes import limit_threads
from genmorph.seeds import derive_seed
from genmorph.studies import load_spec

# Neuromorphometrics numbers of the reference labels, by tissue
NEUROMORPHOMETRICS = {
    "ventricles": (4, 11, 49, 50, 51, 52),
    "white matter": (44, 45),
    "deep gray matter": (23, 30, 31, 32, 36, 37, 47, 48, 55, 56, 57, 58, 59, 60),
}
CORTEX_FROM = 100


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("heads", "simulated", "oasis", "cost"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--voxel", type=int, choices=(1, 2), default=1, help="of made heads, in mm")
    parser.add_argument("--tissues", action="store_true", help="segment tissues too (slow)")
    parser.add_argument("--scans", type=int, default=10, help="that `cost` goes through")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    limit_threads(1)
    if chosen.what == "oasis":
        rows = oasis(chosen.folder)
    elif chosen.what == "cost":
        rows = cost(chosen.folder, chosen.scans)
    else:
        made = (
            made_heads(chosen.folder, chosen.voxel)
            if chosen.what == "heads"
            else simulated_heads(chosen.folder)
        )
        rows = (measure_head(name, head, moved, chosen.tissues) for name, head, moved in made)
    table = pd.DataFrame(report(row) for row in rows)
    table.to_csv(chosen.out, sep="\t", index=False, float_format="%.4f")
    numbers = table.drop(columns="scan")
    summary = pd.DataFrame({"mean": numbers.mean(), "SD": numbers.std(), "n": numbers.count()})
    print(summary.to_markdown(floatfmt=".3f"))


def report(row: dict[str, Any]) -> dict[str, Any]:
    """Say that a scan is done."""
    print(
        " ".join(f"{key} {value:.3f}" if key != "scan" else value for key, value in row.items()),
        flush=True,
    )
    return row


# -- heads with known truth ------------------------------------------------------------------------


def known_pose(seed: int) -> np.ndarray:
    """A rigid motion and a small change of size (mm to mm)."""
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    turn = Rotation.from_euler("xyz", rng.uniform(-8, 8, 3), degrees=True).as_matrix()
    pose[:3, :3] = turn @ np.diag(rng.uniform(0.97, 1.03, 3))
    pose[:3, 3] = rng.uniform(-5, 5, 3)
    return pose


def made_heads(folder: Path, voxel_mm: int) -> Iterator[tuple[str, MadeHead, tuple]]:
    """Heads made from label maps, each also in another pose with other noise and bias."""
    for number, path in enumerate(label_maps(folder)):
        pose = known_pose(number)
        head = make_head(path, number, voxel_mm=voxel_mm)
        other = make_head(path, 100 + number, voxel_mm=voxel_mm, pose=pose)
        yield path.name.removesuffix(".nii.gz"), head, (other.image, pose)


def simulated_heads(root: Path) -> Iterator[tuple[str, MadeHead, tuple]]:
    """Heads of a simulated tree with their truth, each also resampled to another pose."""
    truth = root / "derivatives" / "truth"
    table = pd.read_csv(truth / "truth.tsv", sep="\t").set_index("scan_id")
    described = json.loads((root / "dataset_description.json").read_text())["GenMorph"]
    scanner = bids.SCANNER.at(described["ResolutionMm"])
    for number, path in enumerate(sorted(root.glob("sub-*/**/anat/*_T1w.nii.gz"))):
        scan_id = path.name.removesuffix("_T1w.nii.gz")
        image = read_scan(path)
        folder = truth / path.parent.relative_to(root)

        def volume(suffix: str, folder: Path = folder, scan_id: str = scan_id) -> np.ndarray:
            file = nib.load(folder / f"{scan_id}_{suffix}.nii.gz")
            return nib.as_closest_canonical(file).get_fdata(dtype=np.float32)

        brain = volume("desc-brain_mask") > 0.5
        row = table.loc[scan_id]
        tissue_ml = {"GM": row["gray_matter_ml"], "WM": row["white_matter_ml"]}
        # drawn again as the simulator drew it: the field is no part of a tree
        drawn = np.random.default_rng(derive_seed(described["Seed"], "simulate", scan_id, "bias"))
        field = np.concatenate(list(bias_field(drawn, scanner.grid(), row["bias_amplitude"])))
        head = MadeHead(image, brain, brain, tissue_ml, np.log(field))
        pose = known_pose(number)
        pull = np.linalg.inv(image.affine) @ np.linalg.inv(pose) @ image.affine
        moved = affine_transform(image.data, pull[:3, :3], pull[:3, 3], order=1)
        yield scan_id, head, (image.with_data(moved), pose)


def measure_head(
    name: str, head: MadeHead, moved: tuple[Image, np.ndarray], tissues: bool
) -> dict[str, Any]:
    """Every step of the `m3ae` recipe against the truth, with its seconds."""
    recipe = load_spec("m3ae").recipe
    row: dict[str, Any] = {"scan": name}

    def timed(step: str, run: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = run()
        row[f"{step}_s"] = time.perf_counter() - start
        return result

    corrected = timed(
        "bias_correction",
        lambda: builtin.correct_bias(head.image, None, recipe.step("bias_correction")),
    )
    if head.log_bias is not None:
        estimated = np.log(
            np.maximum(head.image.data, 1) / np.maximum(corrected.data, np.finfo(np.float32).tiny)
        )
        row["bias_correlation"] = np.corrcoef(estimated[head.brain], head.log_bias[head.brain])[
            0, 1
        ]
    mask = timed(
        "brain_extraction",
        lambda: builtin.extract_brain(corrected, recipe.step("brain_extraction")),
    )
    row["brain_dice"], row["cranial_dice"] = dice(mask, head.brain), dice(mask, head.cranial)
    brain = corrected.with_data(np.where(mask, corrected.data, 0))
    registration = recipe.step("registration")
    affine = timed("registration", lambda: builtin.register_affine(brain, registration))
    image, pose = moved
    other = builtin.correct_bias(image, None, recipe.step("bias_correction"))
    other_mask = builtin.extract_brain(other, recipe.step("brain_extraction"))
    other_affine = builtin.register_affine(
        other.with_data(np.where(other_mask, other.data, 0)), registration
    )
    row["affine_error_mm"] = consistency_mm(affine, other_affine, pose, head)
    if tissues:
        maps = timed(
            "tissue_segmentation",
            lambda: tissue.segment_tissues(brain, mask, tissue.TissueSegmentation()),
        )
        for label in ("GM", "WM"):
            volume = maps[label].sum() * brain.voxel_ml
            row[f"{label}_bias_percent"] = 100 * (volume / head.tissue_ml[label] - 1)
    return row


def consistency_mm(
    affine: np.ndarray, other: np.ndarray, pose: np.ndarray, head: MadeHead
) -> float:
    """Mean distance over the brain between the known motion and the one that two registrations
    imply."""
    voxels = np.argwhere(head.brain)[::97]
    points = np.c_[voxels, np.ones(len(voxels))] @ head.image.affine.T
    implied = points @ (other @ np.linalg.inv(affine)).T
    return float(np.linalg.norm((implied - points @ pose.T)[:, :3], axis=1).mean())


# -- what it costs ---------------------------------------------------------------------------------


def cost(root: Path, n: int) -> Iterator[dict[str, Any]]:
    """Seconds of each step of the `m3ae` recipe, and a worker's peak memory so far."""
    paths = sorted(root.glob("sub-*/**/anat/*_T1w.nii.gz"))
    start = time.perf_counter()
    with ProcessPoolExecutor(2, get_context("spawn"), limit_threads, (1,)) as pool:
        yield from pool.map(cost_of, itertools.islice(itertools.cycle(paths), n))
    print(f"{n} scans in {time.perf_counter() - start:.0f} s, two workers")


def cost_of(path: Path) -> dict[str, Any]:
    """One scan through the recipe in this process."""
    seconds: dict[str, float] = {}

    def timed(step: str, carry_out: Callable[..., None]) -> Callable[..., None]:
        def run(work: Any, options: Any) -> None:
            start = time.perf_counter()
            carry_out(work, options)
            seconds[f"{step}_s"] = time.perf_counter() - start

        return run

    untimed = dict(scan.CARRY_OUT)
    scan.CARRY_OUT.update({kind: timed(kind.__name__, run) for kind, run in untimed.items()})
    start = time.perf_counter()
    try:
        preprocess_image(read_scan(path), load_spec("m3ae").recipe, skull_stripped=False)
    finally:
        scan.CARRY_OUT.update(untimed)
    name = path.name.removesuffix("_T1w.nii.gz")
    whole = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"scan": name, **seconds, "whole_s": whole, "peak_memory_mb": peak_mb}


# -- real scans with reference labels --------------------------------------------------------------


def oasis(root: Path) -> Iterator[dict[str, Any]]:
    """Overlap on the template's grid: of the mask with the template, of labels between people."""
    recipe = load_spec("m3ae").recipe
    grid_affine = np.asarray(recipe.grid_affine())
    template = builtin.template()
    inside = on_grid(template.data > 0, template.affine, np.eye(4), grid_affine, recipe.grid) > 0
    carried: dict[str, dict[str, np.ndarray]] = {}
    for path in sorted(root.glob("sub-*/**/anat/*_T1w.nii.gz")):
        name = path.name.removesuffix("_T1w.nii.gz")
        done = preprocess_image(read_scan(path), recipe, skull_stripped=True)
        folder = root / "derivatives/reference" / path.parent.relative_to(root)
        mask = nib.load(folder / f"{name}_desc-brain_mask.nii.gz")
        labels = nib.load(folder / f"{name}_desc-neuromorphometrics_dseg.nii.gz")
        brain, ids = (
            on_grid(np.asarray(file.dataobj), file.affine, done.affine, grid_affine, recipe.grid)
            for file in (mask, labels)
        )
        carried[name] = {
            "cortex": ids >= CORTEX_FROM,
            **{group: np.isin(ids, numbers) for group, numbers in NEUROMORPHOMETRICS.items()},
        }
        carried[name]["brain"] = brain > 0
    for name, own in carried.items():
        others = [
            other for key, other in carried.items() if key.split("_")[0] != name.split("_")[0]
        ]
        yield {
            "scan": name,
            "mask_with_template": dice(own["brain"], inside),
            **{
                f"{group}_between_people": float(
                    np.mean([dice(own[group], other[group]) for other in others])
                )
                for group in own
            },
        }


def on_grid(
    data: np.ndarray,
    data_affine: np.ndarray,
    affine: np.ndarray,
    grid_affine: np.ndarray,
    grid: tuple[int, ...],
) -> np.ndarray:
    """Labels on the recipe's grid, by nearest neighbour."""
    pull = np.linalg.inv(data_affine) @ affine @ grid_affine
    return affine_transform(
        np.rint(data).astype(np.int32), pull[:3, :3], pull[:3, 3], output_shape=grid, order=0
    )


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Overlap of two masks: 1 when they are the same."""
    return float(2 * (first & second).sum() / max(first.sum() + second.sum(), 1))


if __name__ == "__main__":
    main()
