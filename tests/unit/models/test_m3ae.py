"""M3AE: fields, warps, losses and sizes against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from genmorph.errors import ConfigError
from genmorph.models import build
from genmorph.models.interface import Progress
from genmorph.models.m3ae import (
    divergence,
    grid_sizes,
    integrate,
    jacobian_determinant,
    kl_divergence,
    squared_gradient,
    warp,
)
from genmorph.models.options.m3ae import M3AEOptions

SHAPE = (9, 12, 10)
THIN = {"channels": (2, 3, 4, 5), "latent_size": 6}
LATE = Progress(step=90, epoch=9.0, epochs=10.0)


def smooth_field(shape=SHAPE, seed=0, amplitude=1.5, sigma=2.5, dtype=torch.float64):
    """Random field [1, 3, x, y, z] in voxels that fades towards the border."""
    rng = np.random.default_rng(seed)
    field = np.stack([gaussian_filter(rng.standard_normal(shape), sigma) for _ in range(3)])
    for axis, size in enumerate(shape):
        window = np.hanning(size + 2)[1:-1]
        field *= window.reshape([-1 if a == axis else 1 for a in range(3)])
    return torch.tensor(field / np.abs(field).max() * amplitude, dtype=dtype)[None]


def positions(shape=SHAPE):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)


def test_constant_velocity_is_an_exact_translation():
    velocity = torch.tensor([1.25, -0.5, 2.0], dtype=torch.float64).view(1, 3, 1, 1, 1)
    field = integrate(velocity.expand(1, 3, *SHAPE).contiguous(), steps=7)
    torch.testing.assert_close(field, velocity.expand(1, 3, *SHAPE), rtol=0, atol=1e-12)


def test_whole_voxel_translation_moves_voxels():
    volume = torch.rand(1, 1, *SHAPE, dtype=torch.float64)
    shift = torch.tensor([2.0, -1.0, 3.0], dtype=torch.float64).view(1, 3, 1, 1, 1)
    warped = warp(volume, shift.expand(1, 3, *SHAPE))
    torch.testing.assert_close(
        warped[..., :-2, 1:, :-3], volume[..., 2:, :-1, 3:], rtol=0, atol=1e-12
    )


def test_warp_agrees_with_scipy():
    volume = np.random.default_rng(1).random(SHAPE)
    displacement = smooth_field(seed=2, amplitude=3.0)  # leaves the grid in places
    displacement += 1.3
    expected = map_coordinates(
        volume, positions() + displacement[0].numpy(), order=1, mode="nearest"
    )
    warped = warp(torch.tensor(volume)[None, None], displacement)[0, 0].numpy()
    np.testing.assert_allclose(warped, expected, rtol=0, atol=1e-12)


def test_integration_agrees_with_following_points():
    velocity = smooth_field(seed=3)
    found = integrate(velocity, steps=9)[0].numpy()
    points, steps = positions(), 4096
    for _ in range(steps):
        here = [map_coordinates(v, points, order=1, mode="nearest") for v in velocity[0].numpy()]
        points = points + np.stack(here) / steps
    # squaring interpolates the displacement between voxels, following points does not
    assert np.abs(found - (points - positions())).max() < 0.1
    assert np.abs(points - positions()).max() > 1.0


def test_agreement_with_monai():
    blocks = pytest.importorskip("monai.networks.blocks")
    velocity = smooth_field(seed=4, dtype=torch.float32)
    theirs = blocks.DVF2DDF(num_steps=7, mode="bilinear", padding_mode="border")(velocity)
    torch.testing.assert_close(integrate(velocity, steps=7), theirs, rtol=0, atol=1e-4)
    volume = torch.rand(1, 1, *SHAPE)
    theirs = blocks.Warp(mode="bilinear", padding_mode="border")(volume, velocity)
    torch.testing.assert_close(warp(volume, velocity), theirs, rtol=0, atol=1e-5)


def test_backward_flow_undoes_forward_flow():
    velocity = smooth_field((24, 28, 20), seed=5, amplitude=1.5, sigma=5)
    forth, back = integrate(velocity, steps=7), integrate(-velocity, steps=7)
    both = back + warp(forth, back)
    assert forth.abs().max() > 1.0
    assert both.abs().max() < 0.05


def test_smooth_velocities_do_not_fold():
    velocity = smooth_field((24, 28, 20), seed=6, amplitude=5.0, sigma=4)
    determinant = jacobian_determinant(integrate(velocity, steps=7))
    assert determinant.min() > 0
    # the same field as a displacement does fold: the test would see it
    assert jacobian_determinant(3 * velocity).min() < 0


def linear_field(matrix, shape=SHAPE):
    field = np.einsum("ij,jxyz->ixyz", matrix, positions(shape))
    return torch.tensor(field)[None]


MATRIX = np.array([[0.1, 0.2, -0.3], [0.05, -0.2, 0.4], [0.7, 0.0, 0.25]])


def test_jacobian_of_a_linear_field():
    expected = np.linalg.det(np.eye(3) + MATRIX)
    np.testing.assert_allclose(jacobian_determinant(linear_field(MATRIX)), expected, atol=1e-10)


def test_gradient_and_divergence_of_a_linear_field():
    field = linear_field(MATRIX)
    inside = (slice(None), *[slice(-1)] * 3)  # beyond the last voxel nothing changes
    np.testing.assert_allclose(squared_gradient(field)[inside], (MATRIX**2).sum(), atol=1e-12)
    np.testing.assert_allclose(divergence(field)[inside], np.trace(MATRIX), atol=1e-12)
    corner = squared_gradient(field)[:, -1, 0, 0]
    np.testing.assert_allclose(corner, (MATRIX[:, 1:] ** 2).sum(), atol=1e-12)


def test_a_field_that_alternates_is_not_smooth():
    field = torch.zeros(1, 3, 6, 5, 4)
    field[:, 1, ::2] = 1.0
    assert squared_gradient(field)[:, :-1].min() == 1.0


def test_kl_agrees_with_torch():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 4, 7, generator=generator, dtype=torch.float64)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(mean, torch.exp(0.5 * log_variance)), normal(0.0, 1.0)
    ).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


@pytest.fixture(scope="module")
def template():
    noise = np.random.default_rng(7).standard_normal((20, 24, 20))
    smooth = gaussian_filter(noise, 1.5)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


@pytest.fixture(scope="module")
def model(template):
    return build("m3ae", THIN, template.shape, template, seed=1)


def far_from_template(model):
    """The same model with heads that do something."""
    for name, weights in model.named_parameters():
        if ".heads." in name:
            torch.nn.init.normal_(weights, std=0.05, generator=torch.Generator().manual_seed(3))
    return model


def test_sizes_of_levels():
    assert grid_sizes((80, 96, 80)) == [
        (5, 6, 5), (10, 12, 10), (20, 24, 20), (40, 48, 40), (80, 96, 80)
    ]  # fmt: skip
    assert grid_sizes((20, 24, 20))[:3] == [(2, 2, 2), (3, 3, 3), (5, 6, 5)]


def test_an_untrained_model_returns_the_template(model, template):
    latents = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    difference = model.decode(latents).detach().numpy() - template
    assert 0 < np.abs(difference).max() < 0.1


def test_the_cascade_adds_then_deforms(template):
    model = far_from_template(build("m3ae", THIN, template.shape, template, seed=1))
    latents = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        levels = model.cascade(latents)
    image = template
    grid = positions(template.shape)
    for level in levels:
        image = image + level.full_intensity[0].numpy()
        if level.displacement is not None:
            moved = grid + level.full_displacement[0].numpy()
            image = map_coordinates(image, moved, order=1, mode="nearest")
            assert level.full_jacobian_determinant.shape == (1, *template.shape)
        np.testing.assert_allclose(level.image[0].numpy(), image, atol=2e-5)
    assert levels[-1].displacement is None
    assert np.abs(image - template).max() > 0.1
    # a displacement up-sampled by a factor is longer by that factor in voxels
    coarse = levels[0]
    ratio = coarse.full_displacement.abs().max() / coarse.displacement.abs().max()
    assert 5.5 < ratio < 8.5  # 20/3 and 24/3


def test_halves_of_the_latent_decide_deformation_and_intensity(template):
    model = far_from_template(build("m3ae", THIN, template.shape, template, seed=1))
    latents = torch.zeros(2, 6)
    latents[1, :3] = 2.0
    with torch.no_grad():
        levels = model.cascade(latents)
    for level in levels:
        assert torch.allclose(level.intensity[0], level.intensity[1], atol=1e-6)
    assert not torch.allclose(levels[0].velocity[0], levels[0].velocity[1], atol=1e-3)


def test_native_resolution_works_on_each_levels_own_grid(template):
    options = {**THIN, "transform_resolution": "native_resolution"}
    noise = np.random.default_rng(8).random(template.shape)
    native = build("m3ae", options, noise.shape, noise, seed=1)
    with torch.no_grad():
        levels = native.cascade(torch.zeros(1, 6))
    # only the coarse grid's detail is left of the template after level 1
    assert levels[0].image.std() < 0.5 * noise.std()
    assert levels[0].image.shape == (1, *noise.shape)


def generators(n):
    return [torch.Generator().manual_seed(5 + number) for number in range(n)]


def test_terms_of_the_loss_by_hand(template):
    options = M3AEOptions(**THIN)
    model = far_from_template(build("m3ae", options, template.shape, template, seed=1))
    volumes = torch.rand(2, *template.shape, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        terms = model.losses(volumes, progress=LATE, generators=generators(2))
        mean, log_variance = model.encode(volumes)
        noise = torch.stack([torch.randn(mean.shape[1], generator=one) for one in generators(2)])
        levels = model.cascade(mean + noise * torch.exp(0.5 * log_variance))
    expected = {
        "reconstruction": (volumes - levels[3].image).abs().sum() / 2,
        "kl": 6.0 * kl_divergence(mean, log_variance).mean(),
    }
    for number, level in enumerate(levels, start=1):
        weight = (0.6, 1.2, 1.2, 2.4)[number - 1]
        expected[f"intensity_{number}"] = weight * (level.intensity**2).sum() / 2
        if number < 4:
            gamma1 = (0.25, 0.25, 0.5)[number - 1]
            u = level.displacement
            expected[f"intermediate_{number}"] = gamma1 * (volumes - level.image).abs().sum() / 2
            expected[f"smoothness_{number}"] = weight * squared_gradient(u).sum() / 2
            expected[f"divergence_{number}"] = weight * (divergence(u) ** 2).sum() / 2
            expected[f"magnitude_{number}"] = weight * (u**2).sum() / 2
    assert set(terms) == set(expected)
    for term, value in expected.items():
        torch.testing.assert_close(terms[term], value, rtol=1e-5, atol=1e-7, msg=term)


def test_options_change_what_they_name(template):
    volumes = torch.rand(2, *template.shape, generator=torch.Generator().manual_seed(4))

    def terms(progress=LATE, **options):
        model = build("m3ae", {**THIN, **options}, template.shape, template, seed=1)
        model = far_from_template(model)
        with torch.no_grad():
            return model.losses(volumes, progress=progress, generators=generators(2))

    default, mean = terms(), terms(reduction="mean")
    assert mean["reconstruction"] == pytest.approx(default["reconstruction"] / volumes[0].numel())
    assert mean["kl"] == default["kl"]
    velocity = terms(penalised_field="velocity")
    assert velocity["magnitude_1"] != default["magnitude_1"]
    assert velocity["reconstruction"] == default["reconstruction"]
    assert terms(progress=Progress(0, 0.0, 10.0))["kl"] == 0
    assert terms(beta=3.0)["kl"] == pytest.approx(float(default["kl"]) / 2)
    squared = terms(pixel_loss="mse")  # all differences are below 1 here
    for term in ("reconstruction", "intermediate_1", "intermediate_3"):
        assert squared[term] < default[term]
    assert squared["intensity_2"] == default["intensity_2"]


def test_the_template_may_be_the_training_mean():
    assert M3AEOptions(template="training_mean").starts_from_mean
    assert not M3AEOptions().starts_from_mean


def test_a_sample_depends_on_its_own_generator_alone(model):
    def generators(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    with torch.no_grad():
        several, single = model.sample(generators(1, 2, 3)), model.sample(generators(2))
    torch.testing.assert_close(several[1], single[0], rtol=0, atol=1e-5)


def test_a_grid_that_cannot_be_halved_is_refused():
    with pytest.raises(ConfigError, match="halves"):
        build("m3ae", THIN, (16, 16, 16))
    with pytest.raises(ConfigError, match="template"):
        build("m3ae", THIN, (20, 24, 20), np.zeros((20, 24, 21)))


def paper_parameter_count():
    """Counted from the paper's own numbers, without the code."""
    bottleneck, latent = 128 * 5 * 6 * 5, 512
    encoder = sum(27 * (i * o + o * o) for i, o in ((1, 16), (16, 32), (32, 64), (64, 128)))
    encoder += bottleneck * 2 * latent + 2 * latent

    def decoder(outputs, widths):
        count = (latent // 2) * bottleneck + bottleneck
        incoming = 128
        for width in widths:
            count += 27 * (incoming * width + width * width)  # two convolutions, no bias
            count += 27 * width * outputs + outputs  # head
            incoming = width + outputs
        return count

    return encoder + decoder(3, (128, 64, 32)) + decoder(1, (128, 64, 32, 16))


def test_one_step_at_the_papers_size():
    """80x96x80, the paper's own options, batch 1: every term is finite and so is its gradient."""
    shape = (80, 96, 80)
    rng = np.random.default_rng(0)
    template = gaussian_filter(rng.random(shape), 3).astype(np.float32)
    model = build("m3ae", M3AEOptions(), shape, template, seed=0)
    assert sum(p.numel() for p in model.parameters()) == paper_parameter_count()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    volumes = torch.tensor(gaussian_filter(rng.random(shape), 3), dtype=torch.float32)[None]
    terms = model.losses(volumes, progress=Progress(1, 5.0, 30.0), generators=generators(1))
    assert len(terms) == 2 + 3 + 4 + 3 * 3
    parameters = list(model.parameters())
    for name, term in terms.items():
        assert torch.isfinite(term) and term > 0, name
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        gradients = [gradient for gradient in gradients if gradient is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients), name
        assert any(gradient.abs().max() > 0 for gradient in gradients), name
    sum(terms.values()).backward()
    before = [weights.detach().clone() for weights in parameters]
    optimizer.step()
    assert all(torch.isfinite(weights).all() for weights in parameters)
    assert all(not torch.equal(old, new) for old, new in zip(before, parameters, strict=True))
