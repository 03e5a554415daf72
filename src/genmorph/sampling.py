"""Samples and reconstructions, from a trained model or from a trivial reference.

References show what a number is worth: a table has them beside the models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from genmorph.errors import GenmorphError, did_you_mean
from genmorph.seeds import derive_seed
from genmorph.store import decode

if TYPE_CHECKING:
    import torch

    from genmorph.models.interface import GenerativeModel
    from genmorph.store import Store

SAMPLES, RECONSTRUCTIONS = "samples", "reconstructions"
BATCH_SIZE = 4
NEIGHBOUR_BLOCK = 64  # volumes compared at a time
CORONAL = 1  # axis of a volume that runs from back to front: the slices of P2
MIXED_BLOCK = 16  # samples made of slices at a time: training scans are read once for each block

# which of the two a reference defines
REFERENCES: dict[str, frozenset[str]] = {
    "training_mean": frozenset({SAMPLES, RECONSTRUCTIONS}),
    "template": frozenset({SAMPLES, RECONSTRUCTIONS}),
    "training_scans": frozenset({SAMPLES}),
    "nearest_training_scan": frozenset({RECONSTRUCTIONS}),
    "voxel_shuffled": frozenset({SAMPLES}),
    "held_out": frozenset({SAMPLES}),
    "independent_slices": frozenset({SAMPLES}),
    "training_mean_noise": frozenset({SAMPLES}),
}

Volumes = Iterator[tuple[str, np.ndarray]]


def sample_id(number: int) -> str:
    """Id of the n-th sample.

    Examples
    --------
    >>> sample_id(7)
    'sample-00007'
    """
    return f"sample-{number:05d}"


# -- models ----------------------------------------------------------------------------------------


def draw_samples(
    model: GenerativeModel,
    n: int,
    seed: int,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
) -> Volumes:
    """Draw volumes from a model.

    The k-th sample depends on `seed` and k alone. Batches are always full (what is too much is
    dropped), so `n` changes no bit of it; `batch_size` changes no more than rounding.

    Yields
    ------
    str, ndarray
        Id and volume `[x, y, z]`, float32.
    """
    import torch

    model = on_device(model, device)
    for first in range(0, n, batch_size):
        numbers = range(first, first + batch_size)
        generators = [
            torch.Generator().manual_seed(derive_seed(seed, "sample", number)) for number in numbers
        ]
        with torch.inference_mode():
            volumes = model.sample(generators).float().cpu().numpy()
        for number, volume in zip(numbers, volumes, strict=True):
            if number < n:
                yield sample_id(number), volume


def reconstruct_scans(
    model: GenerativeModel,
    store: Store,
    ids: Sequence[str],
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
) -> Volumes:
    """Encode and decode scans without noise, in the order of `ids`.

    Batches are always full, as in `draw_samples`: which other scans are asked for changes nothing.

    Yields
    ------
    str, ndarray
        Scan id and volume `[x, y, z]`, float32.
    """
    import torch

    model = on_device(model, device)
    if tuple(store.shape) != tuple(model.shape):
        raise GenmorphError(
            f"store of {tuple(store.shape)} volumes, model of {tuple(model.shape)}",
            "use the store that the model was trained on",
        )
    for first in range(0, len(ids), batch_size):
        own = list(ids[first : first + batch_size])
        volumes = np.stack([store.read(scan_id) for scan_id in own])
        volumes = np.resize(volumes, (batch_size, *volumes.shape[1:]))
        with torch.inference_mode():
            made = model.reconstruct(torch.from_numpy(volumes).to(device)).float().cpu().numpy()
        yield from zip(own, made, strict=False)


def on_device(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """A model in evaluation mode on a device.

    Raises
    ------
    GenmorphError
        When it is a GPU and there is none.
    """
    import torch

    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise GenmorphError(
            f"device {device}: no GPU found", "set compute.device to cpu, or ask for a GPU"
        )
    return model.to(device).eval()


# -- trivial references ----------------------------------------------------------------------------


def reference_samples(
    kind: str,
    store: Store,
    *,
    ids: Mapping[str, Sequence[str]],
    template: str,
    n: int,
    seed: int,
) -> Volumes:
    """Volumes that need no model.

    Parameters
    ----------
    kind : str
        training_mean (the mean image, n times), template (n times), training_scans (a copier:
        each once in random order, then again), voxel_shuffled (test scans, the voxels of each in
        random order), held_out (all validation scans, whatever n), independent_slices (each coronal
        slice from a training scan drawn for it alone: real slices, no coherence),
        training_mean_noise (the mean image and, in each voxel, independent Gaussian noise of the SD
        that training scans have there, clipped to [0, 1]).
    store : Store
    ids : mapping
        Scan ids of `train`, `validation` and `test`.
    template : str
        Scan id of the template.
    n : int
    seed : int
        The k-th volume depends on it and k alone.

    Yields
    ------
    str, ndarray
        Id and volume `[x, y, z]`, float32; scan ids for held_out, else ids of samples.

    Raises
    ------
    GenmorphError
        When `kind` is not a reference that defines samples, or fewer than two training scans are
        there to tell an SD.
    """
    _check_reference(kind, SAMPLES)
    if kind == "independent_slices":
        return _independent_slices(store, ids["train"], n, seed)
    if kind == "training_mean_noise":
        return _mean_and_noise(store, ids["train"], n, seed)
    if kind == "held_out":
        return ((scan_id, store.read(scan_id)) for scan_id in ids["validation"])
    if kind == "training_scans":
        return ((sample_id(k), store.read(_shuffled(ids["train"], k, seed))) for k in range(n))
    if kind == "voxel_shuffled":
        test = ids["test"]
        return (
            (sample_id(k), _shuffle_voxels(store.read(test[k % len(test)]), k, seed))
            for k in range(n)
        )
    volume = _constant(kind, store, ids["train"], template)
    return ((sample_id(k), volume) for k in range(n))


def reference_reconstructions(
    kind: str,
    store: Store,
    ids: Sequence[str],
    *,
    training_ids: Sequence[str],
    template: str,
    seed: int,
) -> Volumes:
    """Stand-ins for scans that need no model.

    Parameters
    ----------
    kind : str
        training_mean, template, or nearest_training_scan (least squared distance over the grid).
    store : Store
    ids : sequence of str
        Scans to stand in for.
    training_ids : sequence of str
    template : str
        Scan id of the template.
    seed : int
        Not used: none of these is random.

    Yields
    ------
    str, ndarray
        Scan id and volume `[x, y, z]`, float32.

    Raises
    ------
    GenmorphError
        When `kind` is not a reference that defines reconstructions.
    """
    _check_reference(kind, RECONSTRUCTIONS)
    if kind == "nearest_training_scan":
        nearest = _nearest(store, ids, training_ids)
        return ((scan_id, store.read(other)) for scan_id, other in zip(ids, nearest, strict=True))
    volume = _constant(kind, store, training_ids, template)
    return ((scan_id, volume) for scan_id in ids)


def _check_reference(kind: str, wanted: str) -> None:
    able = [name for name, gives in REFERENCES.items() if wanted in gives]
    if kind not in able:
        raise GenmorphError(f"reference '{kind}' defines no {wanted}; {did_you_mean(kind, able)}")


def nearest_to_mean(store: Store, ids: Sequence[str], training_ids: Sequence[str]) -> str:
    """Of some scans the one of least squared distance to the training mean; the first of equals."""
    mean = store.mean(training_ids)
    distances = [float(np.square(store.read(scan_id) - mean).sum()) for scan_id in ids]
    return ids[int(np.argmin(distances))]


def _constant(kind: str, store: Store, training_ids: Sequence[str], template: str) -> np.ndarray:
    return store.read(template) if kind == "template" else store.mean(training_ids)


def _shuffled(ids: Sequence[str], k: int, seed: int) -> str:
    """The k-th id when all are dealt out in random order, again and again."""
    deal, position = divmod(k, len(ids))
    rng = np.random.default_rng(derive_seed(seed, "training_scans", deal))
    return ids[rng.permutation(len(ids))[position]]


def _shuffle_voxels(volume: np.ndarray, k: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(derive_seed(seed, "voxel_shuffled", k))
    return rng.permutation(volume.ravel()).reshape(volume.shape)


def _independent_slices(store: Store, ids: Sequence[str], n: int, seed: int) -> Volumes:
    slices = store.shape[CORONAL]
    for first in range(0, n, MIXED_BLOCK):
        numbers = range(first, min(first + MIXED_BLOCK, n))
        # [sample, slice]: which scan a slice comes from
        chosen = np.stack(
            [
                np.random.default_rng(derive_seed(seed, "independent_slices", k)).integers(
                    len(ids), size=slices
                )
                for k in numbers
            ]
        )
        mixed: np.ndarray | None = None  # [sample, slice, x, z], as stored: a byte a voxel
        for scan in np.unique(chosen):
            stored = np.moveaxis(store.read_stored(ids[scan]), CORONAL, 0)
            if mixed is None:
                mixed = np.empty((len(numbers), *stored.shape), stored.dtype)
            sample, position = np.nonzero(chosen == scan)
            mixed[sample, position] = stored[position]
        for k, volume in zip(numbers, mixed, strict=True):
            yield sample_id(k), decode(np.moveaxis(volume, 0, CORONAL))


def _mean_and_noise(store: Store, ids: Sequence[str], n: int, seed: int) -> Volumes:
    if len(ids) < 2:
        raise GenmorphError(
            f"{store.folder}: reference 'training_mean_noise' needs two training scans to take an "
            f"SD of, there is {len(ids)}",
            "give the training split more people, or leave the reference out",
        )

    def drawn() -> Volumes:
        mean, deviation = mean_and_deviation(store, ids)
        for k in range(n):
            rng = np.random.default_rng(derive_seed(seed, "training_mean_noise", k))
            noise = rng.standard_normal(mean.shape, dtype=np.float32)
            yield sample_id(k), np.clip(mean + deviation * noise, 0.0, 1.0)

    return drawn()


def mean_and_deviation(store: Store, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and SD (of n - 1) of some scans in each voxel, `[x, y, z]`, float32.

    One pass in double precision (Welford 1962): two volumes are held, whatever the number of scans.
    """
    mean, squares = np.zeros(store.shape), np.zeros(store.shape)
    for count, scan_id in enumerate(ids, start=1):
        volume = store.read(scan_id)
        change = volume - mean
        mean += change / count
        squares += change * (volume - mean)
    return mean.astype(np.float32), np.sqrt(squares / (len(ids) - 1)).astype(np.float32)


def _nearest(store: Store, ids: Sequence[str], training_ids: Sequence[str]) -> list[str]:
    """For each scan the training scan of least squared distance; the first of equal ones."""
    scans = [store.read_stored(scan_id) for scan_id in ids]  # small: as stored, a byte a voxel
    least = np.full(len(ids), np.inf)
    found = [training_ids[0]] * len(ids)
    for first in range(0, len(training_ids), NEIGHBOUR_BLOCK):
        block = training_ids[first : first + NEIGHBOUR_BLOCK]
        others = np.stack([store.read(scan_id).ravel() for scan_id in block]).astype(float)
        lengths = (others**2).sum(axis=1)
        for row, stored in enumerate(scans):
            # |a - b|^2 without |a|^2, which is the same for all; in double precision, as the
            # difference of large sums
            distances = lengths - 2 * (others @ decode(stored).ravel().astype(float))
            best = int(distances.argmin())
            if distances[best] < least[row]:
                least[row], found[row] = distances[best], block[best]
    return found
