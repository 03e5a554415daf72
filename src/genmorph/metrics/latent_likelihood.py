"""How likely a slice VAE finds scans: log p(y) of their latent stacks, and a bound on log p(V).

Volokitin et al. (P2, section 2.1) count p(V), the integral of p(V|y) p(y) over the codes y of a
volume's slices, among the merits of their model, and give no number for it. Two things are in
closed form or near it: the density p(y) of a latent stack under the Gaussian over slices, and the
evidence lower bound

    log p(V) >= E_q[log p(V|y)] + E_q[log p(y)] + H(q),

with the encoder's posterior q(y|V) and normal noise around the decoder's volume.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from genmorph.errors import MeasurementError
from genmorph.metrics.latent_densities import DiagonalGaussian, LatentDensity, NoisyGaussian
from genmorph.metrics.measurement import Measurement, counts
from genmorph.metrics.volumes import checked_volume
from genmorph.seeds import derive_seed

if TYPE_CHECKING:
    import torch

GAUSSIAN, INDEPENDENT, STANDARD = "gaussian_over_slices", "independent_slices", "standard_normal"
WITH_NOISE = "_with_noise"  # of a density: the posterior's own variance is added to it
# of the codes' RMS distance from their mean: how far the mean may be from that of the fit
SAME_MEAN = 0.02


class SliceModel(Protocol):
    """What is asked of a model that encodes volumes slice by slice.

    `gaussian` is a `LatentDensity` with the mean of the training codes `mean` `[L, T]`, the factor
    `matrix()` of their covariances, the number of `volumes` it was fitted on, and its
    `covariance_kind`.
    """

    gaussian: Any

    def posterior(self, volumes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log SD of codes of volumes `[n, x, y, z]`: two `[n, L, T]`."""

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Volumes `[n, x, y, z]` of codes `[n, L, T]`."""


def measure_latent_likelihood(
    model: SliceModel,
    held_out: Mapping[str, np.ndarray],
    training: Mapping[str, np.ndarray],
    *,
    encoder: str,
    decoder_variance: float = 0.5,
    draws: int = 4,
    seed: int = 0,
    device: str = "cpu",
) -> Measurement:
    """Likelihood of held-out scans beside that of the scans the Gaussian was fitted on.

    Parameters
    ----------
    model : SliceModel
        On `device`, ready for use.
    held_out, training : mapping of str to ndarray
        Volumes `[x, y, z]` by scan id, of the model's grid; `training` are those that the Gaussian
        over slices was fitted on. Training scans are read twice, others once.
    encoder : str
        Hash of the trained weights: codes of two encoders have nothing in common.
    decoder_variance : float
        σ² of the noise around the decoder's volume. A sum of squared differences without a factor
        is -log N(V; decoded, 1/2) but for a constant.
    draws : int
        From q for E_q[log p(V|y)]; the other two terms are in closed form.
    seed : int
        A scan's draws depend on it and the scan's id alone.
    device : str

    Returns
    -------
    Measurement
        For each density p(y) (`gaussian_over_slices`; `independent_slices`: variances of the same
        training codes, no covariance; both also `_with_noise`, the posterior's mean variance added
        to each number's; `standard_normal`) `log_density_*` at the posterior mean and the bound
        `elbo_*`, in nats; `*_bits` are code lengths (-log2, fewer is better) for each
        number of the stack and for each voxel. `reconstruction_term` and `entropy` are the bound's
        first and last term, `sum_of_squares` is E_q |V - decoded|², from which the bound at any
        other variance follows. All also with `_training`. The spread is the SD over scans. A
        density that is not defined has no values, and a note says why.

    Raises
    ------
    MeasurementError
        When a side has no scans, one is not fit for a measure, or the training scans are not those
        of the fit.
    """
    import torch

    for side, volumes in (("held-out", held_out), ("training", training)):
        if not volumes:
            raise MeasurementError(f"latent likelihood: no {side} scans")

    shape: tuple[int, ...] | None = None

    def posterior(scan_id: str, volume: np.ndarray) -> tuple[torch.Tensor, ...]:
        nonlocal shape
        checked = checked_volume("latent likelihood", scan_id, volume, shape)
        shape = checked.shape
        seen = torch.from_numpy(np.ascontiguousarray(checked, np.float32))[None].to(device)
        return seen, *model.posterior(seen)

    with torch.inference_mode():
        variance, noise = _spread_of_fit(model, (posterior(*scan) for scan in training.items()))
        mean = model.gaussian.mean
        densities, notes = _defined(
            {
                GAUSSIAN: lambda: model.gaussian,
                GAUSSIAN + WITH_NOISE: lambda: NoisyGaussian(mean, model.gaussian.matrix(), noise),
                INDEPENDENT: lambda: DiagonalGaussian(mean, variance),
                INDEPENDENT + WITH_NOISE: lambda: DiagonalGaussian(mean, variance + noise),
                STANDARD: lambda: DiagonalGaussian(torch.zeros_like(mean), torch.ones_like(mean)),
            },
            mean[None],
        )
        per_scan: dict[str, dict[str, float]] = {}
        for suffix, volumes in (("", held_out), ("_training", training)):
            for scan_id, volume in volumes.items():
                seen, code_mean, log_deviation = posterior(scan_id, volume)
                squares = _expected_squares(
                    model, seen, code_mean, log_deviation.exp(), scan_id, draws, seed
                )
                found = _terms(densities, code_mean, log_deviation, squares, decoder_variance, seen)
                own = per_scan.setdefault(scan_id, {})
                own |= {f"{name}{suffix}": value for name, value in found.items()}
    values, spread = {}, {}
    for name in dict.fromkeys(key for numbers in per_scan.values() for key in numbers):
        numbers_of_scans = [numbers[name] for numbers in per_scan.values() if name in numbers]
        values[name] = statistics.fmean(numbers_of_scans)
        if len(numbers_of_scans) > 1:
            spread[name] = statistics.stdev(numbers_of_scans)
    return Measurement(
        measure="latent_likelihood",
        values=values,
        spread=spread,
        n=counts(reference=list(held_out), training=list(training)),
        settings={
            "encoder": encoder,
            "covariance_kind": model.gaussian.covariance_kind,
            "decoder_variance": decoder_variance,
            "draws": draws,
            "seed": seed,
            "log_density": "log p(y) of the latent stack at the posterior mean, nats",
            "elbo": "E_q[log p(V|y)] + E_q[log p(y)] + H(q), nats",
            "bits": "-log2 for each number of the stack, for each voxel of the bound",
            "average": "mean over scans of each scan's value",
            "spread_over": "scans",
        },
        notes=(
            "log p(y) is the density of a latent stack, not log p(V): it compares among codes of "
            "one encoder alone (settings.encoder).",
            "The bound on log p(V) is of intensities in [0, 1] as real numbers, for the decoder's "
            f"variance {decoder_variance:g}; it compares among models of one grid and variance.",
            f"Covariance of log p(y): {model.gaussian.covariance_kind}.",
            *notes,
        ),
        per_scan=per_scan,
    )


def _spread_of_fit(
    model: SliceModel, encoded: Iterable[tuple[torch.Tensor, ...]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance (of n) of the training codes and mean variance of their posteriors, `[L, T]`.

    Raises
    ------
    MeasurementError
        When number or mean of the codes are not those that the Gaussian was fitted on.
    """
    import torch

    fitted = model.gaussian.mean.double()
    sums, squares, noise = (torch.zeros_like(fitted) for _ in range(3))
    number = 0
    for _, mean, log_deviation in encoded:
        difference = mean[0].double() - fitted
        sums += difference
        squares += difference.square()
        noise += (2 * log_deviation[0].double()).exp()
        number += 1
    wanted = int(model.gaussian.volumes)
    shift = sums / number
    scale = (squares / number).mean().sqrt()
    if number != wanted or shift.square().mean().sqrt() > SAME_MEAN * scale:
        raise MeasurementError(
            f"latent likelihood: the {number} training scans are not the {wanted} that the "
            "Gaussian over slices was fitted on",
            "give the store, the manifest and the participants that the model was trained with",
        )
    return squares / number - shift.square(), noise / number


def _defined(
    densities: Mapping[str, Callable[[], LatentDensity]], codes: torch.Tensor
) -> tuple[dict[str, LatentDensity], list[str]]:
    """The densities that can be made and have a value, and a note on each of the others."""
    found, notes = {}, []
    for name, make in densities.items():
        try:
            density = make()
            density.log_density(codes)
        except MeasurementError as error:
            notes.append(f"Latent likelihood: n/a for {name}: {error.message}.")
        else:
            found[name] = density
    return found, notes


def _expected_squares(
    model: SliceModel,
    seen: torch.Tensor,
    mean: torch.Tensor,
    deviation: torch.Tensor,
    scan_id: str,
    draws: int,
    seed: int,
) -> float:
    """E_q |V - decoded|², a mean over draws from the posterior."""
    import torch

    total = 0.0
    for draw in range(draws):
        stream = torch.Generator().manual_seed(
            derive_seed(seed, "latent_likelihood", scan_id, draw)
        )
        noise = torch.randn(mean.shape, generator=stream).to(mean.device)
        made = model.decode(mean + deviation * noise)
        total += float((seen.double() - made.double()).square().sum())
    return total / draws


def _terms(
    densities: Mapping[str, LatentDensity],
    mean: torch.Tensor,
    log_deviation: torch.Tensor,
    squares: float,
    variance: float,
    seen: torch.Tensor,
) -> dict[str, float]:
    """Densities and bounds of one scan, in nats and as code lengths in bits."""
    voxels, numbers = seen.numel(), mean.numel()
    reconstruction = -0.5 * (squares / variance + voxels * math.log(2 * math.pi * variance))
    entropy = float(log_deviation.double().sum()) + 0.5 * numbers * (1 + math.log(2 * math.pi))
    found = {
        "reconstruction_term": reconstruction,
        "entropy": entropy,
        "sum_of_squares": squares,
    }
    for name, density in densities.items():
        at_mean = float(density.log_density(mean))
        expected = float(density.expected_log_density(mean, log_deviation.exp()))
        bound = reconstruction + expected + entropy
        found |= {
            f"log_density_{name}": at_mean,
            f"log_density_{name}_bits": -at_mean / (numbers * math.log(2)),
            f"elbo_{name}": bound,
            f"elbo_{name}_bits": -bound / (voxels * math.log(2)),
        }
    return found
