"""Tissues and nonlinear registration of the engine `builtin`: Atropos and SyN of antspyx.

Both start from nilearn's packaged MNI152 averages. Priors matter: without them, intensity classes
give much of the cortex to CSF.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from genmorph.errors import ScanError
from genmorph.preprocessing.engines.builtin import template
from genmorph.preprocessing.raw import Image
from genmorph.validation import Options

TISSUES = ("CSF", "GM", "WM")
LEAST_PRIOR = 0.01  # a prior of exactly zero could never be overruled


class NonlinearRegistration(Options):
    """Symmetric normalisation (SyN, Avants 2008), after rigid and affine stages."""

    step: str = "nonlinear_registration"
    working_mm: float = Field(1.5, gt=0, description="voxel size at which the warp is estimated")
    seed: int = Field(1, ge=1, description="of the voxels that mutual information draws")


class TissueSegmentation(Options):
    """Atropos (Avants 2011): Gaussian classes with warped priors and a Markov random field."""

    step: str = "tissue_segmentation"
    prior_weight: float = Field(0.25, ge=0, le=1)
    smoothing: float = Field(0.1, ge=0, description="weight of the Markov random field")
    iterations: int = Field(5, ge=1)
    registration: NonlinearRegistration = Field(NonlinearRegistration())


@dataclass(frozen=True)
class Warp:
    """A nonlinear registration from the template to a scan.

    Attributes
    ----------
    displacement : ndarray, float32, shape (x, y, z, 3)
        From a point of the template's grid to the scan, millimetres in RAS+: the affine part is
        inside.
    jacobian : ndarray, float32, shape (x, y, z)
        Volume of the scan per volume of the template, affine part included: what modulation
        multiplies with.
    affine : ndarray, shape (4, 4)
        Of the template's grid.
    """

    displacement: np.ndarray
    jacobian: np.ndarray
    affine: np.ndarray

    def to_scan(self, points: np.ndarray) -> np.ndarray:
        """Points `[3, n]` of the template's world in the scan's; beyond the grid its edge holds."""
        from scipy.ndimage import map_coordinates

        back = np.linalg.inv(self.affine)
        indices = back[:3, :3] @ points + back[:3, 3:]
        moved = (
            map_coordinates(self.displacement[..., axis], indices, order=1, mode="nearest")
            for axis in range(3)
        )
        return points + np.stack(list(moved))

    def pull(self, volume: np.ndarray, volume_affine: np.ndarray) -> np.ndarray:
        """A scan's map on the template's grid, linearly interpolated, 0 outside the scan."""
        from scipy.ndimage import map_coordinates

        grid = np.indices(self.jacobian.shape).reshape(3, -1)
        world = self.to_scan(self.affine[:3, :3] @ grid + self.affine[:3, 3:])
        to_voxel = np.linalg.inv(volume_affine)
        indices = to_voxel[:3, :3] @ world + to_voxel[:3, 3:]
        pulled = map_coordinates(volume, indices, order=1, cval=0.0)
        return pulled.reshape(self.jacobian.shape).astype(np.float32)


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """antspyx leaves its transforms and maps where temporary files go: here, and removed."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="genmorph-") as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextmanager
def registered(brain: Image, options: NonlinearRegistration) -> Iterator[Registration]:
    """Register a skull-stripped brain with the template; what it gives holds within the block.

    Raises
    ------
    ScanError
        When SyN fails.
    """
    import ants

    with _own_temporary_folder():
        fixed = _to_ants(_coarse_template(options.working_mm))
        moving = _coarsened(brain, options.working_mm)
        try:
            found = ants.registration(
                fixed,
                moving,
                type_of_transform="antsRegistrationSyNQuick[s]",
                random_seed=options.seed,
                singleprecision=True,
            )
        except Exception as error:  # antspyx raises nothing more special
            reason = str(error).splitlines()[-1]
            raise ScanError(f"nonlinear registration failed ({reason})") from None
        yield Registration(brain, options, found["fwdtransforms"], found["invtransforms"])


@dataclass(frozen=True)
class Registration:
    """A brain registered with the template, both ways.

    Attributes
    ----------
    brain : Image
    options : NonlinearRegistration
    to_template, to_scan : list of str
        Files of ANTs that carry images of the scan to the template, and back.
    """

    brain: Image
    options: NonlinearRegistration
    to_template: list[str]
    to_scan: list[str]

    def warp(self) -> Warp:
        """From the template's grid to the scan."""
        import ants

        template_image = _coarse_template(self.options.working_mm)
        composed = ants.apply_transforms(
            _to_ants(template_image),
            _to_ants(self.brain),
            self.to_template,
            compose=f"{tempfile.gettempdir()}/whole_",
        )
        field = ants.image_read(composed).numpy()
        displacement = field.astype(np.float32) * np.float32([-1, -1, 1])  # LPS to RAS
        affine = template_image.affine
        return Warp(displacement, jacobian_determinant(displacement, affine), affine)

    def onto_scan(self, map_of_template: Image) -> np.ndarray:
        """A map in the template's space on the scan's grid, linearly interpolated."""
        import ants

        moved = ants.apply_transforms(
            _to_ants(self.brain),
            _to_ants(map_of_template),
            self.to_scan,
            whichtoinvert=[True, False],  # the affine; the inverse warp has a file of its own
        )
        return moved.numpy()


