"""Native engines without the tools: command lines to the letter, and programs that are played.

The played programs are small scripts on PATH with the names, arguments and output files of the real
ones: discovery, running, reading back, errors and versions are tested for real, their algorithms
are not.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.io import savemat

from genmorph.errors import ConfigError, EngineError, ScanError
from genmorph.preprocessing.engines import Engines, ants, freesurfer, fsl, native, spm
from genmorph.preprocessing.engines.probe import probe, require
from genmorph.preprocessing.raw import Image
from genmorph.preprocessing.steps import BiasCorrection, BrainExtraction, Registration

LAS = np.array([[-1.0, 0, 0, 30], [0, 1, 0, -40], [0, 0, 1.2, -20], [0, 0, 0, 1]])
RAS = np.array([[1.5, 0, 0, -25], [0, 1, 0, -30], [0, 0, 1, -35], [0, 0, 0, 1]])
TOOLS = """\
import sys
import nibabel as nib
import numpy as np

def load(path):
    image = nib.load(path)
    return image, image.get_fdata(dtype=np.float32)

def save(data, image, path):
    nib.save(nib.Nifti1Image(np.asarray(data, np.float32), image.affine), path)

words = sys.argv[1:]
def after(flag):
    return words[words.index(flag) + 1]
"""


@pytest.fixture
def head():
    """A bright ball in a dim box, biased along x."""
    x, y, z = np.indices((40, 44, 36))
    ball = (x - 20) ** 2 + (y - 22) ** 2 + (z - 18) ** 2 < 14**2
    data = (np.where(ball, 100.0, 10.0) * (1 + x / 80)).astype(np.float32)
    return Image(data, RAS), ball


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Put a program of this name on PATH; its body is Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FSLDIR", str(tmp_path / "fsl"))

    def make(name, body):
        path = folder / name
        path.write_text(f"#!{sys.executable}\n{TOOLS}\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return make


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Empty images by name, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("scan", "brain", "template", "mask", "probability"):
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), f"{name}.nii.gz")
    for name in ("scan", "TPM", "deformation", "c1scan"):
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), f"{name}.nii")
    return {name: Path(f"{name}.nii.gz") for name in ("scan", "brain", "template", "mask")}


# -- command lines ---------------------------------------------------------------------------------


def line(interface):
    return " ".join(interface.cmdline.split())


def test_fsl_command_lines(images):
    assert line(fsl.bet_interface(images["scan"], Path("out.nii.gz"))) == (
        "bet scan.nii.gz out.nii.gz -f 0.50 -m -R"
    )
    assert line(fsl.fast_interface(images["brain"], Path("fast"))) == (
        "fast -l 20 -t 1 -O 4 -n 3 -o fast -B -b -S 1 brain.nii.gz"
    )
    for kind, freedom in (("rigid", 6), ("affine", 12)):
        flirt = fsl.flirt_interface(images["brain"], images["template"], Path("m.mat"), kind)
        assert line(flirt) == (
            "flirt -in brain.nii.gz -ref template.nii.gz -out m.nii.gz -omat m.mat "
            f"-cost corratio -dof {freedom}"
        )


def test_ants_command_lines(images):
    n4 = ants.n4_interface(images["scan"], images["mask"], Path("o.nii.gz"), BiasCorrection(), 1.0)
    assert line(n4) == (
        "N4BiasFieldCorrection --bspline-fitting [ 200 ] -d 3 --input-image scan.nii.gz "
        "--mask-image mask.nii.gz --convergence [ 50x50x50x50, 0.001 ] --output o.nii.gz "
        "--shrink-factor 4"
    )
    extraction = ants.extraction_interface(
        images["scan"], images["template"], Path("probability.nii.gz"), "ants_"
    )
    assert line(extraction) == (
        "antsBrainExtraction.sh -a scan.nii.gz -m probability.nii.gz -e template.nii.gz -d 3 "
        "-s nii.gz -o ants_"
    )
    options = Registration(degrees_of_freedom="rigid", seed=7)
    registration = line(
        ants.registration_interface(images["template"], images["brain"], "ants_", options)
    )
    metric = "--metric MI[ template.nii.gz, brain.nii.gz, 1, 32, Regular, 0.1 ]"
    assert f"--transform Rigid[ 0.1 ] {metric}" in registration
    assert "--random-seed 7" in registration
    assert "--smoothing-sigmas 4.0x2.0x0.0mm --shrink-factors 4x2x1" in registration
    assert "Affine" not in registration
    options = Registration(degrees_of_freedom="affine")
    assert "--transform Affine[ 0.1 ]" in line(
        ants.registration_interface(images["template"], images["brain"], "ants_", options)
    )


def test_freesurfer_command_lines(images):
    strip = freesurfer.synthstrip_interface(images["scan"], Path("b.nii.gz"), Path("m.nii.gz"))
    assert line(strip) == "mri_synthstrip -i scan.nii.gz -o b.nii.gz -m m.nii.gz"
    assert line(freesurfer.recon_all_interface(images["scan"], Path())) == (
        "recon-all -autorecon1 -i scan.nii.gz -openmp 1 -subjid scan -sd ."
    )
    assert line(freesurfer.nu_interface(images["scan"], Path("nu.nii.gz"))) == (
        "mri_nu_correct.mni --i scan.nii.gz --n 4 --o nu.nii.gz"
    )


def test_spm_job_has_the_papers_parameters(images):
    job = spm.segment_interface(Path("scan.nii"), Path("TPM.nii"))
    script = job._make_matlab_command(job._parse_inputs())
    for setting in (
        "channel(1).biasreg = 0.001;",
        "channel(1).biasfwhm = 60.0;",
        "channel(1).write(2) = 1;",
        "tissue(3).ngaus = 2;",
        "tissue(5).native(1) = 1;",
        "warp.affreg = 'mni';",
        "warp.reg(1) = 0.0;",
        "warp.reg(5) = 0.2;",
        "warp.samp = 3.0;",
        "warp.write(2) = 1;",
    ):
        assert setting in script
    job = spm.normalise_interface(Path("deformation.nii"), Path("c1scan.nii"))
    assert "woptions.vox(1) = 1.5;" in job._make_matlab_command(job._parse_inputs())
    job = spm.smooth_interface(Path("c1scan.nii"))
    assert "smooth.fwhm(3) = 8.0;" in job._make_matlab_command(job._parse_inputs())


# -- geometry --------------------------------------------------------------------------------------


def test_flirt_matrices_mean_the_same_points_in_both_handednesses():
    """By hand: a voxel of each image, its scaled position as FSL counts, its world position."""
    moving = Image(np.zeros((40, 44, 36), np.float32), LAS)
    fixed = Image(np.zeros((50, 60, 55), np.float32), RAS)
    rng = np.random.default_rng(0)
    flirt = np.eye(4)
    flirt[:3] += rng.normal(0, 0.1, (3, 4))
    world = fsl.world_from_flirt(flirt, moving, fixed)
    for voxel in ([3, 5, 7], [20, 30, 10], [0, 0, 0]):
        # LAS has a negative determinant: scaled voxels are voxels times their size
        scaled = np.array([voxel[0] * 1.0, voxel[1] * 1.0, voxel[2] * 1.2, 1])
        target = flirt @ scaled
        # RAS has a positive one: the first axis is counted from the other end
        found = [(49 * 1.5 - target[0]) / 1.5, target[1], target[2], 1]
        expected = RAS @ found
        np.testing.assert_allclose(world @ LAS @ [*voxel, 1], expected, atol=1e-9)


def test_an_itk_transform_is_read_in_ras(tmp_path):
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetMatrix([0.9, 0.1, 0, -0.1, 1.1, 0, 0, 0, 1.0])
    transform.SetCenter([5, 6, 7])
    transform.SetTranslation([1, 2, 3])
    sitk.WriteTransform(transform, str(tmp_path / "t.mat"))
    matrix = ants.world_from_itk(tmp_path / "t.mat")
    point = np.array([10.0, -20.0, 30.0])  # LPS
    flip = np.array([-1, -1, 1])
    np.testing.assert_allclose(
        (matrix @ [*(point * flip), 1])[:3] * flip, transform.TransformPoint(point), atol=1e-9
    )


# -- played programs -------------------------------------------------------------------------------

BET = """
image, data = load(words[0])
mask = data > 60
save(np.where(mask, data, 0), image, words[1])
save(mask, image, words[1].replace(".nii.gz", "_mask.nii.gz"))
"""
FAST = """
image, data = load(words[-1])
x = np.indices(data.shape)[0]
save(np.where(data > 0, 1 + x / 80, 0), image, after("-o") + "_bias.nii.gz")
for part in ("restore", "seg", "mixeltype", "pveseg"):
    save(data, image, after("-o") + f"_{part}.nii.gz")
