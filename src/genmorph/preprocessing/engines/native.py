"""What the native engines share: images as files, nipype interfaces run, their errors in one line.

A native engine runs programs that the user has installed. Each call works in a temporary folder of
its own, on NIfTI files, with one numerical thread.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing.raw import Image

ONE_THREAD = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder for the files of one call."""
    with tempfile.TemporaryDirectory(prefix="genmorph-") as folder:
        yield Path(folder)


def write_image(image: Image, path: Path) -> Path:
    """Write an image as NIfTI; its position in space stands in sform and qform."""
    import nibabel as nib

    file = nib.Nifti1Image(np.asarray(image.data, dtype=np.float32), image.affine)
    file.set_sform(image.affine, code="scanner")
    file.set_qform(image.affine, code="scanner")
    file.header.set_xyzt_units("mm")
    nib.save(file, path)
    return path


def read_array(path: Path | str, like: Image) -> np.ndarray:
    """Voxels of a file on the grid of `like`.

    Raises
    ------
    ScanError
        When the program wrote nothing, or on another grid.
    """
    import nibabel as nib

    path = Path(path)
    if not path.is_file():
        raise ScanError(f"the program ended without writing {path.name}")
    file = nib.as_closest_canonical(nib.load(path))
    data = np.asarray(file.dataobj, dtype=np.float32)
    data = data.reshape(data.shape[:3]) if data.ndim > 3 else data
    if data.shape != like.data.shape or not np.allclose(file.affine, like.affine, atol=1e-2):
        raise ScanError(f"{path.name} lies on another grid than the scan")
    return data


def run(interface: Any, folder: Path) -> Any:
    """Run a nipype interface and return its outputs.

    Raises
    ------
    ScanError
        With the last line that the program wrote to its errors.
    """
    if hasattr(interface, "terminal_output"):
        interface.terminal_output = "allatonce"
    if "environ" in interface.inputs.copyable_trait_names():
        interface.inputs.environ = {**interface.inputs.environ, **ONE_THREAD}
    before = Path.cwd()
    os.chdir(folder)  # some programs write beside where they stand
    try:
        return interface.run(cwd=str(folder)).outputs
    except Exception as error:  # nipype raises many kinds, with the program's words in them
        program = type(interface).__name__
        raise ScanError(f"{program} failed ({_last_words(str(error))})") from None
    finally:
        os.chdir(before)


def _last_words(text: str) -> str:
    """The last line of the program's errors in what nipype tells of a failure."""
    part = text.split("Stderr:")[-1].split("Standard error:")[-1]
    part = part.split("Return code")[0].split("Traceback:")[0]
    lines = [line.strip() for line in part.splitlines() if line.strip()]
    return lines[-1] if lines else text.strip().splitlines()[-1]
