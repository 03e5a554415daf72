"""Engine `spm`: SPM12's unified segmentation with the parameters that the papers state.

SPM (Ashburner 2005), installed by the user under the GPL, run by MATLAB, Octave or as standalone.
One run of the unified segmentation gives bias field, tissue maps and the affine matrix. Its
defaults fail without a word on skull-stripped brains, whose cortex goes to the classes of scalp and
air: a gate refuses tissue volumes that no brain has.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import EngineError, ScanError
from genmorph.preprocessing.engines import native
from genmorph.preprocessing.engines.probe import SPM_COMMAND, spm_command
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import BiasCorrection, BrainExtraction, Registration

# P5, section 6.5: SPM's defaults
BIAS_REGULARISATION, BIAS_FWHM_MM = 1e-3, 60
WARPING = [0, 0.001, 0.5, 0.05, 0.2]
SAMPLING_MM = 3
GAUSSIANS = (1, 1, 2, 3, 4, 2)  # of GM, WM, CSF, bone, soft tissue, air
TISSUES = ("GM", "WM", "CSF")
NORMALISED_VOXEL_MM, SMOOTHING_MM = 1.5, 8.0

LEAST_ML = {"GM": 350.0, "WM": 250.0}  # of any adult brain
MOST_SOFT_TISSUE = (
    0.10  # share of the soft-tissue class inside GM + WM + CSF + itself, near the brain
)


@dataclass(frozen=True)
class Segmentation:
    """What the unified segmentation found, on the scan's grid.

    Attributes
    ----------
    corrected : ndarray
        Scan without its bias field.
    tissues : dict
        Probability of GM, WM and CSF.
    to_scan : ndarray, shape (4, 4)
        Template world to scan world (mm, RAS+).
    """

    corrected: np.ndarray
    tissues: dict[str, np.ndarray]
    to_scan: np.ndarray


def configure() -> Path:
    """Tell nipype how SPM is run; its folder, where the tissue priors lie.

    Raises
    ------
    EngineError
        When SPM is not found.
    """
    from nipype.interfaces import matlab, spm

    command, folder = spm_command()
    if command is None:
        from genmorph.preprocessing.engines.probe import require

        require("spm", "bias_correction")
    if folder is None:
        spm.SPMCommand.set_mlab_paths(matlab_cmd=os.environ[SPM_COMMAND], use_mcr=True)
        return Path()
    matlab.MatlabCommand.set_default_matlab_cmd(_call(command))
    matlab.MatlabCommand.set_default_paths([str(folder)])
    return folder


def _call(program: str) -> str:
    if Path(program).name.startswith("octave"):
        return f"{program} --no-gui --no-window-system"
    return f"{program} -nodesktop -nosplash"


def segment_interface(scan: Path, priors: Path) -> Any:
    """NewSegment with the papers' parameters.

    Parameters
    ----------
    scan : Path
    priors : Path
        SPM's `tpm/TPM.nii`.
    """
    from nipype.interfaces import spm

    return spm.NewSegment(
        channel_files=[str(scan)],
        channel_info=(BIAS_REGULARISATION, BIAS_FWHM_MM, (False, True)),
        tissues=[
            (
                (str(priors), number),
                gaussians,
                (number <= len(TISSUES) or number == 5, False),
                (False, False),
            )
            for number, gaussians in enumerate(GAUSSIANS, start=1)
        ],
        affine_regularization="mni",
        warping_regularization=WARPING,
        sampling_distance=SAMPLING_MM,
        write_deformation_fields=[False, True],
    )


def normalise_interface(deformation: Path, tissue: Path) -> Any:
    """Normalise12: a tissue map to the template's space at 1.5 mm."""
    from nipype.interfaces import spm

    return spm.Normalize12(
        jobtype="write",
        deformation_file=str(deformation),
        apply_to_files=[str(tissue)],
        write_voxel_sizes=[NORMALISED_VOXEL_MM] * 3,
    )