for number in range(3):
    save((data > 0) / 3, image, after("-o") + f"_pve_{number}.nii.gz")
"""
FLIRT = """
np.savetxt(after("-omat"), np.eye(4))
image, data = load(after("-ref"))
save(data, image, after("-out"))
"""


def test_fsl_from_bias_to_registration(head, play):
    image, ball = head
    play("bet", BET)
    play("fast", FAST)
    play("flirt", FLIRT)
    mask = fsl.extract_brain(image, BrainExtraction())
    assert (mask == ball).all()
    corrected = fsl.correct_bias(image, None, BiasCorrection())
    assert corrected.data[ball].std() < 1e-3
    assert (corrected.data[~ball] > 0).all()  # the field goes on outside the brain
    affine = fsl.register_affine(image.with_data(np.where(ball, image.data, 0)), Registration())
    assert affine.shape == (4, 4)
    assert set(fsl.segment_tissues(image, mask, None)) == {"GM", "WM", "CSF"}


def test_the_last_line_of_a_programs_errors_is_the_reason(head, play):
    play("bet", 'print("loading"); sys.exit("no brain in this image")')
    with pytest.raises(ScanError, match=r"BET failed.*no brain in this image"):
        fsl.extract_brain(head[0], BrainExtraction())


def test_a_program_that_writes_nothing_is_no_success(head, play):
    play("bet", "pass")
    with pytest.raises(ScanError):
        fsl.extract_brain(head[0], BrainExtraction())


def test_a_mask_on_another_grid_is_refused(head, tmp_path):
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((5, 5, 5), np.float32), np.eye(4)), path)
    with pytest.raises(ScanError, match="another grid"):
        native.read_array(path, head[0])


def test_synthstrip(head, play):
    play("mri_synthstrip", 'image, data = load(after("-i")); save(data > 60, image, after("-m"))')
    assert (freesurfer.extract_brain(head[0], BrainExtraction()) == head[1]).all()


def test_ants_n4_and_extraction(head, play, tmp_path, monkeypatch):
    image, ball = head
    play(
        "N4BiasFieldCorrection",
        'image, data = load(after("--input-image")); save(data * 2, image, after("--output"))',
    )
    corrected = ants.correct_bias(image, ball, BiasCorrection())
    np.testing.assert_allclose(corrected.data, image.data * 2, rtol=1e-6)
    with pytest.raises(EngineError, match="T_template0"):
        ants.extract_brain(image, BrainExtraction())
    for name in ants.TEMPLATE_FILES.values():
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), tmp_path / name)
    monkeypatch.setenv(ants.TEMPLATE_FOLDER, str(tmp_path))
    play(
        "antsBrainExtraction.sh",
        'image, data = load(after("-a"))\n'
        'for part, values in (("Mask", data > 60), ("Brain", data)):\n'
        '    save(values, image, after("-o") + f"BrainExtraction{part}.nii.gz")',
    )
    assert (ants.extract_brain(image, BrainExtraction()) == ball).all()


def test_spm_is_refused_where_it_takes_the_brain_for_scalp():
    shape = (60, 60, 60)
    x, y, z = np.indices(shape) - 30
    brain = x**2 + y**2 + z**2 < 28**2
    half = np.where(brain, 0.5, 0)
    good = {"GM": half, "WM": half, "CSF": 0 * half, "soft tissue": 0 * half}
    spm.check_tissues(good, voxel_ml=0.01)
    with pytest.raises(ScanError, match="of GM"):
        spm.check_tissues(good | {"GM": half / 10}, voxel_ml=0.01)
    with pytest.raises(ScanError, match="scalp"):
        spm.check_tissues(good | {"soft tissue": half}, voxel_ml=0.01)


def test_spm_reads_what_the_unified_segmentation_writes(head, tmp_path, monkeypatch):
    image, ball = head
    shift = np.eye(4)
    shift[:3, 3] = [1, 2, 3]

    def play_spm(interface, folder):
        assert interface.inputs.warping_regularization == spm.WARPING
        scan = nib.load(folder / "scan.nii")
        for number, share in ((1, 0.5), (2, 0.5), (3, 0.0), (5, 0.0)):
            values = np.where(ball, share, 0).astype(np.float32)
            nib.save(nib.Nifti1Image(values, scan.affine), folder / f"c{number}scan.nii")
        nib.save(scan, folder / "mscan.nii")
        savemat(folder / "scan_seg8.mat", {"Affine": shift})

    monkeypatch.setattr(spm, "configure", lambda: tmp_path)
    monkeypatch.setattr(native, "run", play_spm)
    monkeypatch.setattr(spm, "LEAST_ML", {"GM": 1.0, "WM": 1.0})
    (tmp_path / "tpm").mkdir()
    nib.save(
        nib.Nifti1Image(np.zeros((4, 4, 4, 6), np.float32), np.eye(4)), tmp_path / "tpm/TPM.nii"
    )
    assert (spm.extract_brain(image, BrainExtraction()) == ball).all()
    np.testing.assert_allclose(
        spm.register_affine(image, Registration()), np.linalg.inv(shift), atol=1e-12
    )
    with pytest.raises(EngineError, match="rigid"):
        spm.register_affine(image, Registration(degrees_of_freedom="rigid"))


# -- presence, versions, choice --------------------------------------------------------------------


def test_versions_are_asked_for(play, tmp_path):
    assert probe("fsl").gives == ()
    for name in ("bet", "fast", "flirt"):
        play(name, "")
    (tmp_path / "fsl/etc").mkdir(parents=True)
    (tmp_path / "fsl/etc/fslversion").write_text("6.0.7.4\n")
    found = probe("fsl")
    assert found.versions == {"fsl": "6.0.7.4"}
    assert set(found.gives) == {
        "bias_correction",
        "brain_extraction",
        "registration",
        "tissue_segmentation",
    }
    play("antsRegistration", 'print("ANTs Version: 2.5.0.post3-g1234")')
    assert probe("ants").versions == {"ants": "2.5.0.post3-g1234"}
    assert probe("ants").missing["bias_correction"] == ("N4BiasFieldCorrection",)


def test_a_missing_engine_is_refused_with_what_can_replace_it(play):
    with pytest.raises(EngineError, match="brain_extraction needs bet") as error:
        Engines("fsl").require(["brain_extraction"])
    assert "deepbet" in str(error.value)
    with pytest.raises(EngineError, match="freesurfer has no registration"):
        require("freesurfer", "registration")
    Engines("builtin").require(["brain_extraction", "registration", "resample"])


def test_steps_may_have_engines_of_their_own(play):
    play("mri_synthstrip", "")
    engines = Engines("builtin", {"brain_extraction": "freesurfer"})
    engines.require(["bias_correction", "brain_extraction", "registration"])
    assert engines.of("brain_extraction") is freesurfer
    assert engines.of("registration").__name__.endswith("builtin")
    told = engines.describe(["bias_correction", "brain_extraction"])
    assert "brain_extraction: freesurfer" in told
    assert "bias_correction: builtin (SimpleITK" in told


@pytest.mark.parametrize(
    "choice", [("fls", {}), ("fsl", {"brain": "ants"}), ("fsl", {"registration": "x"})]
)
def test_unknown_engines_and_steps_are_refused(choice):
    with pytest.raises(ConfigError):
        Engines(*choice)
