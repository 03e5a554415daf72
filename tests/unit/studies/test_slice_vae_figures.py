"""P2's figures from tiny stores, a tiny segmenter and made measurements."""

from __future__ import annotations

import numpy as np
import pytest

from genmorph.errors import GenmorphError
from genmorph.files import sha256_bytes, write_json
from genmorph.metrics.measurement import Measurement
from genmorph.publish.overlays import label_colours
from genmorph.store import Description, write_store
from genmorph.studies.slice_vae.figures import FIGURES
from genmorph.studies.slice_vae.figures.atlas_scores import draw_atlas_scores, notes_of
from genmorph.studies.slice_vae.figures.common import grids_of, runs_of
from genmorph.studies.slice_vae.figures.samples import draw_samples
from genmorph.studies.slice_vae.figures.segmentations import Labelled, draw_segmentations, labels_of

FIELD_MM = 64.0
LABEL = "simulated: no ranking may be read from it"
RUNS = {
    "slice_vae-64": 8,
    "slice_vae-128": 16,
    "alpha_gan-64": 8,
    "training_scans-64": 8,
    "training_scans-128": 16,
}
VALUES = {
    "scale": "smoke",
    "models": list(RUNS),
    "runs": {name: {"grid": [size] * 3, "recipe": f"recipe_{size}"} for name, size in RUNS.items()},
}


def brain(size: int) -> np.ndarray:
    axes = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 3, indexing="ij"))
    return (np.square(axes).sum(0) < 0.7).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    """Samples of every run, and segmenters of both grids."""
    found = {}
    for name, size in RUNS.items():
        voxel = FIELD_MM / size
        rng = np.random.default_rng(len(name))
        ids = ("sub-1", "sub-2", "sub-3") if "scans" in name else ("sample-0", "sample-1")
        volumes = [
            (scan_id, brain(size) * (0.3 + 0.6 * rng.random((size,) * 3, np.float32)))
            for scan_id in ids
        ]
        write_store(
            tmp_path / name,
            volumes,
            shape=(size,) * 3,
            dtype="float32",
            description=Description(
                np.diag([voxel, voxel, voxel, 1.0]).tolist(), name, LABEL, {"cohort": "tiny"}
            ),
        )
        found[f"samples:{name}"] = tmp_path / name / "index.tsv"
    for size in (8, 16):
        found[f"segmenters:recipe_{size}"] = segmenters(tmp_path / f"segmenter-{size}", size)
    return found


def segmenters(folder, size):
    """An untrained network, which gives labels all the same."""
    import torch

    from genmorph.models.options.slice_segmenter import SliceSegmenterOptions
    from genmorph.models.slice_segmenter import SliceSegmenter, SliceUNet

    options = SliceSegmenterOptions(n_labels=5, channels=(2, 4))
    torch.manual_seed(0)
    network = SliceUNet(options).eval()
    facts = {"best_epoch": 1}
    content = SliceSegmenter(network, options, (size,) * 3, (0.0, 0.9), facts).to_bytes()
    folder.mkdir()
    (folder / "segmenter-0.safetensors").write_bytes(content)
    held_out = Measurement("segmenter_dice", {"mean": 0.8}, {"unseen_scans": 1}, {})
    entry = {
        "file": "segmenter-0.safetensors",
        "sha256": sha256_bytes(content),
        "people_seen": ["sub-9"],
        "grouping": "simulated",
        "held_out": held_out.to_json(),
    }
    write_json(folder / "segmenters.json", {"segmenters": [entry]})
    return folder / "segmenters.json"


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.texts] + [
        text.get_text() for axes in figure.axes for text in axes.texts
    ]


# -- runs ------------------------------------------------------------------------------------------