def smooth_interface(image: Path) -> Any:
    """Smooth: a Gaussian of 8 mm full width at half maximum."""
    from nipype.interfaces import spm

    return spm.Smooth(in_files=[str(image)], fwhm=[SMOOTHING_MM] * 3)


def versions() -> dict[str, str]:
    """Version of SPM."""
    from genmorph.preprocessing.engines.probe import probe

    return probe("spm").versions


def segment(image: Image) -> Segmentation:
    """Run the unified segmentation, once for the same image.

    Raises
    ------
    ScanError
        When it fails, or its tissues are no brain's.
    """
    return _segment(image.data.tobytes(), image.data.shape, image.affine.tobytes())


@functools.lru_cache(maxsize=1)
def _segment(data: bytes, shape: tuple[int, ...], affine: bytes) -> Segmentation:
    from scipy.io import loadmat

    image = Image(
        np.frombuffer(data, np.float32).reshape(shape), np.frombuffer(affine).reshape(4, 4)
    )
    spm_folder = configure()
    with native.workspace() as folder:
        scan = native.write_image(image, folder / "scan.nii")
        native.run(segment_interface(scan, spm_folder / "tpm" / "TPM.nii"), folder)
        maps = {
            name: native.read_array(folder / f"c{number}scan.nii", image)
            for number, name in ((1, "GM"), (2, "WM"), (3, "CSF"), (5, "soft tissue"))
        }
        corrected = native.read_array(folder / "mscan.nii", image)
        found = loadmat(folder / "scan_seg8.mat")
    check_tissues(maps, image.voxel_ml)
    # from the scan's world to the priors' (mm)
    to_template = np.asarray(found["Affine"], dtype=float)
    tissues = {name: maps[name] for name in TISSUES}
    return Segmentation(corrected, tissues, np.linalg.inv(to_template))


def check_tissues(maps: dict[str, np.ndarray], voxel_ml: float) -> None:
    """Refuse tissue maps that no brain has.

    Parameters
    ----------
    maps : dict
        Probabilities of GM, WM, CSF and `soft tissue`.
    voxel_ml : float

    Raises
    ------
    ScanError
        When gray or white matter is too small, or soft tissue took the brain's place.
    """
    from scipy.ndimage import binary_dilation

    for name, least in LEAST_ML.items():
        volume = float(maps[name].sum()) * voxel_ml
        if volume < least:
            raise ScanError(
                f"SPM finds {volume:.0f} ml of {name}, plausible are {least:.0f} and more; is the "
                "skull already removed? Its priors expect a whole head"
            )
    brain = binary_dilation(maps["GM"] + maps["WM"] > 0.5, iterations=2)
    share = float(maps["soft tissue"][brain].mean())
    if share > MOST_SOFT_TISSUE:
        raise ScanError(
            f"SPM takes {share:.0%} of the brain and its rim for scalp; is the skull already "
            "removed? Its priors expect a whole head"
        )


def correct_bias(image: Image, mask: np.ndarray | None, options: BiasCorrection) -> Image:
    """The unified segmentation's corrected image. `options` are N4's and do not apply."""
    return image.with_data(segment(image).corrected)


def extract_brain(image: Image, options: BrainExtraction) -> np.ndarray:
    """Where GM, WM and CSF together are more likely than not, holes filled."""
    from scipy.ndimage import binary_fill_holes

    tissues = segment(image).tissues
    return binary_fill_holes(sum(tissues.values()) > 0.5)


def register_affine(brain: Image, options: Registration) -> np.ndarray:
    """The affine of the unified segmentation; it has no rigid one.

    Raises
    ------
    EngineError
        When a rigid registration is asked for.
    """
    if options.linear == "rigid":
        raise EngineError(
            "engine spm: its registration is affine, the recipe asks for a rigid one",
            "give registration to `builtin` with preprocessing.step_engines",
        )
    return segment(brain).to_scan


def segment_tissues(brain: Image, mask: np.ndarray, options: Any) -> dict[str, np.ndarray]:
    """Probabilities of GM, WM and CSF, zero outside the mask."""
    return {name: np.where(mask, array, 0) for name, array in segment(brain).tissues.items()}
