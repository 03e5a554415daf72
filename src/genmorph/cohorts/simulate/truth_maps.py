"""A person's true tissue maps in the template's space, without making the scan.

They are what perfect segmentation, perfect nonlinear registration and modulation would give. In the
template's space a person's tissue is the template's with the class changes of its cortex (they are
functions of the template's position), and the warp enters through its Jacobian alone. With
phi = exp(v) the person's warp, dx/dt = v(x) along the flow and

    log |J phi(x)| = integral over t from 0 to 1 of (div v)(x(t)),

so one ordinary differential equation, solved by Runge-Kutta steps of order four from each brain
voxel, replaces the exponential of the whole field. Head size multiplies the determinant.

People are those of `simulate_scan`: the same random draws give the same warp and the same patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from genmorph.cohorts.simulate.anatomy import (
    BRAIN_BOX,
    FIELD_SPACING_MM,
    Template,
    build_template,
    field_grid,
    region_grid,
    tissue_grid,
)
from genmorph.cohorts.simulate.grids import Grid
from genmorph.cohorts.simulate.person import Visit, anatomy_of, with_medial_temporal_loss
from genmorph.cohorts.simulate.scan import (
    CORTEX_CLASS_EXPONENT,
    OWN_AMPLITUDE_MM,
    OWN_CORRELATION_MM,
    mode_weights,
    velocity_modes,
)
from genmorph.cohorts.simulate.tissue import PATCH_SIGMA_MM, Tissues, make_tissues, scatter
from genmorph.cohorts.simulate.warp import smoothing_matrix, white_noise
from genmorph.errors import CohortError
from genmorph.seeds import derive_seed

FLOW_STEPS = 1  # Runge-Kutta steps: more change no voxel's Jacobian by 5 %, most by less than 0.1 %
OWN_SIGMA = OWN_CORRELATION_MM / 2.0 / FIELD_SPACING_MM
PATCH_SIGMA = PATCH_SIGMA_MM / FIELD_SPACING_MM


@dataclass(frozen=True)
class TemplateSpace:
    """What the maps of all people share at one voxel size.

    Attributes
    ----------
    grid : Grid
        Of the maps; its voxel centres fall on those of the field grid where sizes divide.
    brain : ndarray `[x, y, z]` of bool
        The template's brain: the same for all people, whose own masks are its images.
    samples : dict of ndarray `[voxels]`
        The template's maps in the brain, as `make_tissues` takes them; patches are missing.
    field : Grid
        Part of the field grid around the brain, where velocities are made.
    nodes : ndarray `[nodes]`
        Flat indices in `field` of the points whose Jacobian is computed.
    modes : ndarray `[modes, field points * 4]`, float32
        Velocity (mm) of each shared mode, and its divergence.
    window : ndarray `[x, y, z]`
        The template's window on `field`.
    own_smoothing, patch_smoothing, interpolation : tuple of ndarray
        A matrix for each axis: from white noise to `field`, from white noise to `grid`, and from
        `field` to `grid`.
    """

    grid: Grid
    brain: np.ndarray
    samples: dict[str, np.ndarray]
    field: Grid
    nodes: np.ndarray
    modes: np.ndarray
    window: np.ndarray
    own_smoothing: tuple[np.ndarray, ...]
    patch_smoothing: tuple[np.ndarray, ...]
    interpolation: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class TrueMaps:
    """One person's tissue in the template's space.

    Attributes
    ----------
    grid : Grid
    tissues : Tissues
        Fractions in the voxels of the template's brain.
    jacobian : ndarray `[voxels]`, float32
        The person's volume per volume of the template, head size included when it was asked for.
    """

    grid: Grid
    tissues: Tissues
    jacobian: np.ndarray

    def modulated(self, tissue: str) -> np.ndarray:
        """Map `[x, y, z]` of a tissue ('gray', 'white', 'csf', ...) times the Jacobian.

        Its sum times the voxel's volume is the person's volume of that tissue.
        """
        return scatter(getattr(self.tissues, tissue) * self.jacobian, self.tissues.brain)

    def volumes_ml(self) -> dict[str, float]:
        """The person's tissue volumes, named as in the truth table of a simulated cohort.

        With the head's size they are those of the table, but for what voxels and the grid of
        velocities cost: at 2 mm brain, gray and white matter agree within 0.5 %, CSF and medial
        temporal gray matter within 2 %, ventricles within 8 %.
        """
        voxel_ml = self.grid.voxel_ml
        parts = {
            "gray_matter_ml": self.tissues.gray,
            "white_matter_ml": self.tissues.white,
            "csf_ml": self.tissues.csf,
            "ventricle_ml": self.tissues.ventricles,
            "medial_temporal_ml": self.tissues.medial_temporal,
        }
        volumes = {
            name: float((values * self.jacobian).sum(dtype=np.float64)) * voxel_ml
            for name, values in parts.items()
        }
        return {
            "brain_ml": float(self.jacobian.sum(dtype=np.float64)) * voxel_ml,
            **volumes,
            "gray_to_csf_ml": self.tissues.gray_to_csf_ml,
            "gray_to_white_ml": self.tissues.gray_to_white_ml,
        }


@lru_cache(maxsize=2)
def template_space(voxel_mm: float) -> TemplateSpace:
    """What people's maps share at a voxel size; made once a process, in seconds.

    Raises
    ------
    CohortError
        When the voxel size is not 1 to 8 mm.
    """
    if not 1.0 <= voxel_mm <= 8.0:
        raise CohortError(f"true maps: voxels of {voxel_mm:g} mm", "choose 1 to 8 mm")
    return space_of(build_template(voxel_mm), voxel_mm)


def space_of(template: Template, voxel_mm: float) -> TemplateSpace:
    """What people's maps share, from a template built for scanner voxels of `voxel_mm`."""
    whole = field_grid()
    first, count = _cut(whole)
    field = Grid(
        tuple((np.asarray(whole.origin_mm) + np.multiply(first, whole.spacing_mm)).tolist()),
        whole.spacing_mm,
        tuple(count),
    )
    cut = tuple(slice(start, start + n) for start, n in zip(first, count, strict=True))
    low = np.add(field.origin_mm, whole.spacing_mm)  # a node inside: divergences are whole there
    high = np.add(field.origin_mm, whole.spacing_mm * (np.asarray(count) - 2))
    grid = Grid.over(tuple(low.tolist()), tuple(high.tolist()), float(voxel_mm))

    points = grid.points()
    tissue = tissue_grid(voxel_mm)
    brain = tissue.sample(np.asarray(template.brain), points, outside=0.0) > 0.5
    inside = points[:, brain]
    samples = {
        name: tissue.sample(np.asarray(getattr(template, name)), inside, outside=0.0)
        for name in ("gray", "white")
    } | {
        name: region_grid().sample(np.asarray(getattr(template, name)), inside, outside=0.0)
        for name in ("outer_cortex", "inner_cortex", "ventricles", "medial_temporal", "deep_gray")
    }

    interpolation = tuple(
        _interpolation_matrix(field, grid, axis).astype(np.float32) for axis in range(3)
    )
    own = [smoothing_matrix(n, OWN_SIGMA) for n in whole.shape]
    patch = [smoothing_matrix(n, PATCH_SIGMA) for n in whole.shape]
    window = np.asarray(template.window)[cut]
    modes = [with_divergence(mode[:, *cut], field.spacing_mm) for mode in velocity_modes(template)]
    return TemplateSpace(
        grid=grid,
        brain=brain,
        samples=samples,
        field=field,
        nodes=_nodes(brain, interpolation),
        modes=np.stack([mode.ravel() for mode in modes]),
        window=window,
        own_smoothing=tuple(
            matrix[part].astype(np.float32) for matrix, part in zip(own, cut, strict=True)
        ),
        patch_smoothing=tuple(
            (weights @ matrix[part]).astype(np.float32)
            for weights, matrix, part in zip(interpolation, patch, cut, strict=True)
        ),
        interpolation=interpolation,
    )


