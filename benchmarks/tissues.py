"""Tissue segments of real scans against manual labels, with FSL FAST's of the same scans beside.

    python benchmarks/tissues.py segment OASIS_TREE --work FOLDER     (hours on one core)
    python benchmarks/tissues.py score OASIS_TREE --work FOLDER --out tissues.tsv

The tree is that of the MICCAI 2012 labels: skull-stripped scans, brain masks, FAST's segments and
Neuromorphometrics labels with a table that gives each label a tissue. Overlap is scored inside
labelled voxels: fluid in the furrows has no label, so CSF is not scored. Deep gray matter comes
from an atlas made of the *other* people's labels, each brought to the template by their own
registration: of every scan the person's own labels are left out.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import map_coordinates

from genmorph.preprocessing.anatomy import with_deep_gray
from genmorph.preprocessing.engines import tissue
from genmorph.preprocessing.raw import Image, read_scan
from genmorph.processes import limit_threads

# accumbens, amygdala, caudate, hippocampus, pallidum, putamen, thalamus of both sides
DEEP_GRAY = (23, 30, 31, 32, 36, 37, 47, 48, 55, 56, 57, 58, 59, 60)
FAST = {"CSF": 1, "GM": 2, "WM": 3}
PREFIX = "derivatives/reference"


def main() -> None:
    """Segment, or score what was segmented."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("segment", "score"))
    parser.add_argument("tree", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for maps of each scan")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    scans = sorted(chosen.tree.glob("sub-*/**/*_T1w.nii.gz"))
    if chosen.what == "segment":
        chosen.work.mkdir(parents=True, exist_ok=True)
        work = partial(segment, tree=chosen.tree, work=chosen.work)
        with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
            for line in pool.map(work, scans):
                print(line, flush=True)
        return
    table = score_all(chosen.tree, [scan_id(scan) for scan in scans], chosen.work)
    table.to_csv(chosen.out, sep="\t", index=False, float_format="%.4f")
    summarise(table)


def scan_id(scan: Path) -> str:
    """BIDS entities of a scan."""
    return scan.name.removesuffix("_T1w.nii.gz")


def person(name: str) -> str:
    """Who was scanned."""
    return name.split("_")[0]


def reference(tree: Path, name: str, kind: str) -> np.ndarray:
    """A reference map of a scan, in RAS+."""
    (path,) = (tree / PREFIX).rglob(f"{name}_desc-{kind}.nii.gz")
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj).astype(np.int16)


def segment(scan: Path, tree: Path, work: Path) -> str:
    """Segment one scan; its maps, its deep gray matter on the template, and the way back."""
    import ants

    limit_threads(1)
    name = scan_id(scan)
    out = work / f"{name}.npz"
    if out.exists():
        return f"{name}: there already"
    image = read_scan(scan)
    mask = reference(tree, name, "brain_mask") > 0
    options = tissue.TissueSegmentation()
    brain = image.with_data(np.where(mask, image.data, 0).astype(np.float32))
    with tissue.registered(brain, options.registration) as registration:
        maps = tissue.segment_registered(registration, mask, options)
        warp = registration.warp()
        back = ants.apply_transforms(
            tissue._to_ants(brain),
            tissue._to_ants(brain),
            registration.to_scan,
            whichtoinvert=[True, False],
            compose=f"{Path(registration.to_scan[1]).parent}/back_",
        )
        to_template = ants.image_read(back).numpy() * np.float32([-1, -1, 1])
    deep = np.isin(reference(tree, name, "neuromorphometrics_dseg"), DEEP_GRAY)
    np.savez_compressed(
        out,
        deep=warp.pull(deep.astype(np.float32), image.affine).astype(np.float16),
        to_template=to_template.astype(np.float16),
        **{tissue_name: array.astype(np.float16) for tissue_name, array in maps.items()},
    )
    return f"{name}: segmented"


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Overlap of two masks."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def deep_gray_of_others(name: str, deep: dict[str, np.ndarray]) -> np.ndarray:
    """Probability of deep gray matter on the template from other people's labels, one vote each."""
    people: dict[str, list[np.ndarray]] = {}
    for other, array in deep.items():
        if person(other) != person(name):
            people.setdefault(person(other), []).append(array)
    return np.mean([np.mean(scans, axis=0) for scans in people.values()], axis=0)


