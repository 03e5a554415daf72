"""Published checkpoints and resumable training states: safetensors and JSON, never pickle."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph.errors import WeightsError
from genmorph.files import (
    atomic_folder,
    atomic_path,
    canonical_json,
    digest,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
)

if TYPE_CHECKING:
    import torch

    from genmorph.models.interface import GenerativeModel

FORMAT = "genmorph-checkpoint-1"
HEADER = "genmorph"  # one key: the order of several is not the same in every process
FINGERPRINT_LENGTH = 32
KEPT_STATES = 2  # the newest, and one to fall back on
_HEADER_KEYS = {"architecture", "options", "shape", "parameters", "tensors_sha256"}
LARGEST_HEADER = 100_000_000  # bytes; the limit of the format itself


# -- published checkpoints -------------------------------------------------------------------------


def save_model(path: Path | str, model: GenerativeModel, parameters: Mapping[str, Any]) -> None:
    """Write a model atomically: everything needed to build it again, and what it was trained with.

    Parameters
    ----------
    path : Path or str
        `model.safetensors`.
    model : GenerativeModel
        Its weights and buffers, the template among them, become tensors; architecture, options
        and grid stand in the header.
    parameters : mapping
        JSON values kept in the header for whoever reads the file.
    """
    from safetensors.torch import save

    tensors = _on_cpu(model.state_dict())
    content = {
        "format": FORMAT,
        "architecture": model.architecture,
        "options": model.options.model_dump(mode="json"),
        "shape": list(model.shape),
        "parameters": dict(parameters),
        "tensors_sha256": _tensors_digest(tensors),
    }
    with atomic_path(path) as temporary:
        header = canonical_json({**content, "sha256": digest(content)})
        # written by Python, whose errors say when a disk is full
        temporary.write_bytes(save(tensors, metadata={HEADER: header}))


def load_model(path: Path | str) -> GenerativeModel:
    """Build the model of a checkpoint, on the CPU and ready for use.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or not a checkpoint of this package.
    """
    import safetensors.torch
    import torch

    from genmorph.models import build

    content = read_header(path)
    try:
        tensors = safetensors.torch.load_file(path)
    except Exception as error:  # the library has its own error, and the system has more
        raise WeightsError(f"{path}: damaged ({error})", _TRAIN_AGAIN) from None
    if _tensors_digest(tensors) != content["tensors_sha256"]:
        raise WeightsError(f"{path}: damaged (weights are not those saved)", _TRAIN_AGAIN)
    try:
        said = (content["architecture"], content["options"], content["shape"])
        # Without values first: a header that asks for a larger model than its file holds would
        # take the machine's memory.
        with torch.device("meta"):
            planned = build(*said).state_dict()
        if _shapes(planned) != _shapes(tensors):
            raise ValueError("its tensors are not the model's")
        model = build(*said)
        model.load_state_dict(tensors)
    except Exception as error:  # a constructor stumbles over a damaged header in any way
        raise WeightsError(
            f"{path}: does not fit the code of model '{content['architecture']}' ({error})",
            _TRAIN_AGAIN,
        ) from None
    return model.eval()


def read_header(path: Path | str) -> dict[str, Any]:
    """What a checkpoint says of itself; reads no weights and needs no torch.

    Returns
    -------
    dict
        `architecture`, `options`, `shape`, `parameters`, `tensors_sha256`.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or not a checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such checkpoint", _TRAIN_AGAIN)
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > LARGEST_HEADER:
                raise ValueError("no header")
            header = json.loads(stream.read(length))
        content = json.loads(header["__metadata__"][HEADER])
        known = content.pop("sha256") == digest(content) and content["format"] == FORMAT
        known = known and content.keys() >= _HEADER_KEYS
        known = known and isinstance(content["architecture"], str)
    except Exception:  # a damaged header has many ways of being none
        known = False
    if not known:
        raise WeightsError(
            f"{path}: not a checkpoint of genmorph, or damaged",
            "give a model.safetensors written by `genmorph train`, or train again",
        )
    return content


