"""The slice VAE: sizes, loss by hand, slices and volumes, a step at the paper's sizes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from genmorph.errors import ConfigError
from genmorph.models import build
from genmorph.models.interface import Progress
from genmorph.models.options.slice_vae import SliceVAEOptions
from genmorph.models.slice_vae import channel_widths, slice_sizes
from genmorph.training.checkpoints import load_model, save_model
from genmorph.training.loop import train
from genmorph.training.options import TrainingOptions

THIN = {"latent_channels": 8}
SHAPE = (16, 6, 16)
START = Progress(0, 0.0, 1.0)


def generators(n):
    return [torch.Generator().manual_seed(number) for number in range(n)]


@pytest.fixture
def volumes():
    return torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))


def fitted(volumes, **options):
    model = build("slice_vae", {**THIN, **options}, SHAPE).eval()
    with torch.no_grad():
        model.fit_after_training(volumes.split(2))
    return model


@pytest.mark.parametrize(
    ("size", "depth", "widths", "code"),
    [
        (64, "released", [16, 16, 32, 64, 128, 256], (2, 2)),
        (128, "released", [8, 8, 16, 32, 64, 128, 256], (2, 2)),
        (256, "released", [4, 4, 8, 16, 32, 64, 128, 256], (2, 2)),
        (64, "printed", [16, 32, 64, 128, 256], (4, 4)),
        (128, "printed", [8, 16, 32, 64, 128, 256], (4, 4)),
        (256, "printed", [4, 8, 16, 32, 64, 128, 256], (4, 4)),
    ],
)
def test_channels_and_grids_are_the_papers(size, depth, widths, code):
    sizes = slice_sizes((size, size), depth)
    assert sizes[-1] == code
    assert channel_widths(SliceVAEOptions(depth=depth), len(sizes) - 1) == widths


@pytest.mark.parametrize("shape", [(16, 6, 16), (20, 5, 13), (8, 3, 9)])
@pytest.mark.parametrize("depth", ["released", "printed"])
def test_any_grid_comes_back_as_it_was(shape, depth):
    model = build("slice_vae", {**THIN, "depth": depth}, shape).eval()
    seen = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert model.reconstruct(seen).shape == (2, *shape)
        assert model.encode(seen).shape == model.gaussian.mean.expand(2, -1, -1).shape


def test_terms_of_the_loss_by_hand(volumes):
    model = build("slice_vae", THIN, SHAPE)
    with torch.no_grad():
        terms = model.losses(volumes, progress=START, generators=generators(3))
        slices = torch.stack([volume[:, t] for volume in volumes for t in range(6)])[:, None]
        mean, log_deviation = model.encoder(slices)
        shape = (6, *mean.shape[1:])
        noise = torch.cat([torch.randn(shape, generator=one) for one in generators(3)])
        made = model.decoder(mean + noise * log_deviation.exp())
        normal = torch.distributions.Normal
        kl = torch.distributions.kl_divergence(normal(mean, log_deviation.exp()), normal(0.0, 1.0))
    assert set(terms) == {"reconstruction", "kl"}
    expected = (slices - made).square().sum() / 3
    torch.testing.assert_close(terms["reconstruction"], expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(terms["kl"], 0.2 * kl.sum() / 3, rtol=1e-4, atol=1e-3)


def test_a_step_may_see_some_slices_of_each_volume(volumes):
    model = build("slice_vae", {**THIN, "slices_per_volume": 2}, SHAPE)
    marked = torch.arange(6.0).view(1, 1, 6, 1).expand(1, 16, 6, 16)
    chosen = [model._choose(marked[0], one)[:, 0, 0].tolist() for one in generators(20)]
    assert all(len(own) == 2 and own[0] < own[1] for own in chosen)
    assert len(set(map(tuple, chosen))) > 3
    terms = model.losses(volumes, progress=START, generators=generators(3))
    assert all(torch.isfinite(term) for term in terms.values())


def test_slices_are_coronal(volumes):
    """A change of one coronal slice changes the code of that slice alone."""
    model = build("slice_vae", {**THIN, "batch_statistics": "running"}, SHAPE).eval()
    other = volumes.clone()
    other[0, :, 4] = 0.0
    with torch.no_grad():
        changed = (model.encode(other) - model.encode(volumes)).abs().amax(dim=1)
        assert (changed[0] > 0).tolist() == [False] * 4 + [True, False]
        assert not changed[1:].any()
        codes = model.encode(volumes)
        made = model.decode(codes)
        codes[0, :, 4] += 1.0
        changed = (model.decode(codes) - made).abs().amax(dim=(1, 3))
    assert (changed[0] > 1e-6).tolist() == [False] * 4 + [True, False]


def test_statistics_of_normalisation_are_the_volumes_own_or_those_gathered(volumes):
    model = build("slice_vae", THIN, SHAPE)
    running = build("slice_vae", {**THIN, "batch_statistics": "running"}, SHAPE)
    running.load_state_dict(model.state_dict())
    model.train()
    with torch.no_grad():
        in_training = model.encoder(volumes[0].movedim(1, 0)[:, None])[0].flatten(1).T
        counted = model.encoder.layers[1].num_batches_tracked.clone()
        model.eval()
        running.eval()
        own = model.encode(volumes)
        torch.testing.assert_close(own[0], in_training)
        torch.testing.assert_close(model.encode(volumes[1:2])[0], own[1])
        assert not torch.allclose(running.encode(volumes)[0], own[0], atol=1e-3)
    assert model.encoder.layers[1].num_batches_tracked == counted


def test_the_gaussian_is_of_the_first_training_volumes(volumes):
    model = fitted(volumes, gaussian_volumes=2)
    with torch.no_grad():
        codes = model.encode(volumes)
    assert int(model.gaussian.volumes) == 2
    torch.testing.assert_close(model.gaussian.mean, codes[:2].mean(0), rtol=1e-5, atol=1e-5)
    assert int(fitted(volumes).gaussian.volumes) == 3


def test_a_sample_depends_on_its_own_generator_alone(volumes):
    model = fitted(volumes)
    with torch.no_grad():
        two, one = model.sample(generators(2)), model.sample(generators(2)[1:])
    assert two.shape == (2, *SHAPE)
    torch.testing.assert_close(two[1], one[0], rtol=1e-5, atol=1e-6)
    assert not torch.equal(two[0], two[1])


@pytest.mark.parametrize(
    ("options", "shape", "match"),
    [
        (THIN, (7, 9, 16), "8 voxels"),
        ({"latent_channels": 4}, (64, 8, 64), "power of two"),
        ({"latent_channels": 12}, (32, 8, 32), "power of two"),
    ],
)
def test_what_cannot_be_halved_is_refused(options, shape, match):
    with pytest.raises(ConfigError, match=match):
        build("slice_vae", options, shape)


class Scans:
    """A store in memory."""

    shape = SHAPE

    def __init__(self, n):
        smooth = np.sin(np.linspace(0, 3, SHAPE[0]))[:, None, None] * np.ones(SHAPE)
        rng = np.random.default_rng(0)
        self.volumes = {
            f"s{k}": np.uint8(200 * smooth * rng.uniform(0.6, 1.0, (1, SHAPE[1], 1)))
            for k in range(n)
        }

    def read_stored(self, scan_id):
        return self.volumes[scan_id]


def test_training_lowers_the_loss_and_ends_in_a_checkpoint_that_samples(tmp_path):
    store = Scans(8)

    def run(name):
        model = build("slice_vae", THIN, SHAPE, seed=1)
        summary = train(
            model,
            store,
            training_ids=list(store.volumes),
            validation_ids=[],
            options=TrainingOptions(
                epochs=15,
                checkpoint_every_epochs=15,
                batch_size=4,
                learning_rate=2e-2,
                optimizer="adam",
                tensorboard=False,
            ),
            seed=1,
            state=tmp_path / name / "state",
            metrics=tmp_path / name / "metrics.csv",
        )
        save_model(tmp_path / name / "model.safetensors", model, {})
        return summary

    summary = run("one")
    lines = (tmp_path / "one" / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("reconstruction")
    assert summary.losses["reconstruction"] < 0.5 * float(lines[1].split(",")[column])
    model = load_model(tmp_path / "one" / "model.safetensors")
    assert int(model.gaussian.volumes) == 8
    with torch.no_grad():
        drawn = model.sample(generators(2))
    real = np.stack(list(store.volumes.values())) / 255
    assert abs(float(drawn.mean()) - real.mean()) < 0.1
    run("two")
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def parameter_count(widths):
    """By hand: 3x3 convolutions with bias, two numbers a normalised channel."""

    def convolution(incoming, outgoing):
        return 9 * incoming * outgoing + outgoing

    def block(incoming, outgoing):
        count = convolution(incoming, incoming) + 2 * incoming
        return count + 2 * (convolution(incoming, outgoing) + 2 * outgoing)

    pairs = list(itertools.pairwise(widths))
    encoder = convolution(1, widths[0]) + 2 * widths[0] + sum(block(*pair) for pair in pairs)
    encoder += block(*pairs[-1])  # a second head
    decoder = sum(block(outgoing, incoming) for incoming, outgoing in pairs)
    decoder += convolution(widths[0], widths[0]) + 2 * widths[0] + convolution(widths[0], 1)
    return encoder + decoder


@pytest.mark.parametrize(
    ("size", "widths"),
    [
        (64, (16, 16, 32, 64, 128, 256)),
        (128, (8, 8, 16, 32, 64, 128, 256)),
        (256, (4, 4, 8, 16, 32, 64, 128, 256)),
    ],
)
def test_one_step_at_the_papers_sizes(size, widths):
    """Slices of the paper's sizes, the released options; a few slices stand for the volume."""
    shape = (size, 4, size)
    model = build("slice_vae", {}, shape)
    assert sum(weights.numel() for weights in model.parameters()) == parameter_count(widths)
    assert model.gaussian.mean.shape == (1024, 4)
    volumes = torch.rand(1, *shape, generator=torch.Generator().manual_seed(2))
    terms = model.losses(volumes, progress=START, generators=generators(1))
    assert all(torch.isfinite(term) and term > 0 for term in terms.values())
    sum(terms.values()).backward()
    for name, weights in model.named_parameters():
        assert torch.isfinite(weights.grad).all(), name
    before = [weights.detach().clone() for weights in model.parameters()]
    torch.optim.Adam(model.parameters(), lr=1e-3).step()
    assert sum(map(torch.equal, before, model.parameters())) == 0


def test_the_volume_at_its_largest_has_1024_components_of_256_slices():
    with torch.device("meta"):
        model = build("slice_vae", {}, (256, 256, 256))
    assert model.gaussian.axes.shape == (1024, 256, 256)
    assert model.encode(torch.empty(1, 256, 256, 256, device="meta")).shape == (1, 1024, 256)
