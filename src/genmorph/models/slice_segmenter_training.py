"""Training of the slice segmenter (P2, section 4.2): one visible loop."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from genmorph.errors import TrainingError
from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
from genmorph.models.slice_segmenter import (
    CORONAL,
    SliceSegmenter,
    SliceUNet,
    as_slices,
    forward_slices,
    label_weights,
    overlap,
    percentiles,
    segmentation_loss,
    soft_dice,
)
from genmorph.seeds import derive_seed


def train_segmenter(
    volumes: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    *,
    held_out: Collection[str],
    options: SliceSegmenterOptions,
    seed: int,
    device: str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> SliceSegmenter:
    """Train on labelled volumes; keep the epoch with the best Dice on those held out.

    On one CPU and number of threads, the same input and seed give the same bytes.

    Parameters
    ----------
    volumes : mapping of str to ndarray
        Scan id to volume `[x, y, z]`; read anew in each epoch, `volumes_at_once` at a time.
    labels : mapping of str to ndarray
        Scan id to labels `[x, y, z]` from 0 to `n_labels` - 1.
    held_out : collection of str
        Ids that are not trained on; all scans of a person stand on one side.
    options : SliceSegmenterOptions
    seed : int
        Decides first weights and order of slices. Torch's own generator is left as it was.
    device : str
        Of the network, as torch names it.
    say : callable
        Told each epoch's loss and Dice.

    Raises
    ------
    TrainingError
        When no volume is left to train on or to hold out, one has no labels, or grids, values or
        labels cannot be used.
    """
    training_ids, held_out_ids = _two_sides(volumes, labels, held_out)
    shape, intensities = _examine(volumes, labels, training_ids + held_out_ids, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "segmenter", "weights"))
        network = SliceUNet(options).to(device)
    weights = _weights(labels, training_ids, options).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
    steps = options.epochs * _steps_of_epoch(len(training_ids), shape[CORONAL], options)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = np.random.default_rng(derive_seed(seed, "segmenter", "order"))
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    for epoch in range(1, options.epochs + 1):
        network.train()
        losses = []
        for slices, truth in _batches(volumes, labels, training_ids, options, order):
            logits = network(slices.to(device))
            loss = segmentation_loss(logits, truth.to(device), options, weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if options.learning_rate_falls:
                falling.step()
            losses.append(loss.item())
        if not np.isfinite(losses).all():
            raise TrainingError(
                f"segmenter: the loss is not finite in epoch {epoch}", "use a smaller learning_rate"
            )
        dice = _held_out_dice(network, volumes, labels, held_out_ids, options)
        if dice > max((row["held_out_dice"] for row in history), default=-1.0):
            best = {name: value.clone() for name, value in network.state_dict().items()}
        history.append(
            {"epoch": epoch, "loss": float(np.mean(losses)), "held_out_dice": dice},
        )
        say(f"epoch {epoch}: loss {history[-1]['loss']:.4f}, held-out Dice {dice:.4f}")
    network.load_state_dict(best)
    chosen = max(history, key=lambda row: row["held_out_dice"])
    facts = {
        "seed": seed,
        "training_ids": training_ids,
        "held_out_ids": held_out_ids,
        "best_epoch": int(chosen["epoch"]),
        "selection_dice": chosen["held_out_dice"],
        "history": history,
    }
    return SliceSegmenter(network.eval(), options, shape, intensities, facts)


def _weights(
    labels: Mapping[str, np.ndarray], training_ids: Sequence[str], options: SliceSegmenterOptions
) -> Tensor:
    voxels = np.zeros(options.n_labels, np.int64)
    for scan_id in training_ids:
        voxels += np.bincount(labels[scan_id].ravel(), minlength=options.n_labels)
    return label_weights(voxels, options.cross_entropy_balance)


def _two_sides(
    volumes: Mapping[str, Any], labels: Mapping[str, Any], held_out: Collection[str]
) -> tuple[list[str], list[str]]:
    training = sorted(set(volumes) - set(held_out))
    aside = sorted(set(held_out))
    if absent := sorted(set(aside) - set(volumes)):
        raise TrainingError(f"segmenter: no volume of {', '.join(absent)}, to be held out")
    if unlabelled := sorted(set(volumes) - set(labels)):
        raise TrainingError(f"segmenter: no labels of {', '.join(unlabelled)}")
    if not training or not aside:
        raise TrainingError(
            f"segmenter: {len(training)} volumes to train on, {len(aside)} held out",
            "give labelled scans of at least two people",
        )
    return training, aside


def _examine(
    volumes: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    ids: Sequence[str],
    options: SliceSegmenterOptions,
) -> tuple[tuple[int, int, int], tuple[float, float]]:
    """The grid and the intensities that all volumes have in common."""
    shape: tuple[int, ...] = ()
    ranges = []
    for scan_id in ids:
        volume, truth = volumes[scan_id], labels[scan_id]
        shape = shape or volume.shape
        if len(shape) != 3 or volume.shape != shape or truth.shape != shape:
            raise TrainingError(
                f"{scan_id}: volume {volume.shape} and labels {truth.shape} among {shape}",
                "bring all to one grid",
            )
        if not np.isfinite(volume).all() or volume.min() == volume.max():
            raise TrainingError(f"{scan_id}: the volume is constant, or a voxel is not finite")
        found = np.unique(truth)
        if not np.isin(found, np.arange(options.n_labels)).all():
            raise TrainingError(
                f"{scan_id}: labels from {found.min()} to {found.max()}; 0 to "
                f"{options.n_labels - 1} are trained on",
                "group the labels first",
            )
        ranges.append(percentiles(volume))
    low, high = np.median(ranges, axis=0)
    if not high > low:
        raise TrainingError("segmenter: the volumes are empty up to their 99th percentile")
    return shape, (float(low), float(high))  # type: ignore[return-value]


def _batches(
    volumes: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    ids: Sequence[str],
    options: SliceSegmenterOptions,
    order: np.random.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Slices `[n, 1, x, z]` and labels `[n, x, z]` of an epoch, every slice once."""
    shuffled = [ids[number] for number in order.permutation(len(ids))]
    for start in range(0, len(shuffled), options.volumes_at_once):
        held = shuffled[start : start + options.volumes_at_once]
        slices = np.concatenate([as_slices(volumes[scan_id]) for scan_id in held])
        truth = np.concatenate([as_slices(labels[scan_id]) for scan_id in held])
        for rows in _split(order.permutation(len(slices)), options.batch_size):
            yield (
                torch.from_numpy(slices[rows].astype(np.float32))[:, None],
                torch.from_numpy(truth[rows].astype(np.uint8)),
            )


