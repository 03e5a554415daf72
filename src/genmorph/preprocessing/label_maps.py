"""Label maps of preprocessed volumes, from files, on the grid of their store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing.anatomy import read_map
from genmorph.store import Store

SUFFIX = "_dseg"
# share of the labelled voxels that must lie on the brain; those of a scan that was not yet
# preprocessed lie elsewhere
LEAST_ON_BRAIN = 0.8


class LabelMaps(Mapping[str, np.ndarray]):
    """Label maps of a store's volumes by scan id, read at every access.

    Parameters
    ----------
    folder : Path
        Holds `SCAN_dseg.nii.gz`, at any depth, made of the preprocessed volumes as
        `genmorph export` writes them. A map may have another grid in the same space: it is brought
        to the store's by nearest neighbour.
    store : Store
    suffix : str
        What follows the scan's id in a file's name.

    Raises
    ------
    ScanError
        When there is no map of any of the store's volumes, or two of one.
    """

    def __init__(self, folder: Path, store: Store, suffix: str = SUFFIX) -> None:
        self.store = store
        self.files: dict[str, Path] = {}
        for path in sorted(folder.rglob(f"*{suffix}.nii*")):
            scan_id = path.name.split(f"{suffix}.nii")[0]
            if scan_id in self.files:
                raise ScanError(f"{folder}: two label maps of {scan_id}", "keep one of them")
            if scan_id in store:
                self.files[scan_id] = path
        if not self.files:
            raise ScanError(
                f"{folder}: no SCAN{suffix}.nii.gz of a scan in {store.folder}",
                "name the files after the ids of that store's index.tsv",
            )

    def __getitem__(self, scan_id: str) -> np.ndarray:
        """Numbers `[x, y, z]` of the source, int32.

        Raises
        ------
        ScanError
            When the map cannot be read, or does not lie on the volume's brain.
        """
        from scipy.ndimage import affine_transform

        image = read_map(self.files[scan_id])
        pull = np.linalg.inv(image.affine) @ self.store.affine
        labels = affine_transform(
            np.rint(image.data).astype(np.int32),
            pull[:3, :3],
            pull[:3, 3],
            output_shape=self.store.shape,
            order=0,
            mode="grid-constant",
        )
        volume = self.store.read(scan_id)
        labelled = labels != 0
        on_brain = float((volume[labelled] > volume.min()).mean()) if labelled.any() else 0.0
        if on_brain < LEAST_ON_BRAIN:
            raise ScanError(
                f"{self.files[scan_id]}: {on_brain:.0%} of its labels lie on the brain of "
                f"{scan_id}",
                "label the preprocessed volumes, as `genmorph export` writes them",
            )
        return labels

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)
