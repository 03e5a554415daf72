"""`genmorph evaluate latent_likelihood`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmorph.cli.evaluate.common import Comparison
from genmorph.errors import CohortError, MeasurementError
from genmorph.metrics.measurement import Measurement

if TYPE_CHECKING:
    from genmorph.store import Store


def open_made(checkpoint: Path, real: Store) -> tuple[Any, Path]:
    """The trained model, and the summary of its training."""
    from genmorph.cli.evaluate.trained_model import TrainedModel

    made = TrainedModel(checkpoint, real.description.source["cohort"])
    return made, made.summary


def measure(
    two: Comparison,
    *,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
) -> Measurement:
    """How likely a trained slice VAE finds held-out scans, and the scans it was fitted on.

    --generated is its model.safetensors, --reference the store that it was trained on.
    """
    from genmorph.metrics.latent_likelihood import measure_latent_likelihood
    from genmorph.models.slice_vae import SliceVAE

    if not two.by_splits:
        raise CohortError(
            "latent likelihood: nothing says who was trained on",
            "give --manifest and --participants",
        )
    model = two.made.load(device)
    if not isinstance(model, SliceVAE):
        raise MeasurementError(
            f"{two.made.checkpoint}: a {model.architecture} has no density of latent stacks",
            "give the checkpoint of a slice_vae",
        )
    if tuple(model.shape) != tuple(two.real.shape):
        raise MeasurementError(
            f"{two.made.checkpoint}: made for a grid of {model.shape}, {two.real.folder} has "
            f"{two.real.shape}",
            "give the store that the model was trained on",
        )
    fitted_on = two.split_ids("train")[: model.options.gaussian_volumes]
    return measure_latent_likelihood(
        model,
        two.real.volumes(two.real_ids),
        two.real.volumes(fitted_on),
        encoder=two.made.header["tensors_sha256"],
        decoder_variance=two.options.decoder_variance,
        draws=two.options.draws,
        seed=two.options.seed,
        device=device,
    )