def _steps_of_epoch(n_volumes: int, n_slices: int, options: SliceSegmenterOptions) -> int:
    """Batches of an epoch; those of volumes that are not in memory together are not mixed."""
    together = range(0, n_volumes, options.volumes_at_once)
    held = [min(options.volumes_at_once, n_volumes - start) for start in together]
    return sum(-(-volumes * n_slices // options.batch_size) for volumes in held)


def _split(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _held_out_dice(
    network: SliceUNet,
    volumes: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    ids: Sequence[str],
    options: SliceSegmenterOptions,
) -> float:
    """Mean over volumes and structures (background left out) of the Dice of the hard labels."""
    network.eval()
    of_volumes = []
    for scan_id in ids:
        truth = torch.from_numpy(as_slices(labels[scan_id]).astype(np.uint8))
        sums = [
            overlap(
                functional.one_hot(logits.argmax(1).cpu(), options.n_labels).movedim(-1, 1), part
            )
            for logits, part in zip(
                forward_slices(network, volumes[scan_id], options.batch_size),
                truth.split(options.batch_size),
                strict=True,
            )
        ]
        shared, total = (torch.stack(part).sum(0).double() for part in zip(*sums, strict=True))
        of_volumes.append(soft_dice(shared, total, options.dice_smoothing)[1:].mean().item())
    return float(np.mean(of_volumes))
