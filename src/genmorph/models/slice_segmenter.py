"""The 2D U-Net that labels coronal slices for the realistic atlas score (P2, section 4.2).

It generates nothing, so it stands outside the registry of models: it is trained once on labelled
people, and from then on it is an instrument of a measure.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genmorph.errors import MeasurementError, WeightsError
from genmorph.files import canonical_json, digest
from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
from genmorph.validation import validate

CORONAL = 1  # axis of a volume that runs from back to front
FORMAT = "genmorph-segmenter-1"
HEADER = "genmorph"
# how far a volume's intensities may lie from those trained on, in widths of their range
FARTHEST_BACKGROUND, DIMMEST, BRIGHTEST = 0.25, 0.25, 2.0


# -- the network -----------------------------------------------------------------------------------


def _convolutions(incoming: int, outgoing: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False),
        nn.BatchNorm2d(outgoing),
        nn.ReLU(inplace=True),
        nn.Conv2d(outgoing, outgoing, 3, padding=1, bias=False),
        nn.BatchNorm2d(outgoing),
        nn.ReLU(inplace=True),
    )


class SliceUNet(nn.Module):
    """Slices `[n, 1, x, z]` to logits `[n, n_labels, x, z]`, on a grid of any size."""

    def __init__(self, options: SliceSegmenterOptions) -> None:
        super().__init__()
        widths = options.channels
        self.down = nn.ModuleList(_convolutions(*pair) for pair in itertools.pairwise([1, *widths]))
        coarse_to_fine = list(itertools.pairwise(widths[::-1]))
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(*pair, 2, stride=2) for pair in coarse_to_fine
        )
        self.up = nn.ModuleList(_convolutions(2 * fine, fine) for _, fine in coarse_to_fine)
        self.to_logits = nn.Conv2d(widths[0], options.n_labels, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """Logits; zeros are added at the far edges where the levels need an even grid."""
        height, width = slices.shape[-2:]
        multiple = 2 ** (len(self.down) - 1)
        features = functional.pad(slices, (0, -width % multiple, 0, -height % multiple))
        kept: list[Tensor] = []
        for level, convolutions in enumerate(self.down):
            features = convolutions(functional.max_pool2d(features, 2) if level else features)
            kept.append(features)
        kept.pop()
        for upsample, convolutions in zip(self.upsample, self.up, strict=True):
            features = convolutions(torch.cat([kept.pop(), upsample(features)], dim=1))
        return self.to_logits(features)[..., :height, :width]


# -- the loss --------------------------------------------------------------------------------------


def overlap(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What the two sides of a Dice ratio are made of.

    Parameters
    ----------
    probabilities : Tensor
        `[n, n_labels, x, z]`.
    labels : Tensor
        Whole numbers `[n, x, z]`.

    Returns
    -------
    shared, total : Tensor
        `[n_labels]`: Σ p g and Σ p + Σ g, with g one where the label is.
    """
    true = functional.one_hot(labels.long(), probabilities.shape[1]).movedim(-1, 1)
    over = (0, 2, 3)
    return (probabilities * true).sum(over), probabilities.sum(over) + true.sum(over)


def soft_dice(shared: Tensor, total: Tensor, smoothing: float) -> Tensor:
    """Dice `[n_labels]`; a label that neither side has counts as found."""
    return (2 * shared + smoothing) / (total + smoothing)


def label_weights(voxels: np.ndarray, balance: float) -> Tensor:
    """Weight of each label in cross entropy, a voxel's being 1 in the mean.

    Parameters
    ----------
    voxels : ndarray
        Number of voxels of each label in the training volumes.
    balance : float
        0: all voxels alike; 1: all labels alike.
    """
    share = np.maximum(voxels, 1) / np.maximum(voxels, 1).sum()
    weights = share**-balance
    return torch.from_numpy(weights / (share * weights).sum()).float()


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    options: SliceSegmenterOptions,
    weights: Tensor | None = None,
) -> Tensor:
    """1 - mean Dice over the labels of a batch, plus the weighted cross entropy.

    Parameters
    ----------
    logits : Tensor
        `[n, n_labels, x, z]`.
    labels : Tensor
        Whole numbers `[n, x, z]`.
    options : SliceSegmenterOptions
    weights : Tensor, optional
        Of each label in cross entropy (`label_weights`).
    """
    dice = soft_dice(*overlap(logits.softmax(1), labels), options.dice_smoothing)
    loss = 1 - dice.mean()
    if options.cross_entropy_weight > 0:
        cross_entropy = functional.cross_entropy(logits, labels.long(), weights)
        loss = loss + options.cross_entropy_weight * cross_entropy
    return loss


