"""Shape of P1's table."""

from __future__ import annotations

from pathlib import Path

from genmorph.metrics.reconstruction import PAPER_DATA_RANGE
from genmorph.publish.tables import Column, Row, Table

REPORTED = Path(__file__).with_name("reported.csv")


def _slices(axis: str) -> tuple[Column, ...]:
    """The columns of one axis: both distances, each with its uncertainty."""
    frechet, kernel = f"{{label}} {axis}", f"kernel distance ({{extractor}}) {axis}"
    return (
        Column(
            title=frechet,
            measure="frechet",
            key=axis,
            form=".1f",
            reported=f"fid_{axis}",
            reported_title=f"FID {axis}",
            paper={"extractor": "inception-fid"},
        ),
        Column(f"{frechet}, half-sample SD", "frechet", axis, ".1f", part="spread"),
        Column(kernel, "frechet", f"kid_{axis}", ".4f"),
        Column(f"{kernel}, half-sample SD", "frechet", f"kid_{axis}", ".4f", part="spread"),
    )


def _reconstruction(
    key: str, title: str, form: str, *, in_paper: bool, ranged: bool = False
) -> Column:
    """A column of the reconstruction measure; `ranged` when it depends on the data range."""
    return Column(
        title=title,
        measure="reconstruction",
        key=key,
        form=form,
        reported=key if in_paper else None,
        reported_title=title,
        paper={"data_range": PAPER_DATA_RANGE} if ranged else {},
    )


TABLES = {
    "tune": Table(
        name="tune",
        rows=(),
        columns=(
            Column("{label} all axes", "frechet", "all_axes", ".1f"),
            _reconstruction("l1", "L1", ".4f", in_paper=False),
            _reconstruction("l2", "L2", ".4f", in_paper=False),
            _reconstruction("ssim", "SSIM", ".3f", in_paper=False),
        ),
        reported=REPORTED,
        paper={},
        best=(
            ("frechet", "all_axes", "least Fréchet distance"),
            ("reconstruction", "l2", "least L2"),
        ),
        notes=(
            "Against the validation scans; x2 is twice the value of the model beside it. The paper "
            "searched on its validation set too, over values and by a criterion it does not state.",
        ),
    ),
    "table1": Table(
        name="table1",
        rows=(
            Row("αWGAN", "alpha_wgan", "alpha_wgan"),
            # the paper's text gives β = 3, and its table has one row; no comma in a row's title, as
            # `genmorph audit --cell ROW,COLUMN` splits there
            Row("βVAE (β = 3)", "beta_vae-3", "beta_vae"),
            Row("βVAE (β = 6)", "beta_vae-6"),
            Row("M3AE", "m3ae", "m3ae"),
            Row("Validation set", "held_out", "held_out"),
            Row("reference: training mean image", "training_mean"),
            Row("reference: registered template", "template"),
            Row("reference: random training scans", "training_scans"),
            Row("reference: nearest training scan", "nearest_training_scan"),
            Row("reference: voxel-shuffled scans", "voxel_shuffled"),
        ),
        columns=(
            *_slices("axial"),
            *_slices("coronal"),
            *_slices("sagittal"),
            Column("greatest SSIM between samples", "diversity", "pairwise_ssim_max", ".3f"),
            _reconstruction("l2", "L2", ".4f", in_paper=True),
            _reconstruction("ssim", "SSIM", ".3f", in_paper=True, ranged=True),
            _reconstruction("psnr", "PSNR (dB)", ".2f", in_paper=True, ranged=True),
            _reconstruction("l2_brain", "L2 in brain", ".4f", in_paper=False),
            _reconstruction("ssim_brain", "SSIM in brain", ".3f", in_paper=False),
            _reconstruction("psnr_brain", "PSNR in brain (dB)", ".2f", in_paper=False),
        ),
        reported=REPORTED,
        # section 3 of the paper; the number of sampled volumes is not stated there
        paper={
            "data": "adni",
            "scale": "paper",
            "grid": "80x96x80",
            "n": 2592,
        },
        yardsticks=(("training_mean", "reconstruction", "l2", "no better than the mean"),),
        notes=(
            "L2 is the mean squared error, as the paper names it.",
            "Half-sample SD: uncertainty of the distance beside it, over half-samples of people "
            "without replacement; n/a where a side has too few.",
            "Kernel distance: not biased by n, may be negative; KID when features are Inception's.",
            "References are trivial: they show what a number is worth.",
        ),
    ),
}
