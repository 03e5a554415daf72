"""P1's figures from tiny stores and a tiny model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from genmorph.errors import GenmorphError
from genmorph.store import Description, write_store
from genmorph.studies.m3ae.figures import FIGURES
from genmorph.studies.m3ae.figures.cascade import LevelArrays, cascade_of_sample, draw_transforms
from genmorph.studies.m3ae.figures.common import describe
from genmorph.studies.m3ae.figures.latents import (
    Traversal,
    draw_traversals,
    posterior_means,
    traverse,
    widest_dimensions,
)
from genmorph.studies.m3ae.figures.scans import choose_scans, draw_reconstructions

SHAPE = (20, 24, 17)
LABEL = "simulated: no ranking may be read from it"


@dataclass
class Person:
    scan_id: str
    participant_id: str
    age_years: float | None = None
    diagnosis: str | None = None
    age_precision: str | None = "exact"


@pytest.fixture
def volumes():
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    brain = (np.square(grid).sum(0) < 0.8).astype(np.float32)
    rng = np.random.default_rng(0)
    return [brain * (0.4 + 0.5 * rng.random(SHAPE, np.float32)) for _ in range(3)]


@pytest.fixture
def save(tmp_path, volumes):
    def write(name, made=volumes, source=None):
        description = Description(
            affine=np.diag([8.0, 8.0, 8.0, 1.0]).tolist(),
            content=name,
            data_label=LABEL,
            source=source or {},
        )
        ids = [f"sub-{number}" for number in range(len(made))]
        write_store(
            tmp_path / name,
            zip(ids, made, strict=True),
            shape=made[0].shape,
            dtype="float32",
            description=description,
        )
        return tmp_path / name / "index.tsv"

    return write


def words(figure):
    return " ".join(text.get_text() for text in figure.texts)


def test_samples_and_reconstructions_are_written(save, volumes, tmp_path):
    real = save("real")
    made = save("made", volumes[:2], {"study": "m3ae", "model": "m3ae", "seed": 3})
    out = tmp_path / "figures" / "m3ae_samples.png"
    FIGURES["samples_m3ae"]({"samples": made}, {"scale": "smoke"}, out)
    assert out.is_file() and out.with_suffix(".svg").is_file()
    files = {"store": real, "reconstructions": made}
    FIGURES["reconstructions"](files, {"scale": "smoke"}, out.with_name("r.png"))
    assert out.with_name("r.png").is_file()


def test_difference_is_reconstruction_minus_scan(volumes):
    scan = volumes[0]
    figure = draw_reconstructions(
        [("a", scan, scan + 0.1), ("b", scan, scan)], voxel_mm=(8, 8, 8), footer=LABEL
    )
    difference = figure.axes[12].images[0]  # third row, first column
    np.testing.assert_allclose(difference.get_array(), 0.1, atol=1e-6)
    assert difference.get_clim() == (-0.25, 0.25)
    assert not np.any(figure.axes[15].images[0].get_array())
    assert LABEL in words(figure)


def levels_of(volume, growth):
    displacement = np.zeros((3, *SHAPE), np.float32)
    displacement[0] = 0.5
    determinant = np.full(SHAPE, growth, np.float32)
    return [
        LevelArrays(0.02 * volume, volume, displacement, determinant),
        LevelArrays(-0.05 * volume, volume),
    ]


def test_colours_of_transforms_are_centred_and_shared(volumes):
    figure = draw_transforms(
        volumes[0], levels_of(volumes[0], growth=1.4), voxel_mm=(8, 8, 8), footer=LABEL
    )
    # rows of three tiles: template, level 1, level 2
    limit = figure.axes[4].images[0].get_clim()
    assert limit == pytest.approx((-np.log2(1.5), np.log2(1.5)))
    np.testing.assert_allclose(figure.axes[4].images[0].get_array(), np.log2(1.4), rtol=1e-5)
    added = [figure.axes[number].images[0].get_clim() for number in (7, 8)]
    assert added[0] == added[1] and added[0][0] == -added[0][1]
    assert any("max 4.0 mm" in text.get_text() for text in figure.axes[1].texts)
    assert any("only adds" in text.get_text() for text in figure.axes[2].texts)


def test_folds_are_outlined(volumes):
    levels = levels_of(volumes[0], growth=1.0)
    levels[0].jacobian_determinant[8:12, 8:12] = -0.5
    plain = draw_transforms(volumes[0], levels_of(volumes[0], 1.0), voxel_mm=(8, 8, 8))
    folded = draw_transforms(volumes[0], levels, voxel_mm=(8, 8, 8))
    assert len(folded.axes[4].collections) == len(plain.axes[4].collections) + 1
    assert np.isfinite(folded.axes[4].images[0].get_array()).all()


@pytest.fixture
def model(volumes):
    pytest.importorskip("torch")
    from genmorph.models import build

    options = {"channels": (2, 2, 2, 2), "latent_size": 4}
    return build("m3ae", options, SHAPE, volumes[0])


def test_transforms_show_the_first_sample_of_the_run(model, save, volumes, tmp_path):
    from genmorph.sampling import draw_samples
    from genmorph.seeds import derive_seed
    from genmorph.training.checkpoints import save_model

    checkpoint, out = tmp_path / "model.safetensors", tmp_path / "t.png"
    save_model(checkpoint, model, {})
    seed = derive_seed(3, "m3ae", "m3ae", "sample")
    ((_, drawn),) = draw_samples(model.eval(), n=1, seed=seed)
    template, levels = cascade_of_sample(model, 3, "m3ae", "m3ae")
    np.testing.assert_allclose(levels[-1].image, drawn, atol=1e-5)
    assert levels[-1].displacement is None and levels[0].displacement.shape == (3, *SHAPE)
    np.testing.assert_array_equal(template, volumes[0])

    values = {"study": "m3ae", "model": "m3ae", "seed": 3, "scale": "smoke"}
    FIGURES["transforms"]({"checkpoint": checkpoint, "store": save("real")}, values, out)
    assert out.is_file() and out.with_suffix(".svg").is_file()
    other = save("other", [volumes[0][1:]])
    with pytest.raises(GenmorphError, match="made for a grid of"):
        FIGURES["transforms"]({"checkpoint": checkpoint, "store": other}, values, out)


def test_scans_are_of_different_people_spread_over_ages():
    ages = [70, 50, None, 60, 80, 90, 40]
    scans = [
        Person(f"sub-{n}_ses-{s}", f"sub-{n}", age) for n, age in enumerate(ages) for s in "12"
    ]
    chosen = choose_scans(scans, shown=3)
    assert [scan.scan_id for scan in chosen] == ["sub-6_ses-1", "sub-0_ses-1", "sub-2_ses-1"]
    assert len(choose_scans(scans)) == 6


def test_people_are_not_named():
    assert describe(Person("sub-1", "sub-1", 71.6, "AD")) == "72 years, AD"
    for age in (93.0, 89.6):  # which 90 years would stand beside 90+
        assert describe(Person("sub-1", "sub-1", age)) == "90+ years"
    assert describe(Person("sub-1", "sub-1", 23.5, age_precision="bin")) == "about 24 years"
    assert describe(Person("sub-1", "sub-1")) == "age unknown"
    assert describe(Person("sub-1", "sub-1", 71.6, "AD"), diagnosis=False) == "72 years"


# -- latents ---------------------------------------------------------------------------------------


class LinearModel:
    """z_d is the mean of a volume's slab d; decoding fills slab d with z_d."""

    latent_size = 4

    def encode(self, volumes):
        slabs = volumes[:, : 4 * (SHAPE[0] // 4)].unflatten(1, (4, -1))
        return slabs.mean(dim=(2, 3, 4)), None

    def decode(self, latents):
        slabs = latents.repeat_interleave(SHAPE[0] // 4, dim=1)
        return slabs[:, :, None, None].expand(-1, -1, *SHAPE[1:])


def test_widest_dimensions_come_from_each_half():
    assert widest_dimensions(np.array([0.1, 3.0, 2.0, 9.0, 9.0, 0.9])) == [[1, 2], [3, 4]]
    assert widest_dimensions(np.array([1.0, 2.0])) == [[0], [1]]


def test_a_traversal_moves_one_dimension_by_its_own_sd():
    pytest.importorskip("torch")
    means = np.array([[0.0, 1.0, 2.0, 3.0], [0.2, 1.0, 4.0, 3.4]])
    rows = traverse(LinearModel(), means)
    assert [(row.part, row.dimension) for row in rows] == [
        ("deformation", 1),
        ("deformation", 2),
        ("intensity", 3),
        ("intensity", 4),
    ]
    np.testing.assert_allclose([row.sd for row in rows], [0.1, 0.0, 1.0, 0.2], atol=1e-9)
    third = rows[2].volumes[:, :: SHAPE[0] // 4, 0, 0]  # [step, dimension]
    np.testing.assert_allclose(third[:, 2], [1, 2, 3, 4, 5], rtol=1e-6)
    np.testing.assert_allclose(third[:, [0, 1, 3]], np.tile([0.1, 1.0, 3.2], (5, 1)), rtol=1e-6)


def test_posterior_means_are_in_the_order_asked_for(save):
    pytest.importorskip("torch")
    from genmorph.store import Store

    made = [np.full(SHAPE, value, np.float32) for value in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    store = Store(save("real", made).parent)
    means = posterior_means(LinearModel(), store, ["sub-5", "sub-0", "sub-1", "sub-2", "sub-3"])
    np.testing.assert_allclose(means[:, 0], [0.6, 0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_traversals_say_dimension_sd_and_what_colours_mean():
    steps = np.stack([np.full(SHAPE, value, np.float32) for value in (0.1, 0.2, 0.3, 0.4, 0.5)])
    rows = [
        Traversal("deformation", 7, 1.234, steps),
        Traversal("intensity", 12, 0.5, 0.3 + 0.09 * steps),
    ]
    figure = draw_traversals(rows, voxel_mm=(8, 8, 8), footer=LABEL)
    said = words(figure)
    assert "deformation\ndimension 7\nSD 1.23" in said and "−2 SD" in said and LABEL in said
    assert "deformation ±0.4, intensity ±0.04" in " ".join(said.split())
    last = figure.axes[5].images[0]
    np.testing.assert_allclose(last.get_array(), 0.4, atol=1e-6)
    assert last.get_clim() == pytest.approx((-0.4, 0.4))


@pytest.fixture
def cohort(tmp_path):
    """Six people in manifest and participants: three train, three test."""
    from genmorph.cohorts.manifest import Scan, write_manifest
    from genmorph.files import write_tsv

    scans = [
        Scan(f"sub-{n}", f"sub-{n}", None, f"{n}.nii", 1, False, 60.0 + n, shard=0)
        for n in range(6)
    ]
    write_manifest(tmp_path / "manifest.tsv", scans)
    people = [
        {"participant_id": f"sub-{n}", "split": "test" if n % 2 else "train"} for n in range(6)
    ]
    write_tsv(tmp_path / "participants.tsv", ("participant_id", "split"), people)
    return {name: tmp_path / f"{name}.tsv" for name in ("manifest", "participants")}


@pytest.mark.parametrize("figure", ["traversals", "interpolation"])
def test_latents_are_drawn_the_same_each_time_without_ids(
    figure, model, save, volumes, cohort, tmp_path
):
    from genmorph.training.checkpoints import save_model

    checkpoint = tmp_path / "model.safetensors"
    save_model(checkpoint, model, {})
    files = {"checkpoint": checkpoint, "store": save("real", [*volumes, *volumes]), **cohort}
    values = {"model": "m3ae", "seed": 3, "scale": "smoke", "population": None}
    written = []
    for name in ("a", "b"):
        out = tmp_path / f"{name}.png"
        FIGURES[figure](files, values, out)
        written.append((out.read_bytes(), out.with_suffix(".svg").read_bytes()))
    assert written[0] == written[1]
    assert b"sub-" not in written[0][1]


def test_training_curves_name_every_model(save, tmp_path):
    files = {"store": save("real")}
    for model in ("m3ae", "other"):
        files[f"metrics:{model}"] = tmp_path / f"{model}.csv"
        files[f"metrics:{model}"].write_text("volumes_seen,total,validation_total\n4,2,3\n8,1,2\n")
    FIGURES["training_curves"](files, {"seed": 0, "scale": "smoke"}, tmp_path / "curves.png")
    assert (tmp_path / "curves.svg").stat().st_size > 1000