def test_runs_are_named_by_the_grid_they_have():
    runs = runs_of(VALUES, VALUES["models"])
    assert [(run.title, run.grid[0]) for run in runs] == [
        ("scans", 8), ("scans", 16), ("slice VAE", 8), ("slice VAE", 16), ("α-GAN", 8),
    ]  # fmt: skip
    assert grids_of(runs) == [(8, 8, 8), (16, 16, 16)]
    twice = {**VALUES, "runs": {**VALUES["runs"], "slice_vae-256": VALUES["runs"]["slice_vae-64"]}}
    with pytest.raises(GenmorphError, match="are one model on one grid"):
        runs_of(twice, [*VALUES["models"], "slice_vae-256"])
    with pytest.raises(GenmorphError, match="nothing is known of run vae3d-64"):
        runs_of(VALUES, ["vae3d-64"])


# -- figure 2 --------------------------------------------------------------------------------------


def test_sample_headings_name_the_grid_of_the_store_not_of_the_run():
    volumes = {
        ("scans", 0): ([brain(8)] * 2, (8.0, 8.0, 8.0)),
        ("scans", 1): ([brain(16)] * 2, (4.0, 4.0, 4.0)),
        ("α-GAN", 0): ([brain(8)] * 2, (8.0, 8.0, 8.0)),
    }
    figure = draw_samples(volumes, rows=["scans", "α-GAN"], grids=["coarse", "fine"])
    told = words(figure)
    assert "coarse" in told and "fine" in told and told.count("not made") == 2
    shown = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(shown) == 2 * 3 * 3
    # one physical size, whatever the grid, and every voxel as it is
    assert {tuple(image.get_extent()) for image in shown} == {(-32.0, 32.0, -32.0, 32.0)}
    assert {image.get_array().shape for image in shown} == {(8, 8), (16, 16)}
    assert {image.get_interpolation() for image in shown} == {"nearest"}
    assert told.count("L") == told.count("R") == 2 * 2  # coronal and axial, once a grid


@pytest.mark.parametrize("name", ["samples", "segmentations"])
def test_figures_are_drawn_from_files_with_the_same_bytes(tmp_path, files, name):
    made = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        FIGURES[name](files, VALUES, tmp_path / folder / f"{name}.png")
        made.append([(tmp_path / folder / f"{name}.{end}").read_bytes() for end in ("png", "svg")])
    assert made[0] == made[1]


def test_samples_of_another_grid_than_the_runs_are_refused(tmp_path, files):
    files["samples:slice_vae-64"] = files["samples:slice_vae-128"]
    with pytest.raises(
        GenmorphError, match=r"samples of \(16, 16, 16\), the run is on \(8, 8, 8\)"
    ):
        FIGURES["samples"](files, VALUES, tmp_path / "samples.png")


# -- figure 3 --------------------------------------------------------------------------------------


def test_labels_lie_over_their_slice_or_a_reason_stands_there():
    volume, structures = brain(8), {1: "cortex", 2: "white_matter"}
    labels = np.zeros(volume.shape, np.uint8)
    labels[:, :, 4:], labels[0] = 2, 9  # 9 is no structure
    voxels = (8.0, 8.0, 8.0)
    pictures = {
        ("scans", 0): Labelled(volume, voxels, labels),
        ("α-GAN", 0): Labelled(volume, voxels, "the volume is constant"),
    }
    figure = draw_segmentations(
        pictures, rows=["scans", "α-GAN"], grids=["grid"], structures=structures
    )
    over = figure.axes[1].images[1].get_array()
    assert (over.mask == ~np.isin(labels[:, 4].T, (1, 2))).all()
    assert figure.axes[1].images[1].get_extent() == figure.axes[0].images[0].get_extent()
    assert any("constant" in text.replace("\n", " ") for text in words(figure))
    (legend,) = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["cortex", "white matter"]
    assert len(set(label_colours(dict.fromkeys(range(1, 15), "x")).values())) == 14


def test_a_scan_is_labelled_by_a_network_that_never_saw_the_person(files):
    from dataclasses import replace

    from genmorph.training.segmenters import read_segmenters

    (one,) = read_segmenters(files["segmenters:recipe_8"])
    saw = replace(one, people_seen=frozenset({"sub-1"}))
    assert labels_of("sub-1", brain(8), [saw]) == "every network saw this person"
    assert labels_of("sub-1", brain(8), [saw, one]).shape == (8, 8, 8)
    assert "trained on" in labels_of("sample-0", 50 * brain(8), [one])


