"""Engine `fsl`: BET, FAST and FLIRT, in the order and with the settings of `fsl_anat`.

Programs of FSL (Jenkinson 2012), installed by the user under FSL's own licence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing.engines import native
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import BiasCorrection, BrainExtraction, Registration

OUTPUT = "NIFTI_GZ"
BET_FRACTION = 0.5
FAST_CLASSES, FAST_BIAS_ITERATIONS, FAST_BIAS_LOWPASS_MM = 3, 4, 20
FLIRT_COST = "corratio"
DEGREES_OF_FREEDOM = {"rigid": 6, "affine": 12}
TISSUES = {"CSF": 0, "GM": 1, "WM": 2}  # FAST numbers the classes of a T1 image from dark to bright


def bet_interface(scan: Path, brain: Path) -> Any:
    """BET with its centre found robustly; writes `<brain>` and its mask."""
    from nipype.interfaces import fsl

    return fsl.BET(
        in_file=str(scan),
        out_file=str(brain),
        frac=BET_FRACTION,
        robust=True,
        mask=True,
        output_type=OUTPUT,
    )


def fast_interface(brain: Path, basename: Path) -> Any:
    """FAST on a T1 brain, with its bias field."""
    from nipype.interfaces import fsl

    return fsl.FAST(
        in_files=[str(brain)],
        out_basename=str(basename),
        img_type=1,
        number_classes=FAST_CLASSES,
        iters_afterbias=FAST_BIAS_ITERATIONS,
        bias_lowpass=FAST_BIAS_LOWPASS_MM,
        output_biasfield=True,
        output_biascorrected=True,
        output_type=OUTPUT,
    )


def flirt_interface(brain: Path, template: Path, matrix: Path, degrees_of_freedom: str) -> Any:
    """FLIRT from the brain to the template."""
    from nipype.interfaces import fsl

    return fsl.FLIRT(
        in_file=str(brain),
        reference=str(template),
        out_matrix_file=str(matrix),
        out_file=str(matrix.with_suffix(".nii.gz")),
        dof=DEGREES_OF_FREEDOM[degrees_of_freedom],
        cost=FLIRT_COST,
        output_type=OUTPUT,
    )


def versions() -> dict[str, str]:
    """Version of FSL."""
    from genmorph.preprocessing.engines.probe import probe

    return probe("fsl").versions


def correct_bias(image: Image, mask: np.ndarray | None, options: BiasCorrection) -> Image:
    """Divide by FAST's bias field, estimated in the brain (BET's, when there is no mask yet).

    Outside the brain the field goes on as it is at the nearest brain voxel. `options` are N4's and
    do not apply.
    """
    from scipy.ndimage import distance_transform_edt

    if mask is None:
        mask = extract_brain(image, BrainExtraction())
    with native.workspace() as folder:
        brain = native.write_image(
            image.with_data(np.where(mask, image.data, 0)), folder / "brain.nii.gz"
        )
        native.run(fast_interface(brain, folder / "fast"), folder)
        field = native.read_array(folder / "fast_bias.nii.gz", image)
    known = mask & (field > 0)
    if not known.any():
        raise ScanError("FAST found no bias field")
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return image.with_data(image.data / field[tuple(nearest)])


def extract_brain(image: Image, options: BrainExtraction) -> np.ndarray:
    """BET's brain mask. Of `options` only the limits that the pipeline checks apply."""
    with native.workspace() as folder:
        scan = native.write_image(image, folder / "scan.nii.gz")
        native.run(bet_interface(scan, folder / "brain.nii.gz"), folder)
        return native.read_array(folder / "brain_mask.nii.gz", image) > 0.5


def register_affine(brain: Image, options: Registration) -> np.ndarray:
    """FLIRT's matrix as template world to scan world (mm, RAS+)."""
    from genmorph.preprocessing.engines.builtin import template

    reference = template()
    with native.workspace() as folder:
        moving = native.write_image(brain, folder / "brain.nii.gz")
        fixed = native.write_image(reference, folder / "template.nii.gz")
        matrix = folder / "flirt.mat"
        native.run(flirt_interface(moving, fixed, matrix, options.linear), folder)
        if not matrix.is_file():
            raise ScanError("FLIRT ended without writing its matrix")
        flirt = np.loadtxt(matrix)
    return np.linalg.inv(world_from_flirt(flirt, brain, reference))


def segment_tissues(brain: Image, mask: np.ndarray, options: Any) -> dict[str, np.ndarray]:
    """FAST's partial volumes of gray matter, white matter and CSF."""
    with native.workspace() as folder:
        scan = native.write_image(
            brain.with_data(np.where(mask, brain.data, 0)), folder / "brain.nii.gz"
        )
        native.run(fast_interface(scan, folder / "fast"), folder)
        return {
            tissue: native.read_array(folder / f"fast_pve_{number}.nii.gz", brain)
            for tissue, number in TISSUES.items()
        }


def world_from_flirt(flirt: np.ndarray, moving: Image, fixed: Image) -> np.ndarray:
    """FLIRT's matrix between scaled voxels as a matrix between worlds (mm, RAS+).

    FSL measures in voxels times their size, with the first axis turned round when the image is
    stored in neurological order (positive determinant).

    Parameters
    ----------
    flirt : ndarray, shape (4, 4)
        From the moving image's scaled voxels to the fixed image's.
    """
    return (
        fixed.affine
        @ np.linalg.inv(_scaled(fixed))
        @ flirt
        @ _scaled(moving)
        @ np.linalg.inv(moving.affine)
    )


def _scaled(image: Image) -> np.ndarray:
    """From voxels to FSL's scaled voxels."""
    scaled = np.diag([*image.voxel_mm, 1.0])
    if np.linalg.det(image.affine[:3, :3]) > 0:
        scaled[0, 0] *= -1.0
        scaled[0, 3] = (image.data.shape[0] - 1) * image.voxel_mm[0]
    return scaled
