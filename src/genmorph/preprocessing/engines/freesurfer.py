"""Engine `freesurfer`: SynthStrip, or the brain mask of recon-all, and the nu correction.

Programs of FreeSurfer (Fischl 2012; SynthStrip: Hoopes 2022), installed by the user under
FreeSurfer's licence. It registers nothing onto the template here: name another engine for that step
in `preprocessing.step_engines`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from genmorph.preprocessing.engines import native
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import BiasCorrection, BrainExtraction

# `recon-all` takes an hour for what SynthStrip does in a minute
METHOD_VARIABLE, METHODS = "GENMORPH_FREESURFER_MASK", ("synthstrip", "recon-all")
NU_ITERATIONS = 4


def synthstrip_interface(scan: Path, brain: Path, mask: Path) -> Any:
    """mri_synthstrip, for which nipype has no interface of its own."""
    from nipype.interfaces.base import (
        CommandLine,
        CommandLineInputSpec,
        File,
        TraitedSpec,
    )

    class InputSpec(CommandLineInputSpec):
        in_file = File(exists=True, mandatory=True, argstr="-i %s", position=0)
        out_file = File(argstr="-o %s", position=1)
        mask_file = File(argstr="-m %s", position=2)

    class OutputSpec(TraitedSpec):
        mask_file = File()

    class SynthStrip(CommandLine):
        _cmd = "mri_synthstrip"
        input_spec = InputSpec
        output_spec = OutputSpec

        def _list_outputs(self) -> dict[str, str]:
            return {"mask_file": self.inputs.mask_file}

    return SynthStrip(in_file=str(scan), out_file=str(brain), mask_file=str(mask))


def recon_all_interface(scan: Path, folder: Path) -> Any:
    """The first part of recon-all, up to the brain mask."""
    from nipype.interfaces import freesurfer

    return freesurfer.ReconAll(
        T1_files=[str(scan)],
        subject_id="scan",
        subjects_dir=str(folder),
        directive="autorecon1",
        openmp=1,
    )


def nu_interface(scan: Path, out: Path) -> Any:
    """mri_nu_correct.mni."""
    from nipype.interfaces import freesurfer

    return freesurfer.MNIBiasCorrection(
        in_file=str(scan), out_file=str(out), iterations=NU_ITERATIONS
    )


def versions() -> dict[str, str]:
    """Version of FreeSurfer, and how it finds the brain."""
    from genmorph.preprocessing.engines.probe import probe

    return {**probe("freesurfer").versions, "mask": _method()}


def _method() -> str:
    return os.environ.get(METHOD_VARIABLE, METHODS[0])


def correct_bias(image: Image, mask: np.ndarray | None, options: BiasCorrection) -> Image:
    """mri_nu_correct.mni over the whole image. `options` are N4's and do not apply."""
    with native.workspace() as folder:
        scan = native.write_image(image, folder / "scan.nii.gz")
        out = folder / "nu.nii.gz"
        native.run(nu_interface(scan, out), folder)
        return image.with_data(native.read_array(out, image))


def extract_brain(image: Image, options: BrainExtraction) -> np.ndarray:
    """Mask by SynthStrip, or by recon-all when `GENMORPH_FREESURFER_MASK` says so."""
    from scipy.ndimage import binary_fill_holes

    with native.workspace() as folder:
        scan = native.write_image(image, folder / "scan.nii.gz")
        if _method() == "synthstrip":
            mask = folder / "mask.nii.gz"
            native.run(synthstrip_interface(scan, folder / "brain.nii.gz", mask), folder)
            return native.read_array(mask, image) > 0.5
        native.run(recon_all_interface(scan, folder), folder)
        return binary_fill_holes(_on_scan(folder / "scan/mri/brainmask.mgz", image) > 0)


def _on_scan(path: Path, image: Image) -> np.ndarray:
    """A volume of recon-all's 1 mm space on the scan's grid."""
    import nibabel as nib
    from nibabel.processing import resample_from_to

    volume = resample_from_to(nib.load(path), (image.data.shape, image.affine), order=0)
    return np.asarray(volume.dataobj)
