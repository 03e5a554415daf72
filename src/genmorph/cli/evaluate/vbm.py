"""`genmorph evaluate vbm`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genmorph.cli.evaluate.common import Comparison
from genmorph.errors import MeasurementError
from genmorph.metrics.measurement import Measurement

if TYPE_CHECKING:
    import numpy as np

    from genmorph.metrics.vbm_statistics import TMap


def measure(
    two: Comparison,
    *,
    t_map: Annotated[Path, typer.Option("--t-map", help="NIfTI of t to write (.nii.gz).")],
    figure: Annotated[Path, typer.Option("--figure", help="Picture of the map to write (.png).")],
) -> Measurement:
    """Where gray matter of two populations differs: t-map, its mask, and its pictures.

    Slices show every voxel that is tested, the glass brain those over the threshold.
    """
    from genmorph.metrics.vbm import measure_vbm
    from genmorph.preprocessing.anatomy import MODULATED

    options = two.options
    made, real = two.made.maps(MODULATED), two.real.maps(MODULATED)
    made_ids, real_ids = made.ids, two.real_ids
    if options.design == "paired":
        made_ids = real_ids = [scan_id for scan_id in real_ids if scan_id in made]
    found, measurement = measure_vbm(
        SmoothedMaps(made, tuple(made_ids), options.fwhm_mm),
        SmoothedMaps(real, tuple(real_ids), options.fwhm_mm),
        real.affine,
        design=options.design,
        variance=options.variance,
        low_variance_fraction=options.low_variance_fraction,
        mask_threshold=options.mask_threshold,
        correction=options.correction,
        level=options.level,
        permutations=options.permutations,
        seed=options.seed,
        map_settings={"fwhm_mm": options.fwhm_mm, "segmentation": two.real.segmentation},
    )
    if found is None:
        raise MeasurementError(
            f"VBM: no t-map: {' '.join(measurement.notes)}", "compare more people"
        )
    _write_maps(two, found, real.affine, t_map)
    _draw(two, found, measurement, real.affine, figure)
    return two.noted(measurement)


@dataclass(frozen=True)
class SmoothedMaps(Mapping[str, "np.ndarray"]):
    """Maps of a store, each read and smoothed when it is asked for.

    Attributes
    ----------
    store : Store
    ids : tuple of str
    fwhm_mm : float
    """

    store: Any
    ids: tuple[str, ...]
    fwhm_mm: float

    def __getitem__(self, scan_id: str) -> np.ndarray:
        from genmorph.metrics.vbm import smooth
        from genmorph.publish.vbm_maps import voxel_sizes

        return smooth(self.store.read(scan_id), self.fwhm_mm, voxel_sizes(self.store.affine))

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


def _write_maps(two: Comparison, found: TMap, affine: np.ndarray, t_map: Path) -> None:
    from genmorph.publish import vbm_maps

    mask = t_map.with_name(t_map.name.replace(".nii", "_mask.nii"))
    two.beside.extend([t_map, mask])
    vbm_maps.save_image(vbm_maps.t_image(found, affine), t_map)
    vbm_maps.save_image(vbm_maps.mask_image(found.mask, affine), mask)


def _draw(
    two: Comparison, found: TMap, measurement: Measurement, affine: np.ndarray, figure: Path
) -> None:
    from genmorph.metrics.vbm_inference import over_threshold
    from genmorph.publish import vbm_maps
    from genmorph.publish.figures import save_figure

    glass = figure.with_name(f"{figure.stem}_glass.png")
    two.beside.extend(path for one in (figure, glass) for path in (one, one.with_suffix(".svg")))
    label = two.real.description.data_label and f"Data: {two.real.description.data_label}."
    footer = " ".join(filter(None, (vbm_maps.describe(measurement), label)))
    over = over_threshold(found, measurement.values)
    save_figure(vbm_maps.slices(found, affine, footer=footer), figure.with_suffix(""))
    save_figure(vbm_maps.glass_brain(found, affine, over, footer=footer), glass.with_suffix(""))