# -- the trained instrument ------------------------------------------------------------------------


@dataclass
class SliceSegmenter:
    """A trained network, what it was trained on, and how good it was.

    Attributes
    ----------
    network : SliceUNet
    options : SliceSegmenterOptions
    shape : tuple of int
        Grid `[x, y, z]` of the volumes trained on.
    intensities : tuple of float
        Median 1st and 99th percentile of the volumes trained on.
    facts : dict
        JSON values: `seed`, `training_ids`, `held_out_ids`, `best_epoch`, `selection_dice` (on the
        held-out volumes, which chose the epoch) and `history`, a row an epoch.
    """

    network: SliceUNet
    options: SliceSegmenterOptions
    shape: tuple[int, int, int]
    intensities: tuple[float, float]
    facts: dict[str, Any]

    def segment(self, volume: np.ndarray) -> np.ndarray:
        """Labels of a volume, slice by slice.

        Parameters
        ----------
        volume : ndarray
            `[x, y, z]`, grid and intensities as trained on.

        Returns
        -------
        ndarray, uint8
            `[x, y, z]`.

        Raises
        ------
        MeasurementError
            When grid or intensities are not those of the training volumes.
        """
        self._check(volume)
        labels = [
            logits.argmax(1)
            for logits in forward_slices(self.network.eval(), volume, self.options.batch_size)
        ]
        found = torch.cat(labels).cpu().numpy().astype(np.uint8)
        return np.ascontiguousarray(np.moveaxis(found, 0, CORONAL))

    def _check(self, volume: np.ndarray) -> None:
        if volume.shape != self.shape:
            raise MeasurementError(f"volume {volume.shape}, segmenter trained on {self.shape}")
        if not np.isfinite(volume).all():
            raise MeasurementError("a voxel is not finite")
        low, high = percentiles(volume)
        background, width = self.intensities[0], self.intensities[1] - self.intensities[0]
        if (
            abs(low - background) > FARTHEST_BACKGROUND * width
            or not DIMMEST * width <= high - background <= BRIGHTEST * width
        ):
            raise MeasurementError(
                f"intensities from {low:.4g} to {high:.4g} (percentiles 1 and 99), segmenter "
                f"trained on {background:.4g} to {self.intensities[1]:.4g}",
                "bring both to the same intensity scale",
            )

    def to_bytes(self) -> bytes:
        """Content of a safetensors file: the weights, and all else as JSON in its header."""
        from safetensors.torch import save

        tensors = {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in self.network.state_dict().items()
        }
        content = {
            "format": FORMAT,
            "options": self.options.model_dump(mode="json"),
            "shape": list(self.shape),
            "intensities": list(self.intensities),
            "facts": self.facts,
        }
        return save(tensors, {HEADER: canonical_json({**content, "sha256": digest(content)})})

    @classmethod
    def from_bytes(cls, content: bytes) -> SliceSegmenter:
        """Read what `to_bytes` gave.

        Raises
        ------
        WeightsError
            When it is damaged, or no segmenter of this package.
        """
        from safetensors.torch import load

        try:
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])
            told = json.loads(header["__metadata__"][HEADER])
            known = told.pop("sha256") == digest(told) and told["format"] == FORMAT
            tensors = load(content)
        except Exception:  # the library has its own error, and a damaged header has many
            known = False
        if not known:
            raise WeightsError(
                "not a segmenter of genmorph, or damaged", "train the segmenter again"
            )
        options = validate(SliceSegmenterOptions, told["options"], "options of the segmenter")
        network = SliceUNet(options)
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise WeightsError(
                f"weights do not fit the segmenter's code ({error})", "train the segmenter again"
            ) from None
        low, high = told["intensities"]
        return cls(network.eval(), options, tuple(told["shape"]), (low, high), told["facts"])


def percentiles(volume: np.ndarray) -> tuple[float, float]:
    """1st and 99th percentile."""
    low, high = np.percentile(volume, (1, 99))
    return float(low), float(high)


def as_slices(volume: np.ndarray) -> np.ndarray:
    """`[x, y, z]` to coronal slices `[y, x, z]`."""
    return np.ascontiguousarray(np.moveaxis(volume, CORONAL, 0))


def forward_slices(network: SliceUNet, volume: np.ndarray, batch_size: int) -> Iterator[Tensor]:
    """Logits of a volume's slices, a batch at a time."""
    device = next(network.parameters()).device
    slices = torch.from_numpy(as_slices(volume).astype(np.float32))[:, None]
    with torch.inference_mode():
        for batch in slices.split(batch_size):
            yield network(batch.to(device))
