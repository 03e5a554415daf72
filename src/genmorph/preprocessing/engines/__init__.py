"""The software that carries out a step; `builtin` needs nothing beside the Python packages.

An engine is a module with `correct_bias`, `extract_brain`, `register_affine` (those of its steps)
and `versions`, as `builtin` has them. The way onto the grid and intensities are the same for all:
see `genmorph.preprocessing.grid`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from genmorph.errors import ConfigError, did_you_mean

# name in the configuration -> module
ENGINES = {
    name: f"genmorph.preprocessing.engines.{name}"
    for name in ("builtin", "fsl", "ants", "freesurfer", "spm")
}
# steps that an engine carries out; the others are the same whatever the engine
ENGINE_STEPS = ("bias_correction", "brain_extraction", "registration")


@dataclass(frozen=True)
class Engines:
    """Which engine carries out which step.

    Attributes
    ----------
    default : str
    steps : mapping
        Engine of the steps that the default does not carry out.
    """

    default: str = "builtin"
    steps: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (self.default, *self.steps.values()):
            if name not in ENGINES:
                hint = did_you_mean(name, ENGINES)
                raise ConfigError(f"preprocessing.engine: no '{name}'; {hint}")
        for step in self.steps:
            if step not in ENGINE_STEPS:
                hint = did_you_mean(step, ENGINE_STEPS)
                raise ConfigError(f"preprocessing.step_engines: no step '{step}'; {hint}")

    def name(self, step: str) -> str:
        """Name of a step's engine."""
        return self.steps.get(step, self.default)

    def of(self, step: str) -> ModuleType:
        """Module of a step's engine."""
        return importlib.import_module(ENGINES[self.name(step)])

    def used(self, steps: Iterable[str]) -> dict[str, str]:
        """Engine of each of some steps that an engine carries out."""
        return {step: self.name(step) for step in steps if step in ENGINE_STEPS}

    def modules(self, steps: Iterable[str]) -> list[str]:
        """Names of the modules that some steps run."""
        return sorted({ENGINES[name] for name in self.used(steps).values()})

    def require(self, steps: Iterable[str]) -> None:
        """Refuse to start without the programs that some steps need.

        Raises
        ------
        EngineError
            With what is missing and what can replace it.
        """
        from genmorph.preprocessing.engines.probe import require

        for step, name in self.used(steps).items():
            require(name, step)

    def describe(self, steps: Iterable[str]) -> str:
        """Engines of some steps, with versions: `builtin (SimpleITK 2.5.7, deepbet 1.0.2)`."""
        used = self.used(steps)
        told = []
        for name in sorted(set(used.values()) or {self.default}):
            versions = importlib.import_module(ENGINES[name]).versions()
            own = [step for step, engine in used.items() if engine == name]
            doing = f"{', '.join(own)}: " if len(set(used.values())) > 1 else ""
            tools = ", ".join(f"{tool} {version}" for tool, version in versions.items())
            told.append(f"{doing}{name} ({tools})")
        return "; ".join(told)
