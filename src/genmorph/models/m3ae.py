"""M3AE, the multiscale metamorphic autoencoder (P1): a template, deformed and re-coloured.

Reads from the bottom of the model upwards: velocity -> deformation, warp, encoder, decoders, the
cascade of transforms, the losses.

Conventions: volumes `[n, x, y, z]`; fields `[n, 3, x, y, z]` in voxels, component c along axis c,
pulling back: the warped volume at p is the volume at p + displacement(p). The borders of a grid
are the same on every level, so voxel centres of a coarse level lie between those of a finer one,
and a field in fractions of the grid keeps its meaning when it is resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmorph.errors import ConfigError
from genmorph.models.blocks import (
    HEAD_WEIGHT_SPREAD,
    LEVELS,
    Block,
    Encoder,
    VariationalAutoencoder,
    check_grid,
    grid_sizes,
    kl_divergence,
    pixel_distance,
    posterior_sample,
    reduce_voxels,
    resize,
)
from genmorph.models.interface import Progress
from genmorph.models.options.m3ae import M3AEOptions

DEFORMING_LEVELS = 3  # the last level is additive only (P1, section 2)


# -- velocity -> deformation, warp ----------------------------------------------------------------


def integrate(velocity: Tensor, steps: int) -> Tensor:
    """Displacement exp(velocity) - identity of a stationary velocity, by scaling and squaring.

    Parameters
    ----------
    velocity : Tensor
        `[n, 3, x, y, z]`, voxels per unit of time.
    steps : int
        Squarings: the flow is followed in 2**steps equal parts.

    Returns
    -------
    Tensor
        `[n, 3, x, y, z]`, voxels.
    """
    return _in_voxels(_integrate_fraction(_in_fraction(velocity), steps))


def warp(volumes: Tensor, displacement: Tensor) -> Tensor:
    """Sample volumes at p + displacement(p), trilinearly; beyond the grid its border repeats.

    Parameters
    ----------
    volumes : Tensor
        `[n, channels, x, y, z]`.
    displacement : Tensor
        `[n, 3, x, y, z]`, voxels.
    """
    return _warp_fraction(volumes, _in_fraction(displacement))


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """Local change of volume by the deformation identity + displacement.

    Parameters
    ----------
    displacement : Tensor
        `[n, 3, x, y, z]`, voxels.

    Returns
    -------
    Tensor
        `[n, x, y, z]`; 1 keeps volume, above 1 the deformed volume shows less space there, 0 or
        below is a fold. Central differences, one-sided at the border.
    """
    columns = torch.gradient(displacement, dim=(2, 3, 4))
    jacobian = torch.stack(columns, dim=-1).movedim(1, -2)  # [n, x, y, z, component, axis]
    return torch.linalg.det(jacobian + torch.eye(3, dtype=jacobian.dtype, device=jacobian.device))


# Inside, fields are in halves of the grid's extent with components in reverse order, as
# `grid_sample` wants them: nothing is rescaled or reordered within the loop, and resampling a
# field to another grid needs no factor.


def _half_extent(field: Tensor) -> Tensor:
    sizes = torch.tensor(field.shape[2:], dtype=field.dtype, device=field.device)
    return sizes.view(1, 3, 1, 1, 1) / 2


def _in_fraction(field: Tensor) -> Tensor:
    return (field / _half_extent(field)).flip(1)


def _in_voxels(field: Tensor) -> Tensor:
    return field.flip(1) * _half_extent(field)


def _identity(like: Tensor) -> Tensor:
    """Voxel centres of a grid, `[x, y, z, 3]`, as `grid_sample` counts them."""
    centres = [
        (2 * torch.arange(size, dtype=like.dtype, device=like.device) + 1) / size - 1
        for size in like.shape[2:]
    ]
    return torch.stack(torch.meshgrid(*centres, indexing="ij")[::-1], dim=-1)


def _pull(volumes: Tensor, positions: Tensor) -> Tensor:
    # border, not zeros: a zero displacement from beyond would bend the field at the edge
    return F.grid_sample(
        volumes, positions, mode="bilinear", padding_mode="border", align_corners=False
    )


def _warp_fraction(volumes: Tensor, displacement: Tensor) -> Tensor:
    return _pull(volumes, _identity(displacement) + displacement.movedim(1, -1))


def _integrate_fraction(velocity: Tensor, steps: int) -> Tensor:
    identity = _identity(velocity)
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = displacement + _pull(displacement, identity + displacement.movedim(1, -1))
    return displacement


# -- decoders (supplement, section B) --------------------------------------------------


class Decoder(nn.Module):
    """Up-scaling blocks, each with a head that puts out one level's transform.

    A block is given the previous block's features and the previous head's output. Heads start
    near zero: an untrained model returns the template.

    Parameters
    ----------
    outputs : int
        Channels of a head: 3 for velocities, 1 for intensities.
    levels : int
        Number of blocks.
    """

    def __init__(
        self,
        options: M3AEOptions,
        sizes: Sequence[tuple[int, int, int]],
        *,
        outputs: int,
        levels: int,
    ) -> None:
        super().__init__()
        widths = options.channels[::-1]
        self.bottleneck = (widths[0], *sizes[0])
        self.from_latent = nn.Linear(options.latent_size // 2, math.prod(self.bottleneck))
        self.blocks, self.heads = nn.ModuleList(), nn.ModuleList()
        for level in range(levels):
            incoming = widths[0] if level == 0 else widths[level - 1] + outputs
            self.blocks.append(Block(incoming, widths[level], sizes[level + 1], options))
            head = nn.Conv3d(widths[level], outputs, 3, padding=1)
            nn.init.normal_(head.weight, std=HEAD_WEIGHT_SPREAD)
            nn.init.zeros_(head.bias)
            self.heads.append(head)

    def forward(self, latents: Tensor) -> list[Tensor]:
        """Half of z `[n, latent_size / 2]` to a list of `[n, outputs, *size of the level]`."""
        features = self.from_latent(latents).unflatten(1, self.bottleneck)
        transforms: list[Tensor] = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            features = block(torch.cat([features, *transforms[-1:]], dim=1))
            transforms.append(head(features))
        return transforms


# -- the model -------------------------------------------------------------------------------------


@dataclass
class Level:
    """One level of the cascade of transforms.

    Attributes
    ----------
    intensity : Tensor
        A of this level on the level's own grid, `[n, x, y, z]`.
    velocity, displacement : Tensor or None
        `[n, 3, x, y, z]` in voxels of the level's own grid; None on the last level.
    image : Tensor
        The template after this level, on the full grid, `[n, x, y, z]`.
    """

    intensity: Tensor
    velocity: Tensor | None
    displacement: Tensor | None
    image: Tensor

    @property
    def full_intensity(self) -> Tensor:
        """The intensity term on the full grid, `[n, x, y, z]`."""
        return resize(self.intensity[:, None], self.image.shape[1:])[:, 0]

    @property
    def full_displacement(self) -> Tensor | None:
        """The displacement on the full grid, in voxels of that grid, `[n, 3, x, y, z]`."""
        if self.displacement is None:
            return None
        return _in_voxels(resize(_in_fraction(self.displacement), self.image.shape[1:]))

    @property
    def full_jacobian_determinant(self) -> Tensor | None:
        """Jacobian determinant of the deformation on the full grid, `[n, x, y, z]`."""
        displacement = self.full_displacement
        return None if displacement is None else jacobian_determinant(displacement)


class M3AE(VariationalAutoencoder):
    """The multiscale metamorphic autoencoder.

    Parameters
    ----------
    options : M3AEOptions
    shape : tuple of int
        Grid of a volume.
    template : ndarray or None
        The volume `[x, y, z]` that is transformed; None leaves zeros.

    Raises
    ------
    ConfigError
        When the grid is too small to be halved four times, or is not the template's.
    """

    architecture = "m3ae"

    def __init__(
        self,
        options: M3AEOptions,
        shape: tuple[int, int, int],
        template: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        check_grid(self.architecture, shape)
        sizes = grid_sizes(shape)
        if template is not None and tuple(template.shape) != tuple(shape):
            raise ConfigError(f"template {tuple(template.shape)} for volumes of {tuple(shape)}")
        self.options, self.shape, self.level_sizes = options, tuple(shape), sizes[1:]
        self.encoder = Encoder(options, sizes)
        self.deformation_decoder = Decoder(options, sizes, outputs=3, levels=DEFORMING_LEVELS)
        self.intensity_decoder = Decoder(options, sizes, outputs=1, levels=LEVELS)
        values = np.zeros(shape, np.float32) if template is None else template
        self.register_buffer("template", torch.tensor(np.asarray(values, np.float32)))

    def encode(self, volumes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance `[n, latent_size]` of z given volumes `[n, x, y, z]`."""
        if self.options.encoder_input == "difference_from_template":
            volumes = volumes - self.template
        mean, log_variance = self.encoder(volumes[:, None])
        return mean.float(), log_variance.float()

    def cascade(self, latents: Tensor) -> list[Level]:
        """Transform the template level by level (section 2, figure 1).

        Levels 1 to 3 add and deform, x <- (x + A) o φ; the last level only adds.

        Parameters
        ----------
        latents : Tensor
            `[n, latent_size]`; the first half decides deformations, the second intensities.

        Returns
        -------
        list of Level
            From coarse to fine; the last image is the model's output.
        """
        for_deformation, for_intensity = latents.chunk(2, dim=1)
        velocities = self.deformation_decoder(for_deformation)
        intensities = self.intensity_decoder(for_intensity)
        # positions need all bits of a float, whatever precision the convolutions run in
        with torch.autocast(latents.device.type, enabled=False):
            return self._transform(
                [v.float() for v in velocities], [a.float() for a in intensities]
            )

    def _transform(self, velocities: list[Tensor], intensities: list[Tensor]) -> list[Level]:
        native = self.options.transform_resolution == "native_resolution"
        image = self.template.expand(len(intensities[0]), 1, *self.shape)
        levels = []
        for number, intensity in enumerate(intensities):
            size = self.level_sizes[number] if native else self.shape
            image = resize(image, size) + resize(intensity, size)
            velocity = displacement = None
            if number < DEFORMING_LEVELS:
                velocity = velocities[number]
                # integrated on the level's own, coarse grid: cheap, and smooth by construction
                fraction = _integrate_fraction(
                    _in_fraction(velocity), self.options.integration_steps
                )
                image = _warp_fraction(image, resize(fraction, size))
                displacement = _in_voxels(fraction)
            levels.append(
                Level(intensity[:, 0], velocity, displacement, resize(image, self.shape)[:, 0])
            )
        return levels

    def decode(self, latents: Tensor) -> Tensor:
        """Volumes `[n, x, y, z]` for latents `[n, latent_size]`."""
        return self.cascade(latents)[-1].image

    def losses(
        self,
        volumes: Tensor,
        *,
        phase: str = "all",
        progress: Progress,
        generators: Sequence[torch.Generator],
    ) -> dict[str, Tensor]:
        """Weighted terms of equation 1; the loss is their sum.

        Parameters
        ----------
        volumes : Tensor
            `[n, x, y, z]`.
        phase : str
            The only one there is.
        progress : Progress
            Decides β.
        generators : sequence of torch.Generator
            One for each volume, on the CPU; give the noise of the posterior sample.

        Returns
        -------
        dict of str to Tensor
            Scalars: reconstruction, kl, intermediate_1-3 (γ1), intensity_1-4 (γ2),
            smoothness_1-3 (γ3), divergence_1-3 (γ4), magnitude_1-3 (γ5).
        """
        mean, log_variance = self.encode(volumes)
        levels = self.cascade(posterior_sample(mean, log_variance, generators))
        with torch.autocast(volumes.device.type, enabled=False):
            return self._terms(volumes, mean, log_variance, levels, progress)

    def _terms(
        self,
        volumes: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        levels: list[Level],
        progress: Progress,
    ) -> dict[str, Tensor]:
        options = self.options

        def over_voxels(values: Tensor) -> Tensor:
            return reduce_voxels(values, options.reduction)

        def distance(image: Tensor) -> Tensor:
            return over_voxels(pixel_distance(volumes, image, options.pixel_loss))

        beta = options.beta_at(progress.epoch, progress.epochs)
        terms: dict[str, Any] = {
            "reconstruction": distance(levels[-1].image),
            "kl": beta * kl_divergence(mean, log_variance).mean(),
        }
        for number, level in enumerate(levels):
            name = number + 1
            weight = options.intensity_weights[number]
            terms[f"intensity_{name}"] = weight * over_voxels(level.intensity.square())
            if level.displacement is None:
                continue
            penalised = options.penalised_field
            field = level.displacement if penalised == "displacement" else level.velocity
            weight = options.intermediate_weights[number]
            terms[f"intermediate_{name}"] = weight * distance(level.image)
            for term, weights, values in (
                ("smoothness", options.smoothness_weights, squared_gradient(field)),
                ("divergence", options.divergence_weights, divergence(field).square()),
                ("magnitude", options.magnitude_weights, field.square().sum(1)),
            ):
                terms[f"{term}_{name}"] = weights[number] * over_voxels(values)
        return terms


# -- terms of the loss (equations 2 and 3) ---------------------------------------------------------


def _forward_differences(field: Tensor) -> list[Tensor]:
    """Change of a field to the next voxel along each axis, each of the field's own shape.

    Zero at the last voxel of the axis: beyond the grid its border repeats, as in `warp`. (Central
    differences would not see a field that alternates from voxel to voxel.)
    """
    last = [field.narrow(axis, field.shape[axis] - 1, 1) for axis in (2, 3, 4)]
    return [torch.diff(field, dim=axis, append=last[axis - 2]) for axis in (2, 3, 4)]


def squared_gradient(field: Tensor) -> Tensor:
    """Squared length of a field's gradient, `[n, 3, x, y, z]` to `[n, x, y, z]`."""
    return sum(change.square().sum(1) for change in _forward_differences(field))


def divergence(field: Tensor) -> Tensor:
    """Divergence of a field, `[n, 3, x, y, z]` to `[n, x, y, z]`."""
    return sum(change[:, axis] for axis, change in enumerate(_forward_differences(field)))
