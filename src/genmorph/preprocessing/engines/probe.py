"""Which engines this machine has, in which versions, and what can replace a missing one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from genmorph.errors import EngineError

# programs that each step of an engine needs
PROGRAMS: dict[str, dict[str, tuple[str, ...]]] = {
    "fsl": {
        "bias_correction": ("bet", "fast"),
        "brain_extraction": ("bet",),
        "registration": ("flirt",),
        "tissue_segmentation": ("fast",),
    },
    "ants": {
        "bias_correction": ("N4BiasFieldCorrection",),
        "brain_extraction": ("antsBrainExtraction.sh",),
        "registration": ("antsRegistration",),
    },
    "freesurfer": {
        "bias_correction": ("mri_nu_correct.mni",),
        "brain_extraction": ("mri_synthstrip",),
    },
    "spm": {
        "bias_correction": ("SPM",),
        "brain_extraction": ("SPM",),
        "registration": ("SPM",),
        "tissue_segmentation": ("SPM",),
    },
}
WHERE = {
    "fsl": "install FSL and source its etc/fslconf/fsl.sh",
    "ants": "install ANTs and put its bin folder on PATH",
    "freesurfer": "install FreeSurfer and source its SetUpFreeSurfer.sh",
    "spm": "name SPM12's folder in GENMORPH_SPM and have matlab or octave on PATH, or name the "
    "standalone's command in GENMORPH_SPM_COMMAND",
}
BUILTIN = {
    "bias_correction": "N4 (SimpleITK)",
    "brain_extraction": "deepbet",
    "registration": "mutual information (SimpleITK)",
    "tissue_segmentation": "Atropos (antspyx)",
}
SPM_FOLDER, SPM_COMMAND = "GENMORPH_SPM", "GENMORPH_SPM_COMMAND"
SECONDS = 60.0  # a program that does not tell its version in this time is taken for broken


@dataclass(frozen=True)
class Probe:
    """What was found of an engine.

    Attributes
    ----------
    engine : str
    versions : dict
        Version by tool; empty when nothing was found.
    gives : tuple of str
        Steps it can carry out here.
    missing : dict
        For other steps of the engine, the programs that are missing.
    """

    engine: str
    versions: dict[str, str] = field(default_factory=dict)
    gives: tuple[str, ...] = ()
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)


def probe(engine: str) -> Probe:
    """Look for an engine's programs and ask for their version."""
    if engine == "builtin":
        from genmorph.preprocessing.engines import builtin

        return Probe(engine, builtin.versions(), tuple(BUILTIN))
    missing = {
        step: tuple(name for name in programs if not _find(name))
        for step, programs in PROGRAMS[engine].items()
    }
    gives = tuple(step for step, lacking in missing.items() if not lacking)
    missing = {step: lacking for step, lacking in missing.items() if lacking}
    return Probe(engine, {engine: _version(engine)} if gives else {}, gives, missing)


def require(engine: str, step: str) -> None:
    """Refuse an engine that cannot carry out a step here.

    Raises
    ------
    EngineError
        With what is missing, where to get it, and what can replace it.
    """
    found = probe(engine)
    if step in found.gives:
        return
    instead = f"or give {step} to `builtin` ({BUILTIN[step]}) with preprocessing.step_engines"
    if engine in PROGRAMS and step not in PROGRAMS[engine]:
        raise EngineError(f"engine {engine} has no {step}", instead.removeprefix("or "))
    raise EngineError(
        f"engine {engine}: {step} needs {', '.join(found.missing[step])}, not found here",
        f"{WHERE[engine]}; {instead}",
    )


def _find(program: str) -> str | None:
    if program == "SPM":
        return spm_command()[0]
    return shutil.which(program)


def spm_command() -> tuple[str | None, Path | None]:
    """The command that runs SPM, and SPM's folder unless it is the standalone."""
    if command := os.environ.get(SPM_COMMAND):
        return (command if shutil.which(command.split()[0]) else None), None
    folder = os.environ.get(SPM_FOLDER)
    program = shutil.which("matlab") or shutil.which("octave")
    if not folder or not Path(folder, "spm.m").is_file() or program is None:
        return None, None
    return program, Path(folder)


def _version(engine: str) -> str:
    if engine == "fsl":
        return _first_line(Path(os.environ.get("FSLDIR", ""), "etc", "fslversion"))
    if engine == "freesurfer":
        return _first_line(Path(os.environ.get("FREESURFER_HOME", ""), "build-stamp.txt"))
    if engine == "spm":
        folder = spm_command()[1]
        contents = folder / "Contents.m" if folder else Path()
        text = contents.read_text(errors="replace") if contents.is_file() else ""
        found = re.search(r"Version\s+(\S+)", text)
        return found[1] if found else "standalone"
    program = shutil.which("antsRegistration") or shutil.which("N4BiasFieldCorrection")
    return _ask(program) if program else "unknown"


def _ask(program: str) -> str:
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"\d+\.\d+[\w.\-]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _first_line(path: Path) -> str:
    if not path.is_file():
        return "unknown"
    return (path.read_text(errors="replace").strip().splitlines() or ["unknown"])[0]