def true_maps(
    space: TemplateSpace,
    visit: Visit,
    seed: int,
    *,
    medial_temporal_loss: float = 0.0,
    head_size: bool = True,
    steps: int = FLOW_STEPS,
) -> TrueMaps:
    """The tissue maps of one visit of the cohort of `seed`.

    Parameters
    ----------
    space : TemplateSpace
    visit : Visit
    medial_temporal_loss : float
        Part of the person's medial temporal gray matter taken away; see
        `with_medial_temporal_loss`.
    head_size : bool
        False leaves the size of the head out of the Jacobian, as nonlinear-only modulation does.
    steps : int
        Runge-Kutta steps along the flow.

    Returns
    -------
    TrueMaps
        Lesions are white matter, as in the truth of a simulated cohort; `tissues.lesion` is zero.

    Raises
    ------
    CohortError
        When the loss is out of range.
    """
    anatomy = with_medial_temporal_loss(anatomy_of(visit, seed), medial_temporal_loss)
    velocity = _velocity(space, np.asarray(mode_weights(anatomy)), _generator(seed, visit, "shape"))
    at_nodes = np.zeros(space.field.shape, np.float32)
    at_nodes.flat[space.nodes] = log_jacobian(
        velocity, space.nodes, space.field.spacing_mm, steps=steps
    )
    jacobian = np.exp(along_axes(at_nodes, space.interpolation)[space.brain])
    if head_size:
        jacobian *= np.float32(np.prod(anatomy.head_scale))

    noise = white_noise(_generator(seed, visit, "patches"), field_grid().shape, PATCH_SIGMA)
    samples = space.samples | {
        "patches": along_axes(noise, space.patch_smoothing)[space.brain],
        "lesions": np.zeros((), np.float32),
    }
    tissues = make_tissues(
        space.brain,
        samples,
        voxel_ml=space.grid.voxel_ml,
        cortex_scale=anatomy.cortex_scale**CORTEX_CLASS_EXPONENT,
        jacobian=jacobian,
    )
    return TrueMaps(space.grid, tissues, jacobian)


def log_jacobian(
    velocity: np.ndarray, nodes: np.ndarray, spacing_mm: float, *, steps: int = FLOW_STEPS
) -> np.ndarray:
    """Logarithm of the Jacobian determinant of exp(velocity) at some nodes of its grid.

    Parameters
    ----------
    velocity : ndarray `[x, y, z, 4]`, float32
        From `with_divergence`.
    nodes : ndarray `[nodes]`
        Flat indices in `[x, y, z]`.
    steps : int
        Runge-Kutta steps of order four.
    """
    shape = velocity.shape[:3]
    table = velocity.reshape(-1, 4) * np.float32([1 / spacing_mm] * 3 + [1.0])
    position = np.stack(np.unravel_index(nodes, shape)).astype(np.float32)
    logarithm = np.zeros(len(nodes), np.float32)
    size = np.float32(1.0 / steps)
    for step in range(steps):
        first = table[nodes].T if step == 0 else _at(table, shape, position)
        second = _at(table, shape, position + first[:3] * (size / 2))
        third = _at(table, shape, position + second[:3] * (size / 2))
        fourth = _at(table, shape, position + third[:3] * size)
        change = (first + 2 * (second + third) + fourth) * (size / 6)
        position = position + change[:3]
        logarithm += change[3]
    return logarithm


def with_divergence(velocity: np.ndarray, spacing_mm: float) -> np.ndarray:
    """A velocity `[3, x, y, z]` (mm) and its divergence, as `[x, y, z, 4]`, float32."""
    divergence = sum(np.gradient(velocity[axis], spacing_mm, axis=axis) for axis in range(3))
    return np.stack([*velocity, divergence], axis=-1).astype(np.float32)


def along_axes(volume: np.ndarray, matrices: tuple[np.ndarray, ...]) -> np.ndarray:
    """A volume `[x, y, z]` with each axis multiplied by its matrix `[new, old]`."""
    first, second, third = matrices
    length, *rest = volume.shape
    volume = (first @ volume.reshape(length, -1)).reshape(-1, *rest)
    return (second @ volume) @ third.T


def _velocity(space: TemplateSpace, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As `person_velocity`, on the part of the field around the brain, with its divergence."""
    shape = field_grid().shape
    own = np.stack(
        [
            along_axes(white_noise(rng, shape, OWN_SIGMA), space.own_smoothing) * space.window
            for _ in range(3)
        ]
    ) * np.float32(OWN_AMPLITUDE_MM)
    shared = weights.astype(np.float32) @ space.modes
    return shared.reshape(*space.field.shape, 4) + with_divergence(own, space.field.spacing_mm)


def _at(table: np.ndarray, shape: tuple[int, ...], position: np.ndarray) -> np.ndarray:
    """Trilinear values `[columns, points]` of a `table` `[grid points, columns]`.

    One gather for all columns: several times as fast as one interpolation for each.
    """
    limit = np.reshape(np.asarray(shape, np.float32) - np.float32(1.001), (3, 1))
    position = np.clip(position, 0.0, limit)
    low = position.astype(np.int32)
    x, y, z = position - low
    strides = (shape[1] * shape[2], shape[2], 1)
    corner = low[0] * strides[0] + low[1] * strides[1] + low[2]
    values = 0.0
    for i, along_x in enumerate((1 - x, x)):
        for j, along_y in enumerate((1 - y, y)):
            face = along_x * along_y
            for k, along_z in enumerate((1 - z, z)):
                offset = i * strides[0] + j * strides[1] + k
                values = values + table.take(corner + offset, axis=0) * (face * along_z)[:, None]
    return values.T


def _cut(whole: Grid) -> tuple[list[int], list[int]]:
    """First node and number of nodes of the field grid around the brain, two nodes beyond it."""
    low, high = (whole.indices_of(np.asarray(corner)) for corner in BRAIN_BOX)
    first = np.floor(low + 1e-3).astype(int) - 1
    last = np.ceil(high - 1e-3).astype(int) + 1
    return first.tolist(), (last - first + 1).tolist()


def _interpolation_matrix(source: Grid, target: Grid, axis: int) -> np.ndarray:
    """Linear interpolation along one axis, `[target points, source points]`."""
    points = target.origin_mm[axis] + target.spacing_mm * np.arange(target.shape[axis])
    index = (points - source.origin_mm[axis]) / source.spacing_mm
    low = np.clip(np.floor(index + 1e-9).astype(int), 0, source.shape[axis] - 2)
    matrix = np.zeros((len(points), source.shape[axis]))
    rows = np.arange(len(points))
    matrix[rows, low] = 1.0 - (index - low)
    matrix[rows, low + 1] = index - low
    return matrix


def _nodes(brain: np.ndarray, interpolation: tuple[np.ndarray, ...]) -> np.ndarray:
    """Flat indices of the field's nodes that values in the brain are interpolated from."""
    touched = along_axes(brain.astype(np.float32), tuple(matrix.T for matrix in interpolation))
    return np.flatnonzero(touched > 0.0)


def _generator(seed: int, visit: Visit, use: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "simulate", visit.participant_id, use))
