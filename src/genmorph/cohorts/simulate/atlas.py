"""An atlas of labels in the template's space, whose regions each simulated scan can be given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from genmorph.errors import CohortError
from genmorph.files import sha256_file
from genmorph.nifti import open_nifti

NAME = r"[A-Za-z0-9]+"  # as BIDS has it: it stands in file names


@dataclass(frozen=True)
class LabelAtlas:
    """A label image in MNI152 space.

    Attributes
    ----------
    path : Path
        Integer NIfTI, zero outside all regions.
    name, licence : str
        As stated by the user; both are written beside the labels.
    """

    path: Path
    name: str
    licence: str

    def check(self) -> None:
        """Raise a `CohortError` unless the atlas can be used."""
        if not re.fullmatch(NAME, self.name):
            raise CohortError(
                f"label atlas name '{self.name}' cannot stand in a file name",
                "use letters and digits only",
            )
        if not self.licence.strip():
            raise CohortError(
                f"{self.path}: under which licence may its labels be used?",
                "give --labels-licence the name of the licence",
            )
        _read(self.path)

    def description(self) -> dict[str, str]:
        """What is recorded of it."""
        return {
            "Name": self.name,
            "Licence": self.licence,
            "File": self.path.name,
            "SHA256": sha256_file(self.path),
        }

    def at(self, points_mm: np.ndarray) -> np.ndarray:
        """Label nearest to each position of the template, zero beyond the atlas.

        Parameters
        ----------
        points_mm : ndarray `[3, ...]`

        Returns
        -------
        ndarray `[...]`, uint8 or int32
        """
        labels, affine = _read(self.path)
        inverse = np.linalg.inv(affine)
        x, y, z = points_mm
        indices = [
            np.rint(row[0] * x + row[1] * y + row[2] * z + row[3]).astype(np.int64)
            for row in inverse[:3]
        ]
        inside = np.ones(points_mm.shape[1:], bool)
        for index, n in zip(indices, labels.shape, strict=True):
            inside &= (index >= 0) & (index < n)
        found = np.zeros(points_mm.shape[1:], labels.dtype)
        found[inside] = labels[tuple(index[inside] for index in indices)]
        return found


@lru_cache(maxsize=1)
def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and affine of an atlas."""
    image, values = open_nifti(path, CohortError)
    if not (image.header["sform_code"] > 0 or image.header["qform_code"] > 0):
        raise CohortError(
            f"{path}: its header does not say how the atlas lies in space",
            "use an atlas in MNI152 space whose sform or qform code is set",
        )
    if values.min() < 0 or values.max() > 2**31 - 1 or np.any(values != np.rint(values)):
        raise CohortError(f"{path}: labels must be whole numbers, zero or above")
    kind = np.uint8 if values.max() < 256 else np.int32
    return values.astype(kind), np.asarray(image.affine, float)
