"""Engine `builtin`: SimpleITK, deepbet and scipy.

Every function is deterministic on one thread: registration samples voxels with a fixed seed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import (
    AffineRegistration,
    BiasCorrection,
    BrainExtraction,
    Resample,
)

# world axes of NIfTI (RAS+) and of ITK (LPS+)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
FWHM_PER_SIGMA = 2.3548


@functools.cache
def template() -> Image:
    """The skull-stripped MNI152 T1 average at 1 mm, intensities [0, 1]."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    return Image(np.asarray(image.dataobj, dtype=np.float32), image.affine)


def correct_bias(image: Image, mask: np.ndarray | None, options: BiasCorrection) -> Image:
    """Remove the smooth multiplicative field (N4).

    Parameters
    ----------
    image : Image
    mask : ndarray of bool, optional
        Where the field is estimated; default: Otsu's foreground.
    options : BiasCorrection

    Returns
    -------
    Image
        Same grid; voxels divided by the field.
    """
    import SimpleITK as sitk

    full = _to_itk(image)
    if mask is None:
        region = sitk.OtsuThreshold(full, 0, 1, 128)
    else:
        region = _to_itk(image.with_data(mask.astype(np.float32)))
        region = sitk.Cast(region > 0.5, sitk.sitkUInt8)
    factors = np.maximum(1, np.floor(options.working_mm / image.voxel_mm + 0.5)).astype(int)
    filter_ = sitk.N4BiasFieldCorrectionImageFilter()
    filter_.SetMaximumNumberOfIterations(list(options.iterations))
    filter_.SetConvergenceThreshold(options.convergence)
    # N4 works on logarithms: voxels at or below zero are left out of the estimate.
    positive = sitk.Cast(full > 0, sitk.sitkUInt8)
    shrink = [int(factor) for factor in factors]
    filter_.Execute(sitk.Shrink(full, shrink), sitk.Shrink(region * positive, shrink))
    log_field = _from_itk(filter_.GetLogBiasFieldAsImage(full))
    return image.with_data(image.data / np.exp(log_field))


@functools.cache
def _deepbet() -> Any:
    from deepbet import bet

    return bet.BrainExtraction(no_gpu=True)


def extract_brain(image: Image, options: BrainExtraction) -> np.ndarray:
    """Brain mask by deepbet (Fisch 2024), whose weights come with its package.

    Returns
    -------
    ndarray of bool, shape (x, y, z)

    Raises
    ------
    ScanError
        When no brain is found.
    """
    network, shape = _deepbet(), (options.network_voxels,) * 3
    try:
        mask = network.postprocess(network.run_model(image.data.copy(), shape=shape) > 0.5)
    except (AssertionError, RuntimeError, IndexError) as error:
        raise ScanError(f"brain extraction found no brain ({error})") from None
    return np.asarray(mask, dtype=bool)


def register_affine(brain: Image, options: AffineRegistration) -> np.ndarray:
    """Affine that takes a point of the template's world to the scan's world.

    Parameters
    ----------
    brain : Image
        Skull-stripped scan.
    options : AffineRegistration

    Returns
    -------
    ndarray, shape (4, 4)
        Millimetres to millimetres, RAS+.
    """
    import SimpleITK as sitk

    fixed = _coarsen(template(), options.resolution_mm)
    moving = _coarsen(brain, options.resolution_mm)
    start = sitk.CenteredTransformInitializer(
        fixed,
        moving,
        sitk.AffineTransform(3),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(options.sampling_fraction, options.seed)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0,
        minStep=1e-3,
        numberOfIterations=options.iterations,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(options.shrink_factors))
    method.SetSmoothingSigmasPerLevel(list(options.smoothing_mm))
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    try:
        found = sitk.AffineTransform(method.Execute(fixed, moving).GetBackTransform())
    except RuntimeError as error:
        raise ScanError(f"affine registration failed ({error})") from None
    matrix = np.asarray(found.GetMatrix()).reshape(3, 3)
    centre, shift = np.asarray(found.GetCenter()), np.asarray(found.GetTranslation())
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = matrix, shift + centre - matrix @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip


def resample(
    brain: Image, mask: np.ndarray, affine: np.ndarray, options: Resample, grid_affine: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bring a masked image onto the recipe's grid with one interpolation.

    Where the grid is coarser than the scan, a Gaussian of the missing width prevents aliasing.
    It is normalised by the mask, so that no background bleeds into the brain's edge.

    Returns
    -------
    volume : ndarray, float32, shape of the grid
        0 outside the brain.
    inside : ndarray of bool
        The brain on the grid.
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    weight = mask.astype(np.float32)
    values = np.where(mask, brain.data, 0.0).astype(np.float32)
    # sizes of a grid voxel as seen in the scan
    target_mm = np.linalg.norm((affine @ grid_affine)[:3, :3], axis=0)
    missing = np.sqrt(np.maximum(target_mm**2 - brain.voxel_mm**2, 0.0))
    sigma = missing / FWHM_PER_SIGMA / brain.voxel_mm
    if sigma.max() > 0.1:
        values, weight = gaussian_filter(values, sigma), gaussian_filter(weight, sigma)
    to_scan = np.linalg.inv(brain.affine) @ affine @ grid_affine

    def pull(data: np.ndarray) -> np.ndarray:
        return affine_transform(
            data, to_scan[:3, :3], to_scan[:3, 3], output_shape=options.grid, order=1, cval=0.0
        )

    values, weight = pull(values), pull(weight)
    inside = weight > 0.5
    volume = np.where(inside, values / np.maximum(weight, 1e-6), 0.0)
    return volume.astype(np.float32), inside


def scale_intensities(
    volume: np.ndarray, inside: np.ndarray, percentiles: tuple[float, float]
) -> np.ndarray:
    """Percentiles inside the brain to 0 and 1, clipped; exactly 0 outside, above 0 inside.

    The darkest brain voxel becomes 1/255, one step of a stored byte: what is zero is background.
    """
    low, high = np.percentile(volume[inside], percentiles)
    if high <= low:
        raise ScanError("the brain has no contrast: its intensity percentiles coincide")
    scaled = np.clip((volume - low) / (high - low), 1.0 / 255.0, 1.0)
    return np.where(inside, scaled, 0.0).astype(np.float32)


def _coarsen(image: Image, voxel_mm: float) -> Any:
    """An ITK image of about this voxel size, smoothed before it is thinned out."""
    import SimpleITK as sitk

    itk = _to_itk(image)
    factors = [max(1, round(voxel_mm / size)) for size in image.voxel_mm]
    if max(factors) == 1:
        return itk
    sigma = [
        float(size * np.sqrt(factor**2 - 1) / FWHM_PER_SIGMA) or 1e-3
        for size, factor in zip(image.voxel_mm, factors, strict=True)
    ]
    return sitk.Shrink(sitk.SmoothingRecursiveGaussian(itk, sigma), factors)


def _to_itk(image: Image) -> Any:
    import SimpleITK as sitk

    itk = sitk.GetImageFromArray(np.ascontiguousarray(image.data.T))
    rotation = RAS_TO_LPS @ image.affine[:3, :3] / image.voxel_mm
    itk.SetSpacing([float(size) for size in image.voxel_mm])
    itk.SetDirection(rotation.ravel().tolist())
    itk.SetOrigin((RAS_TO_LPS @ image.affine[:3, 3]).tolist())
    return itk


def _from_itk(itk: Any) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(itk).T
