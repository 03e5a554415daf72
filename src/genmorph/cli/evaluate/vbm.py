"""`genmorph evaluate vbm`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from genmorph.cli.evaluate.common import (
    NO_PARAMETERS,
    Manifest,
    Out,
    Parameters,
    Participants,
    comparing,
    write,
)
from genmorph.cli.evaluate.tissue_folder import GeneratedTissues, ReferenceTissues


def evaluate(
    generated: GeneratedTissues,
    reference: ReferenceTissues,
    out: Out,
    t_map: Annotated[Path, typer.Option("--t-map", help="NIfTI of t to write (.nii.gz).")],
    figure: Annotated[Path, typer.Option("--figure", help="Picture of the map to write (.png).")],
    manifest: Manifest = None,
    participants: Participants = None,
    parameters: Parameters = NO_PARAMETERS,
) -> None:
    """Where gray matter of two populations differs: t-map, its mask, and its pictures.

    Slices show every voxel that is tested, the glass brain those over the threshold.
    """
    mask = t_map.with_name(t_map.name.replace(".nii", "_mask.nii"))
    glass = figure.with_name(f"{figure.stem}_glass.png")
    pictures = [path for one in (figure, glass) for path in (one, one.with_suffix(".svg"))]
    with comparing(
        "vbm", generated, reference, manifest, participants, out, parameters,
        outputs=[t_map, mask, *pictures],
    ) as (two, _):  # fmt: skip
        from genmorph.errors import MeasurementError
        from genmorph.metrics.vbm import measure_vbm, smooth
        from genmorph.metrics.vbm_inference import over_threshold
        from genmorph.preprocessing.anatomy import MODULATED
        from genmorph.publish import vbm_maps
        from genmorph.publish.figures import save_figure

        options = two.options
        made, real = two.made.maps(MODULATED), two.real.maps(MODULATED)
        voxel_mm = vbm_maps.voxel_sizes(real.affine)
        sides = [
            {scan_id: smooth(store.read(scan_id), options.fwhm_mm, voxel_mm) for scan_id in ids}
            for store, ids in ((made, made.ids), (real, two.real_ids))
        ]
        if options.design == "paired":
            both = [scan_id for scan_id in two.real_ids if scan_id in made]
            sides = [{scan_id: side[scan_id] for scan_id in both} for side in sides]
        found, measurement = measure_vbm(
            *sides,
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
        notes = (
            *measurement.notes,
            *two.made.note_of_failures("generated"),
            *two.real.note_of_failures("real"),
        )
        vbm_maps.save_image(vbm_maps.t_image(found, real.affine), t_map)
        vbm_maps.save_image(vbm_maps.mask_image(found.mask, real.affine), mask)
        over = over_threshold(found, measurement.values)
        label = two.real.description.data_label and f"Data: {two.real.description.data_label}."
        footer = " ".join(filter(None, (vbm_maps.describe(measurement), label)))
        save_figure(vbm_maps.slices(found, real.affine, footer=footer), figure.with_suffix(""))
        save_figure(
            vbm_maps.glass_brain(found, real.affine, over, footer=footer), glass.with_suffix("")
        )
        write(out, two.placed(replace(measurement, notes=notes)))
