"""Tissue volumes of segmentations that the user's own GIF, FreeSurfer or SPM made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genmorph.errors import ScanError
from genmorph.files import read_tsv, write_json, write_tsv
from genmorph.preprocessing.anatomy import (
    DEEP_GRAY,
    DESCRIPTION,
    VOLUMES_COLUMNS,
    read_map,
    store_described,
)
from genmorph.preprocessing.engines.tissue import TISSUES
from genmorph.store import Store

SPM_CLASSES = {"1": "GM", "2": "WM", "3": "CSF"}
KNOWN = (*TISSUES, DEEP_GRAY)


def import_folder(
    folder: Path, labels: Path | None, source: str, store: Store, out: Path
) -> list[Path]:
    """Write `volumes.tsv` and `anatomy.json` of a folder of maps.

    Parameters
    ----------
    folder : Path
        Files `SCAN_label-GM_probseg.nii.gz` (BIDS derivatives), `c1SCAN.nii` (SPM), or label maps
        `SCAN_dseg.nii.gz`, all of one kind.
    labels : Path, optional
        For label maps: a TSV with the columns `index` and `tissue` (GM, WM, CSF, DGM; other words
        leave a label out).
    source : str
        What made them.
    store : Store
        Whose volumes were segmented.
    out : Path

    Returns
    -------
    list of Path
        Files that were read.

    Raises
    ------
    ScanError
        When there is no such file, a scan lacks a tissue that others have, or the store does not
        know it.
    """
    probabilities = _probability_maps(folder)
    label_maps = {
        path.name.split("_dseg.nii")[0]: path for path in sorted(folder.glob("*_dseg.nii*"))
    }
    if bool(probabilities) == bool(label_maps):
        raise ScanError(
            f"{folder}: {'both' if label_maps else 'neither'} probability and label maps",
            "give a folder with SCAN_label-GM_probseg.nii.gz, c1SCAN.nii or SCAN_dseg.nii.gz",
        )
    if probabilities:
        volumes = _from_probabilities(folder, probabilities)
        read = [path for maps in probabilities.values() for path in maps.values()]
    else:
        volumes = _from_labels(folder, label_maps, labels)
        read = [*label_maps.values(), *([labels] if labels else [])]
    if strangers := sorted(set(volumes) - set(store.ids)):
        raise ScanError(
            f"{folder}: {', '.join(strangers[:3])}: no such volume in {store.folder}",
            "name the files after the ids of that store's index.tsv",
        )
    rows = [
        {"scan_id": scan_id, "status": "ok", "reason": ""}
        | {tissue: f"{volume:.4f}" for tissue, volume in of_scan.items()}
        for scan_id, of_scan in volumes.items()
    ]
    write_json(
        out.with_name(DESCRIPTION),
        {
            "segmentation": {"engine": "the user's own", "software": source},
            "store": store_described(store),
        },
    )
    write_tsv(out, VOLUMES_COLUMNS, rows)
    return read


def _probability_maps(folder: Path) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.nii*")):
        bids = re.fullmatch(r"(.+)_label-([A-Z]+)_probseg\.nii(\.gz)?", path.name)
        spm = re.fullmatch(r"c([123])(.+?)\.nii(\.gz)?", path.name)
        if bids and bids[2] in KNOWN:
            found.setdefault(bids[1], {})[bids[2]] = path
        elif spm:
            found.setdefault(spm[2], {})[SPM_CLASSES[spm[1]]] = path
    return found


def _from_probabilities(
    folder: Path, maps: Mapping[str, Mapping[str, Path]]
) -> dict[str, dict[str, float]]:
    wanted = set().union(*maps.values())
    volumes = {}
    for scan_id, of_scan in maps.items():
        if missing := wanted - set(of_scan):
            raise ScanError(f"{folder}: {scan_id} has no map of {', '.join(sorted(missing))}")
        volumes[scan_id] = {}
        for tissue, path in of_scan.items():
            image = read_map(path)
            if image.data.min() < 0 or image.data.max() > 1.001:
                raise ScanError(f"{path}: values beyond 0 to 1 are no probabilities")
            volumes[scan_id][tissue] = float(image.data.sum(dtype=float) * image.voxel_ml)
    return volumes


def _from_labels(
    folder: Path, maps: Mapping[str, Path], labels: Path | None
) -> dict[str, dict[str, float]]:
    if labels is None:
        raise ScanError(f"{folder}: label maps without a table", "give --labels index/tissue.tsv")
    rows = read_tsv(labels, ("index", "tissue"))
    numbers = {
        tissue: [int(row["index"]) for row in rows if row["tissue"] == tissue] for tissue in KNOWN
    }
    numbers = {tissue: known for tissue, known in numbers.items() if known}
    if not numbers:
        raise ScanError(f"{labels}: no row whose tissue is one of {', '.join(KNOWN)}")
    volumes = {}
    for scan_id, path in maps.items():
        image = read_map(path)
        found = np.rint(image.data).astype(int)
        volumes[scan_id] = {
            tissue: float(np.isin(found, known).sum() * image.voxel_ml)
            for tissue, known in numbers.items()
        }
    return volumes