def register_nonlinear(brain: Image, options: NonlinearRegistration) -> Warp:
    """Register the template to a brain, both skull-stripped.

    Raises
    ------
    ScanError
        When SyN fails.
    """
    with registered(brain, options) as registration:
        return registration.warp()


def template_grid(working_mm: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of the grid that a registration at some voxel size warps."""
    image = _coarse_template(working_mm)
    return tuple(image.data.shape), image.affine


def software(*methods: str) -> str:
    """Methods of ANTs and the version that carries them out: `Atropos and SyN of antspyx 0.6.1`."""
    from importlib.metadata import version

    return f"{' and '.join(methods)} of antspyx {version('antspyx')}"


def jacobian_determinant(displacement: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Change of volume of `x -> x + displacement(x)`, by central differences.

    Parameters
    ----------
    displacement : ndarray, shape (x, y, z, 3)
        Millimetres.
    affine : ndarray, shape (4, 4)
        Of the grid.
    """
    per_voxel = np.stack(np.gradient(displacement, axis=(0, 1, 2)), axis=-1)
    gradient = per_voxel @ np.linalg.inv(affine[:3, :3])
    return np.linalg.det(gradient + np.eye(3)).astype(np.float32)


def segment_tissues(
    brain: Image, mask: np.ndarray, options: TissueSegmentation
) -> dict[str, np.ndarray]:
    """Probability of CSF, GM and WM in each voxel of the brain.

    Parameters
    ----------
    brain : Image
        Bias-corrected and skull-stripped.
    mask : ndarray of bool
    options : TissueSegmentation

    Returns
    -------
    dict
        Arrays on the scan's grid that sum to one in the mask and are zero outside.

    Raises
    ------
    ScanError
        When the registration or Atropos fails.
    """
    with registered(brain, options.registration) as registration:
        return segment_registered(registration, mask, options)


def segment_registered(
    registration: Registration, mask: np.ndarray, options: TissueSegmentation
) -> dict[str, np.ndarray]:
    """`segment_tissues` of a brain that is registered already.

    Raises
    ------
    ScanError
        When Atropos fails.
    """
    import ants

    brain = registration.brain
    priors = [registration.onto_scan(_priors()[name]) for name in TISSUES]
    total = np.maximum(sum(priors), 1e-6)
    known = [np.where(mask, np.maximum(prior / total, LEAST_PRIOR), 0) for prior in priors]

    def on_voxels(data: np.ndarray) -> Any:
        # Voxels are all that Atropos needs. Where the scan lies is left out: its files round an
        # origin to single precision, and images then count as lying in different places.
        return ants.from_numpy(np.asarray(data, np.float32), spacing=brain.voxel_mm.tolist())

    try:
        found = ants.atropos(
            on_voxels(brain.data),
            on_voxels(mask),
            i=[on_voxels(prior) for prior in known],
            m=f"[{options.smoothing},1x1x1]",
            c=f"[{options.iterations},0]",
            priorweight=options.prior_weight,
            r=0,  # a constant seed
        )
    except Exception as error:  # antspyx raises nothing more special
        raise ScanError(f"tissue segmentation failed ({str(error).splitlines()[-1]})") from None
    maps = [image.numpy() for image in found["probabilityimages"]]
    return {name: np.where(mask, array, 0) for name, array in zip(TISSUES, maps, strict=True)}


def _coarsened(brain: Image, voxel_mm: float) -> Any:
    import ants

    image = _to_ants(brain)
    if brain.voxel_mm.max() >= voxel_mm:
        return image
    return ants.resample_image(image, (voxel_mm,) * 3, use_voxels=False, interp_type=0)


@functools.cache
def _coarse_template(voxel_mm: float) -> Image:
    """The template resampled to cubic voxels."""
    image = template()
    if voxel_mm <= image.voxel_mm.max():
        return image
    return _from_ants(_coarsened(image, voxel_mm))


@functools.cache
def _priors() -> dict[str, Image]:
    """nilearn's GM and WM averages; CSF is the rest of the template's brain, a little dilated."""
    from nilearn import datasets
    from scipy.ndimage import binary_dilation

    gray, white = (
        np.clip(np.asarray(image.dataobj, dtype=np.float32), 0, 1)
        for image in (
            datasets.load_mni152_gm_template(resolution=1),
            datasets.load_mni152_wm_template(resolution=1),
        )
    )
    mask = datasets.load_mni152_brain_mask(resolution=1)
    inside = binary_dilation(np.asarray(mask.dataobj) > 0, iterations=3)
    fluid = np.where(inside, np.clip(1 - gray - white, 0, 1), 0).astype(np.float32)
    maps = {"CSF": fluid, "GM": gray, "WM": white}
    return {name: Image(array, mask.affine) for name, array in maps.items()}


def _to_ants(image: Image) -> Any:
    """An image of ANTs (LPS) from one in RAS+."""
    import ants

    direction = np.diag([-1.0, -1.0, 1.0]) @ image.affine[:3, :3] / image.voxel_mm
    return ants.from_numpy(
        np.asarray(image.data, dtype=np.float32),
        origin=(np.diag([-1.0, -1.0, 1.0]) @ image.affine[:3, 3]).tolist(),
        spacing=image.voxel_mm.tolist(),
        direction=direction,
    )


def _from_ants(image: Any) -> Image:
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ image.direction @ np.diag(image.spacing)
    affine[:3, 3] = np.diag([-1.0, -1.0, 1.0]) @ np.asarray(image.origin)
    return Image(image.numpy().astype(np.float32), affine)
