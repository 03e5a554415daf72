"""Engine `builtin`: SimpleITK, deepbet and scipy.

Every function gives the same bytes each time: registration draws its voxels with a fixed seed, on
one thread.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import numpy as np

from genmorph.errors import ScanError
from genmorph.preprocessing.grid import FWHM_PER_SIGMA
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import BiasCorrection, BrainExtraction, Registration

# world axes of NIfTI (RAS+) and of ITK (LPS+)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
SEARCH_VOXEL_MM, SEARCH_STEP_DEGREES = 8.0, 20.0


def versions() -> dict[str, str]:
    """Version of each package that decides a result."""
    return {name: metadata.version(name) for name in ("SimpleITK", "deepbet")}


@functools.cache
def template() -> Image:
    """The skull-stripped MNI152 T1 average at 1 mm, intensities [0, 1]."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    return Image(np.asarray(image.dataobj, dtype=np.float32), image.affine)


@functools.cache
def _coarse_template(voxel_mm: float) -> Any:
    return _coarsen(template(), voxel_mm)


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

    Raises
    ------
    ScanError
        When N4 cannot estimate a field.
    """
    import SimpleITK as sitk

    full = _to_itk(image)
    if mask is None:
        region = sitk.OtsuThreshold(full, 0, 1, 128)
    else:
        region = _to_itk(image.with_data(mask.astype(np.float32)))
        region = sitk.Cast(region > 0.5, sitk.sitkUInt8)
    # A hair above one half: voxels of 1.6 mm, rounded in the header, shrink alike along all axes.
    factors = np.maximum(1, np.floor(options.working_mm / image.voxel_mm + 0.501)).astype(int)
    filter_ = sitk.N4BiasFieldCorrectionImageFilter()
    filter_.SetMaximumNumberOfIterations(list(options.iterations))
    filter_.SetConvergenceThreshold(options.convergence)
    # N4 works on logarithms: voxels at or below zero are left out of the estimate.
    positive = sitk.Cast(full > 0, sitk.sitkUInt8)
    shrink = [int(factor) for factor in factors]
    try:
        filter_.Execute(sitk.Shrink(full, shrink), sitk.Shrink(region * positive, shrink))
    except RuntimeError as error:
        raise ScanError(f"bias correction failed ({_last_line(error)})") from None
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
    except (AssertionError, RuntimeError, IndexError, ValueError) as error:
        raise ScanError(f"brain extraction found no brain ({_last_line(error)})") from None
    return np.asarray(mask, dtype=bool)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """ITK's threads add up a metric in the order in which they end: other bytes each time."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


@_one_thread()
def register_affine(brain: Image, options: Registration) -> np.ndarray:
    """Linear transform that takes a point of the template's world to the scan's world.

    Poses are tried on a coarse grid before the descent, which by itself would be lost on a head
    that nods by twenty degrees.

    Parameters
    ----------
    brain : Image
        Skull-stripped scan.
    options : Registration
        Six degrees of freedom (rigid) or twelve.

    Returns
    -------
    ndarray, shape (4, 4)
        Millimetres to millimetres, RAS+.

    Raises
    ------
    ScanError
        When ITK finds no way from one image to the other.
    """

    return _descend(
        _coarse_template(options.resolution_mm),
        _coarsen(brain, options.resolution_mm),
        lambda: _find_pose(brain, options),
        options,
    )


@_one_thread()
def register_to(moving: Image, fixed: Image, options: Registration) -> np.ndarray:
    """Linear transform that takes a point of one brain's world to that of another.

    Both stand upright already, as after one recipe: the descent starts with their centres of mass
    on each other, and no other pose is tried.

    Parameters
    ----------
    moving, fixed : Image
        Skull-stripped, background 0.
    options : Registration
        Six degrees of freedom (rigid) or twelve; what it says of poses is not used.

    Returns
    -------
    ndarray, shape (4, 4)
        Millimetres of `fixed` to those of `moving`, RAS+.

    Raises
    ------
    ScanError
        When ITK finds no way from one image to the other.
    """
    import SimpleITK as sitk

    target, other = (_coarsen(image, options.resolution_mm) for image in (fixed, moving))
    return _descend(
        target,
        other,
        lambda: sitk.Similarity3DTransform(
            sitk.CenteredTransformInitializer(
                target,
                other,
                sitk.Similarity3DTransform(),
                sitk.CenteredTransformInitializerFilter.MOMENTS,
            )
        ),
        options,
    )