def test_a_grid_without_scans_to_stand_beside_is_refused(tmp_path, files):
    values = {**VALUES, "models": ["slice_vae-64", "slice_vae-128", "training_scans-64"]}
    with pytest.raises(GenmorphError, match=r"no scans of \(16, 16, 16\)"):
        FIGURES["segmentations"](files, values, tmp_path / "segmentations.png")


# -- figure 4 --------------------------------------------------------------------------------------


def score(mean=None, note="", pairs=8, **settings) -> Measurement:
    values = {} if mean is None else {"mean": mean, "cortex": mean + 0.1}
    return Measurement(
        "atlas_score",
        values | {"segmenter_held_out_dice": 0.81},
        {"pairs": pairs, "scored_pairs": pairs if values else 0, "failed_pairs": 0},
        {"structures": ["cortex", "ventricles"], **settings},
        spread=dict.fromkeys(values, 0.05),
        data_label=LABEL,
        notes=(note,) if note else (),
    )


def test_marks_stand_at_the_scores_and_the_bound_is_a_line():
    panels = {(8, 8, 8): {"scans": score(0.7), "slice VAE": score(0.6), "α-GAN": score(0.3)}}
    figure = draw_atlas_scores(panels)
    (axes,) = figure.axes
    bound = [
        line
        for line in axes.lines
        if len(set(line.get_ydata())) == 1 and line.get_xdata()[0] != 0.5
    ]
    assert {float(line.get_ydata()[0]) for line in bound} >= {0.7, 0.7999999999999999}
    marks = {
        box.get_label(): float(box.lines[0].get_ydata()[0])
        for box in axes.containers
        if abs(box.lines[0].get_xdata()[0]) < 0.5
    }
    assert marks == {"slice VAE": 0.6, "α-GAN": 0.3}
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == ["mean", "cortex", "ventricles"]


def test_a_run_without_a_score_is_named_with_its_reason():
    told = " ".join(
        notes_of(
            {
                "slice VAE": score(note="No score: the segmenter is bad."),
                "WGAN GP": score(note="No score: the segmenter is bad."),
                "α-GAN": score(0.4, pairs=6),
            }
        )
    )
    assert "n/a (slice VAE, WGAN GP): No score: the segmenter is bad." in told
    assert "Pairs: α-GAN 6." in told and "0.81" in told
    assert "No bound: no run training_scans" in told


def test_scores_are_read_by_run_and_settings_must_agree(tmp_path):
    files, values = {}, VALUES
    for run, one in {"slice_vae-64": score(0.6), "training_scans-64": score(0.7)}.items():
        files[f"measure:ras:{run}"] = tmp_path / f"{run}.json"
        write_json(files[f"measure:ras:{run}"], one.to_json())
    other = Measurement("mmd", {"value": 1.0}, {}, {})
    files["measure:mmd:slice_vae-64"] = tmp_path / "mmd.json"
    write_json(files["measure:mmd:slice_vae-64"], other.to_json())
    FIGURES["atlas_scores"](files, values, tmp_path / "scores.png")
    assert (tmp_path / "scores.svg").stat().st_size > 1000
    write_json(files["measure:ras:slice_vae-64"], score(0.6, pairs_seed=2).to_json())
    with pytest.raises(GenmorphError, match="differ in pairs_seed"):
        FIGURES["atlas_scores"](files, values, tmp_path / "scores.png")
    files["measure:again:slice_vae-64"] = files["measure:ras:slice_vae-64"]
    with pytest.raises(GenmorphError, match="two atlas scores of run slice_vae-64"):
        FIGURES["atlas_scores"](files, values, tmp_path / "scores.png")
    with pytest.raises(GenmorphError, match="no atlas score to show"):
        FIGURES["atlas_scores"]({}, values, tmp_path / "scores.png")