def score_all(tree: Path, names: list[str], work: Path) -> pd.DataFrame:
    """A row of figures for each scan."""
    labels = pd.read_csv(tree / PREFIX / "desc-neuromorphometrics_dseg.tsv", sep="\t")
    of_tissue = {key: group["index"].tolist() for key, group in labels.groupby("tissue")}
    deep = {}
    for name in names:
        with np.load(work / f"{name}.npz") as arrays:
            deep[name] = arrays["deep"].astype(np.float32)
    _, grid = tissue.template_grid(tissue.TissueSegmentation().registration.working_mm)
    rows = []
    for name in names:
        rows.append(score(tree, name, work, of_tissue, deep_gray_of_others(name, deep), grid))
        print(
            " ".join(f"{k} {v:.3f}" if k != "scan" else v for k, v in rows[-1].items()), flush=True
        )
    return pd.DataFrame(rows)


def score(
    tree: Path,
    name: str,
    work: Path,
    of_tissue: dict[str, list[int]],
    atlas: np.ndarray,
    grid: np.ndarray,
) -> dict[str, float | str]:
    """Overlap and volumes of one scan: with deep gray matter of the atlas, and without."""
    (path,) = tree.rglob(f"{name}_T1w.nii.gz")
    image = read_scan(path)
    manual = reference(tree, name, "neuromorphometrics_dseg")
    fast = reference(tree, name, "fast_dseg")
    truth = {key: np.isin(manual, of_tissue[key]) for key in ("CSF", "GM", "WM")}
    truth["DGM"] = np.isin(manual, DEEP_GRAY)
    labelled = truth["CSF"] | truth["GM"] | truth["WM"]
    with np.load(work / f"{name}.npz") as arrays:
        maps = {key: arrays[key].astype(np.float32) for key in ("CSF", "GM", "WM")}
        to_template = arrays["to_template"].astype(np.float32)
    pulled = pull(Image(atlas.astype(np.float32), grid), image, to_template)
    parts = with_deep_gray(maps, pulled)
    whole = {"CSF": parts["CSF"], "GM": parts["GM"] + parts["DGM"], "WM": parts["WM"]}
    row: dict[str, float | str] = {"scan": name}
    for title, found in (("", whole), ("intensity_", maps)):
        hard = np.argmax(np.stack([found[key] for key in ("CSF", "GM", "WM")]), axis=0)
        hard = np.where(sum(found.values()) > 0.5, hard, -1)
        for number, key in enumerate(("CSF", "GM", "WM")):
            if key != "CSF":
                row[f"{title}{key}_dice"] = dice((hard == number) & labelled, truth[key])
    for key in ("GM", "WM"):
        row[f"FAST_{key}_dice"] = dice((fast == FAST[key]) & labelled, truth[key])
        inside = float(whole[key][labelled].sum() * image.voxel_ml)
        row[f"{key}_ml"], row[f"{key}_manual_ml"] = inside, truth[key].sum() * image.voxel_ml
        row[f"{key}_whole_ml"] = float(whole[key].sum() * image.voxel_ml)
    row["DGM_dice"] = dice(parts["DGM"] > 0.5, truth["DGM"])
    row["DGM_ml"] = float(parts["DGM"].sum() * image.voxel_ml)
    row["DGM_manual_ml"] = truth["DGM"].sum() * image.voxel_ml
    row["CSF_whole_ml"] = float(whole["CSF"].sum() * image.voxel_ml)
    return row


def pull(map_of_template: Image, scan: Image, to_template: np.ndarray) -> np.ndarray:
    """A map of the template on a scan's grid."""
    points = np.indices(scan.data.shape).reshape(3, -1)
    world = scan.affine[:3, :3] @ points + scan.affine[:3, 3:] + to_template.reshape(-1, 3).T
    back = np.linalg.inv(map_of_template.affine)
    indices = back[:3, :3] @ world + back[:3, 3:]
    return map_coordinates(map_of_template.data, indices, order=1).reshape(scan.data.shape)


def summarise(table: pd.DataFrame) -> None:
    """Mean, SD and minimum over people, and what two scans of one person differ by."""
    table = table.assign(person=table["scan"].map(person))
    people = table.drop(columns="scan").groupby("person").mean()
    summary = pd.DataFrame({"mean": people.mean(), "SD": people.std(), "minimum": people.min()})
    print(summary.to_markdown(floatfmt=".3f"))
    better = (people["GM_dice"] > people["FAST_GM_dice"]).sum()
    print(f"gray matter better than FAST's in {better} of {len(people)} people")
    twice = table[table.duplicated("person", keep=False)].groupby("person")
    for key in ("GM_whole_ml", "WM_whole_ml", "CSF_whole_ml", "DGM_ml"):
        change = twice[key].agg(lambda pair: 100 * abs(pair.iloc[0] - pair.iloc[1]) / pair.mean())
        print(f"two scans of a person, {key}: |difference| {change.mean():.2f} % "
              f"({', '.join(f'{value:.2f}' for value in change)})")  # fmt: skip


if __name__ == "__main__":
    main()