def _descend(
    fixed: Any, moving: Any, find_pose: Callable[[], Any], options: Registration
) -> np.ndarray:
    """Millimetres of `fixed` to those of `moving` (RAS+), from a pose on."""
    method = _registration(options.iterations, learning_rate=1.0, least_step=1e-3)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(options.sampling_fraction, options.seed)
    method.SetShrinkFactorsPerLevel(list(options.shrink_factors))
    method.SetSmoothingSigmasPerLevel(list(options.smoothing_mm))
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    try:
        start = _start(find_pose(), options)
        method.SetInitialTransform(start, inPlace=False)
        found = type(start)(method.Execute(fixed, moving).GetBackTransform())
    except RuntimeError as error:
        raise ScanError(f"registration failed ({_last_line(error)})") from None
    matrix = np.asarray(found.GetMatrix()).reshape(3, 3)
    centre, shift = np.asarray(found.GetCenter()), np.asarray(found.GetTranslation())
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = matrix, shift + centre - matrix @ centre
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ lps @ flip


def _start(pose: Any, options: Registration) -> Any:
    """The pose as a transform of the degrees of freedom asked for."""
    import SimpleITK as sitk

    if options.linear == "rigid":
        start = sitk.VersorRigid3DTransform()
        start.SetCenter(pose.GetCenter())
        start.SetRotation(pose.GetVersor())
    else:
        start = sitk.AffineTransform(3)
        start.SetCenter(pose.GetCenter())
        start.SetMatrix(pose.GetMatrix())
    start.SetTranslation(pose.GetTranslation())
    return start


def _find_pose(brain: Image, options: Registration) -> Any:
    """Similarity from template to scan: centres of mass, equal volumes, the best of many poses.

    Turns by right angles compete too. One of them wins when the header gives the axes wrong names,
    which a registration would otherwise hide behind a brain that lies on its face.
    """
    import SimpleITK as sitk
    from scipy.spatial.transform import Rotation

    fixed, moving = _coarse_template(SEARCH_VOXEL_MM), _coarsen(brain, SEARCH_VOXEL_MM)
    centred = sitk.CenteredTransformInitializer(
        fixed,
        moving,
        sitk.Similarity3DTransform(),
        sitk.CenteredTransformInitializerFilter.MOMENTS,
    )
    volumes = [np.count_nonzero(image.data > 0) * image.voxel_ml for image in (brain, template())]
    method = _registration(iterations=60, learning_rate=2.0, least_step=0.05)
    method.SetMetricSamplingStrategy(method.NONE)

    def pose(turn: Any) -> Any:
        transform = sitk.Similarity3DTransform(centred)
        transform.SetScale(float(np.cbrt(volumes[0] / volumes[1])))
        transform.SetRotation(turn.as_quat().tolist())
        return transform

    def cost(turn: Any) -> float:
        method.SetInitialTransform(pose(turn), inPlace=False)
        return method.MetricEvaluate(fixed, moving)

    step = SEARCH_STEP_DEGREES
    angles = [
        np.arange(-(most // step), most // step + 1) * step for most in options.search_degrees
    ]
    upright = [
        Rotation.from_euler("xyz", degrees, degrees=True) for degrees in itertools.product(*angles)
    ]
    right_angles = [turn for turn in Rotation.create_group("O") if turn.magnitude() > 0.1]
    best = min([*upright, *right_angles], key=cost)
    if any(best is turn for turn in right_angles):
        raise ScanError(
            f"its brain lies turned by {np.degrees(best.magnitude()):.0f} degrees against the "
            "template: the orientation in its header is wrong, or much of the brain is missing"
        )
    method.SetInitialTransform(pose(best), inPlace=False)
    return sitk.Similarity3DTransform(method.Execute(fixed, moving).GetBackTransform())


def _registration(iterations: int, learning_rate: float, least_step: float) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=learning_rate,
        minStep=least_step,
        numberOfIterations=iterations,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    return method


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


def _last_line(error: Exception) -> str:
    """What ITK says at the end of its long messages; the rest names its source files."""
    lines = str(error).splitlines()
    return lines[-1].strip() if lines else type(error).__name__
