"""Engine `ants`: N4, the brain extraction script, antsRegistration and Atropos of ANTs.

Programs of ANTs (Avants 2011), installed by the user. The brain extraction script needs a template
of a whole head with its probability map of the brain (the ANTs project offers some): name their
folder in `GENMORPH_ANTS_TEMPLATE`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.errors import EngineError, ScanError
from genmorph.preprocessing.engines import native
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import BiasCorrection, BrainExtraction, Registration

TEMPLATE_FOLDER = "GENMORPH_ANTS_TEMPLATE"
TEMPLATE_FILES = {
    "brain_template": "T_template0.nii.gz",
    "brain_probability_mask": "T_template0_BrainCerebellumProbabilityMask.nii.gz",
}
N4_SPLINE_MM = 200.0
TRANSFORMS = {"rigid": ["Rigid"], "affine": ["Rigid", "Affine"]}
HISTOGRAM_BINS = 32
ATROPOS_PRIOR_WEIGHT, ATROPOS_SMOOTHING = 0.25, "[0.1,1x1x1]"


def n4_interface(
    scan: Path, mask: Path | None, out: Path, options: BiasCorrection, voxel_mm: float
) -> Any:
    """N4BiasFieldCorrection with the recipe's iterations, convergence and working voxels."""
    from nipype.interfaces import ants

    interface = ants.N4BiasFieldCorrection(
        dimension=3,
        input_image=str(scan),
        output_image=str(out),
        shrink_factor=max(1, round(options.working_mm / voxel_mm)),
        n_iterations=list(options.iterations),
        convergence_threshold=options.convergence,
        bspline_fitting_distance=N4_SPLINE_MM,
        num_threads=1,
    )
    if mask is not None:
        interface.inputs.mask_image = str(mask)
    return interface


def extraction_interface(scan: Path, template: Path, probability: Path, prefix: str) -> Any:
    """antsBrainExtraction.sh; writes `<prefix>BrainExtractionMask.nii.gz`."""
    from nipype.interfaces import ants

    return ants.segmentation.BrainExtraction(
        dimension=3,
        anatomical_image=str(scan),
        brain_template=str(template),
        brain_probability_mask=str(probability),
        out_prefix=prefix,
        num_threads=1,
    )


def registration_interface(fixed: Path, moving: Path, prefix: str, options: Registration) -> Any:
    """antsRegistration by mutual information; writes `<prefix>0GenericAffine.mat`."""
    from nipype.interfaces import ants

    transforms = TRANSFORMS[options.linear]
    levels, stages = len(options.shrink_factors), len(transforms)
    return ants.Registration(
        dimension=3,
        fixed_image=str(fixed),
        moving_image=str(moving),
        output_transform_prefix=prefix,
        initial_moving_transform_com=1,
        transforms=transforms,
        transform_parameters=[(0.1,)] * stages,
        metric=["MI"] * stages,
        metric_weight=[1.0] * stages,
        radius_or_number_of_bins=[HISTOGRAM_BINS] * stages,
        sampling_strategy=["Regular"] * stages,
        sampling_percentage=[options.sampling_fraction] * stages,
        number_of_iterations=[[options.iterations] * levels] * stages,
        convergence_threshold=[1e-6] * stages,
        convergence_window_size=[10] * stages,
        shrink_factors=[list(options.shrink_factors)] * stages,
        smoothing_sigmas=[list(options.smoothing_mm)] * stages,
        sigma_units=["mm"] * stages,
        collapse_output_transforms=True,
        winsorize_lower_quantile=0.005,
        winsorize_upper_quantile=0.995,
        random_seed=options.seed,
        num_threads=1,
        float=True,
    )


def versions() -> dict[str, str]:
    """Version of ANTs."""
    from genmorph.preprocessing.engines.probe import probe

    return probe("ants").versions


def correct_bias(image: Image, mask: np.ndarray | None, options: BiasCorrection) -> Image:
    """N4 in the mask, or in Otsu's foreground, which the program takes by itself."""
    with native.workspace() as folder:
        scan = native.write_image(image, folder / "scan.nii.gz")
        region = None
        if mask is not None:
            region = native.write_image(
                image.with_data(mask.astype(np.float32)), folder / "mask.nii.gz"
            )
        out = folder / "corrected.nii.gz"
        native.run(n4_interface(scan, region, out, options, float(image.voxel_mm.min())), folder)
        return image.with_data(native.read_array(out, image))


def extract_brain(image: Image, options: BrainExtraction) -> np.ndarray:
    """Mask of antsBrainExtraction.sh. Of `options` only the limits the pipeline checks apply.

    Raises
    ------
    EngineError
        When the folder of the templates is not named, or lacks a file.
    """
    files = template_files()
    with native.workspace() as folder:
        scan = native.write_image(image, folder / "scan.nii.gz")
        interface = extraction_interface(
            scan, files["brain_template"], files["brain_probability_mask"], "ants_"
        )
        script = shutil.which("antsBrainExtraction.sh")
        if script is not None:  # the script calls its neighbours by this path
            interface.inputs.environ = {"ANTSPATH": str(Path(script).parent)}
        native.run(interface, folder)
        return native.read_array(folder / "ants_BrainExtractionMask.nii.gz", image) > 0.5


def template_files() -> dict[str, Path]:
    """The head template and its probability map of the brain.

    Raises
    ------
    EngineError
        When they are not there.
    """
    folder = os.environ.get(TEMPLATE_FOLDER)
    files = {role: Path(folder or "", name) for role, name in TEMPLATE_FILES.items()}
    missing = [path.name for path in files.values() if not folder or not path.is_file()]
    if missing:
        raise EngineError(
            f"engine ants: brain extraction needs {', '.join(missing)}",
            f"download a template of the ANTs project and name its folder in {TEMPLATE_FOLDER}, or "
            "give brain_extraction to another engine (preprocessing.step_engines)",
        )
    return files


def register_affine(brain: Image, options: Registration) -> np.ndarray:
    """antsRegistration's matrix as template world to scan world (mm, RAS+)."""
    from genmorph.preprocessing.engines.builtin import template

    with native.workspace() as folder:
        fixed = native.write_image(template(), folder / "template.nii.gz")
        moving = native.write_image(brain, folder / "brain.nii.gz")
        native.run(registration_interface(fixed, moving, "ants_", options), folder)
        matrix = folder / "ants_0GenericAffine.mat"
        if not matrix.is_file():
            raise ScanError("antsRegistration ended without writing its matrix")
        return world_from_itk(matrix)


def world_from_itk(path: Path) -> np.ndarray:
    """An affine transform file of ITK, fixed to moving points, as a matrix in RAS+ (mm)."""
    import SimpleITK as sitk

    transform = sitk.AffineTransform(sitk.ReadTransform(str(path)))
    matrix = np.asarray(transform.GetMatrix()).reshape(3, 3)
    centre, shift = np.asarray(transform.GetCenter()), np.asarray(transform.GetTranslation())
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = matrix, shift + centre - matrix @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip
