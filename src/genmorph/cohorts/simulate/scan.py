"""One visit from its seed: image and truth, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genmorph.cohorts.simulate.anatomy import FIELD_SPACING_MM, Template, field_grid
from genmorph.cohorts.simulate.atlas import LabelAtlas
from genmorph.cohorts.simulate.person import (
    SEVERITY,
    Anatomy,
    Visit,
    anatomy_of,
    contrast_of,
    with_medial_temporal_loss,
)
from genmorph.cohorts.simulate.scanner import (
    Acquisition,
    HeadWarp,
    Scanner,
    ScannerGrid,
    acquire,
    bias_field,
    draw_acquisition,
    draw_field_strength,
    face_mask,
    ideal_signal,
    template_from_scanner,
    template_indices,
)
from genmorph.cohorts.simulate.tissue import (
    Tissues,
    draw_lesions,
    lesion_map,
    make_tissues,
    patch_field,
    sample_tissues,
    scatter,
)
from genmorph.cohorts.simulate.warp import (
    checked_minimum_jacobian,
    exponential,
    random_velocity,
)
from genmorph.seeds import derive_seed

OWN_CORRELATION_MM = 18.0  # of the part of a person's shape that no population mode holds
OWN_AMPLITUDE_MM = 0.7
# A wall that moves leaves the region of growth: the wanted change of ventricles needs this factor.
VENTRICLE_GAIN = 1.25
# Cortex is thinner than the grid of velocities: the warp makes a part of the change of its volume,
# the change of tissue class the rest.
CORTEX_WARP_EXPONENT, CORTEX_CLASS_EXPONENT = 0.5, 0.8


@dataclass(frozen=True)
class SimulatedScan:
    """What one visit gives.

    Attributes
    ----------
    visit : Visit
    scanner : Scanner
    grid : ScannerGrid
        The scanner's voxels, in the order right, front, top; so are the arrays.
    image : ndarray `[x, y, z]`, int16
    tissues : Tissues
    warp : HeadWarp
    labels : ndarray `[x, y, z]` or None
        Regions of a label atlas.
    acquisition : Acquisition
    parameters : dict
        Numbers the visit was made from, flat, for the truth table.
    """

    visit: Visit
    scanner: Scanner
    grid: ScannerGrid
    image: np.ndarray
    tissues: Tissues
    warp: HeadWarp
    labels: np.ndarray | None
    acquisition: Acquisition
    parameters: dict[str, Any]


def simulate_scan(
    template: Template,
    visit: Visit,
    *,
    seed: int,
    scanner: Scanner,
    atlas: LabelAtlas | None = None,
    medial_temporal_loss: float = 0.0,
) -> SimulatedScan:
    """Make one visit's image and truth.

    The image is made in slabs, whose bytes do not depend on where they are cut: only the image
    itself, its signal and the brain's voxels are held whole.

    Parameters
    ----------
    medial_temporal_loss : float
        Part of the person's medial temporal gray matter taken away; see
        `with_medial_temporal_loss`.

    Raises
    ------
    GenmorphError
        When the person's warp folds, or the loss is out of range.
    """
    person = visit.participant_id
    anatomy = with_medial_temporal_loss(anatomy_of(visit, seed), medial_temporal_loss)
    contrast = contrast_of(visit, seed)
    rng = _generator(seed, visit.scan_id, "acquisition")
    tesla = draw_field_strength(rng, scanner)
    if visit.run == 2:  # in the scanner of the first run
        first_run = replace(visit, run=1).scan_id
        tesla = draw_field_strength(_generator(seed, first_run, "acquisition"), scanner)
    acquisition = draw_acquisition(rng, tesla)
    grid, resolution_mm = scanner.grid(), scanner.resolution_mm

    velocity = person_velocity(template, anatomy, _generator(seed, person, "shape"))
    # from person to template, which is what sampling the template asks for
    displacement = exponential(-velocity, FIELD_SPACING_MM)
    jacobian = checked_minimum_jacobian(displacement, FIELD_SPACING_MM, visit.scan_id)
    warp = HeadWarp(template_from_scanner(anatomy, acquisition), displacement)

    lesions = draw_lesions(
        template,
        _generator(seed, person, "lesions"),
        age_years=visit.age_years,
        severity=SEVERITY[visit.diagnosis],
    )
    blobs, patches = lesion_map(lesions), patch_field(_generator(seed, person, "patches"))
    parts, labels = list(grid.slabs()), []
    masks, samples = [], []
    for part in parts:
        points = warp.points(grid.axes(part))
        indices = template_indices(points, resolution_mm)
        mask, sampled = sample_tissues(template, indices, patches=patches, lesions=blobs)
        masks.append(mask)
        samples.append(sampled)
        if atlas is not None:
            labels.append(atlas.at(points))
    tissues = make_tissues(
        np.concatenate(masks),
        {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]},
        voxel_ml=grid.voxel_ml,
        cortex_scale=anatomy.cortex_scale**CORTEX_CLASS_EXPONENT,
    )

    signal = np.empty(grid.shape, np.float32)
    faces = []
    bias = bias_field(_generator(seed, visit.scan_id, "bias"), grid, acquisition.bias_amplitude)
    first = 0  # brain voxels of the slabs before
    for part, mask, factor in zip(parts, masks, bias, strict=True):
        points = warp.points(grid.axes(part))
        region = template_indices(points, resolution_mm)["region"]
        inside = slice(first, first + int(mask.sum()))
        fractions = {
            name: scatter(getattr(tissues, name)[inside], mask)
            for name in ("gray", "white", "lesion")
        }
        fractions["brain"] = mask
        signal[part] = ideal_signal(template, region, fractions, anatomy, contrast, resolution_mm)
        signal[part] *= factor
        if scanner.defaced:
            faces.append(face_mask(template, points, region))
        first = inside.stop
    noise = _generator(seed, visit.scan_id, "noise", repr(resolution_mm))
    image = acquire(signal, parts, acquisition, noise)
    if scanner.defaced:
        image[np.concatenate(faces)] = 0

    size = anatomy.head_scale
    parameters = {
        "head_scale_x": size[0],
        "head_scale_y": size[1],
        "head_scale_z": size[2],
        "ventricle_scale": anatomy.ventricle_scale,
        "cortex_scale": anatomy.cortex_scale,
        "medial_temporal_scale": anatomy.medial_temporal_scale,
        "minimum_jacobian": jacobian,
        "gray_signal": contrast.gray,
        "csf_signal": contrast.csf,
        "lesion_signal": contrast.lesion,
        "lesion_count": len(lesions.depths),
        "noise_fraction": acquisition.noise,
        "bias_amplitude": acquisition.bias_amplitude,
        "fluid_mm": anatomy.layers.fluid_mm,
        "skull_mm": anatomy.layers.skull_mm,
        "scalp_mm": anatomy.layers.scalp_mm,
    }
    for axis, turn, shift in zip(
        "xyz", acquisition.rotation_degrees, acquisition.translation_mm, strict=True
    ):
        parameters[f"rotation_{axis}_degrees"] = turn
        parameters[f"translation_{axis}_mm"] = shift
    return SimulatedScan(
        visit,
        scanner,
        grid,
        image,
        tissues,
        warp,
        np.concatenate(labels) if atlas is not None else None,
        acquisition,
        parameters,
    )


def person_velocity(template: Template, anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    """Stationary velocity `[3, x, y, z]` (mm) that takes the template to the person.

    A few modes shared by the population (ventricles, cortex, medial temporal lobe, head shape),
    and a smaller random part of the person's own.
    """
    velocity = random_velocity(
        rng, field_grid(), correlation_mm=OWN_CORRELATION_MM, amplitude_mm=OWN_AMPLITUDE_MM
    )
    velocity *= template.window
    for weight, mode in zip(mode_weights(anatomy), velocity_modes(template), strict=True):
        velocity += np.float32(weight) * mode
    return velocity


def velocity_modes(template: Template) -> list[np.ndarray]:
    """Velocities `[3, x, y, z]` (mm) that all people share, in the order of `mode_weights`."""
    return [
        template.ventricle_velocity,
        template.cortex_velocity,
        template.medial_temporal_velocity,
        *template.shape_velocities,
    ]


def mode_weights(anatomy: Anatomy) -> list[float]:
    """How much of each of the `velocity_modes` a person has."""
    return [
        VENTRICLE_GAIN * np.log(anatomy.ventricle_scale),
        CORTEX_WARP_EXPONENT * np.log(anatomy.cortex_scale),
        np.log(anatomy.medial_temporal_scale),
        *anatomy.shape,
    ]


def _generator(seed: int, *use: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "simulate", *use))