def read_architecture(path: Path | str) -> str:
    """Name of a checkpoint's model.

    Raises
    ------
    WeightsError
        As `read_header`.
    """
    return read_header(path)["architecture"]


_TRAIN_AGAIN = "remove it and run the workflow again"


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _tensors_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """One hash for names, types, shapes and values."""
    parts = {}
    for name, tensor in tensors.items():
        values = tensor.reshape(-1).numpy()
        head = f"{values.dtype.str}{tuple(tensor.shape)}".encode()
        parts[name] = sha256_bytes(head + values.tobytes())
    return digest(parts)


# -- resumable states ------------------------------------------------------------------------------


def fingerprint(
    parameters: Mapping[str, Any], code: str, seed: int, store: str, scans: Mapping[str, Any]
) -> str:
    """Name of the folder for the states of one training run, and of no other.

    Parameters
    ----------
    parameters : mapping
        Every resolved value, as JSON.
    code : str
        Hash of the code that trains.
    seed : int
    store : str
        Hash of the training store's index.
    scans : mapping
        Which of the store's scans are used for what: its index knows neither splits nor people.
    """
    whole = {
        "parameters": dict(parameters),
        "code": code,
        "seed": seed,
        "store": store,
        "scans": dict(scans),
    }
    return digest(whole)[:FINGERPRINT_LENGTH]


def prune_states(states: Path | str, keep: str | None) -> None:
    """Remove the states of every other run; with None, of all runs.

    Only folders that are named like a fingerprint are touched.
    """
    states = Path(states)
    if not states.is_dir():
        return
    for folder in states.iterdir():
        if folder.name != keep and folder.is_dir() and _is_fingerprint(folder.name):
            shutil.rmtree(folder)
    if keep is None and not any(states.iterdir()):
        states.rmdir()


def _is_fingerprint(name: str) -> bool:
    return len(name) == FINGERPRINT_LENGTH and set(name) <= set("0123456789abcdef")


def save_state(
    folder: Path | str,
    step: int,
    weights: Mapping[str, torch.Tensor],
    optimizer: Mapping[str, torch.Tensor],
    rest: Mapping[str, Any],
) -> None:
    """Write the state after `step` steps atomically and drop all but the last two.

    Parameters
    ----------
    folder : Path or str
        Folder of this run's states.
    step : int
    weights, optimizer : mapping of str to Tensor
    rest : mapping
        JSON values that belong to this step.
    """
    from safetensors.torch import save

    folder = Path(folder)
    with atomic_folder(folder / f"step-{step:08d}") as temporary:
        hashes = {}
        for name, tensors in (("weights", weights), ("optimizer", optimizer)):
            file = temporary / f"{name}.safetensors"
            file.write_bytes(save(_on_cpu(tensors)))
            hashes[name] = sha256_file(file)
        write_json(temporary / "state.json", {"step": step, "sha256": hashes, "rest": rest})
    for old in sorted(folder.glob("step-*"))[:-KEPT_STATES]:
        shutil.rmtree(old)


def load_state(
    folder: Path | str,
) -> tuple[int, dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any]] | None:
    """The newest whole state of a run, or None when there is none.

    A damaged one is named on stderr and removed, and the one before it is taken.

    Returns
    -------
    step : int
    weights, optimizer : dict of str to Tensor
    rest : dict
    """
    folder = Path(folder)
    for state in sorted(folder.glob("step-*"), reverse=True):
        try:
            return _read_state(state)
        except WeightsError as error:
            print(f"warning: {error.message}; it is not used", file=sys.stderr, flush=True)
            shutil.rmtree(state)
    return None


def _read_state(
    state: Path,
) -> tuple[int, dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any]]:
    import safetensors.torch

    try:
        content = read_json(state / "state.json")
        tensors = {}
        for name, expected in content["sha256"].items():
            file = state / f"{name}.safetensors"
            if sha256_file(file) != expected:
                raise WeightsError(f"{file}: not the file that was written")
            tensors[name] = safetensors.torch.load_file(file)
        return content["step"], tensors["weights"], tensors["optimizer"], content["rest"]
    except WeightsError:
        raise
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise WeightsError(f"{state}: damaged training state ({error})") from None
