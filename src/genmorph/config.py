"""The study's configuration: the source of config.yaml, of its defaults and of its schema."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, field_validator, model_validator

from genmorph.errors import ConfigError, did_you_mean
from genmorph.splits import in_people
from genmorph.validation import Options, validate

Scale = Literal["smoke", "demo", "pilot", "paper"]
Layout = Literal["bids", "adni", "hcp", "ukb", "oasis"]
# in a configuration file
MOST_VALUES = 100_000
MOST_DEPTH = 100
NAME = r"^[A-Za-z0-9]+(_[A-Za-z0-9]+)*$"  # cohort names stand in paths: no dash, no dot
FOLDER = r"[\w./+-]+"  # results stand in command lines and patterns of paths


class Simulation(Options):
    """A cohort with known anatomy, made instead of read."""

    n: int | None = Field(None, ge=4, description="scans; null takes the scale's number")
    seed: int = Field(1, ge=0, description="same seed, same bytes")
    resolution_mm: float | None = Field(
        None, gt=0, le=8, description="voxel size of the scans; null takes the scale's"
    )


class Splits(Options):
    """Shares of the people, never of the scans: all scans of a person, and families, stay
    together."""

    train: float = Field(0.6, gt=0, description="share of the people, or how many: 0.6 or 31740")
    validation: float = Field(0.2, gt=0)
    test: float = Field(0.2, gt=0)
    seed: int = Field(0, ge=0, description="decides who comes first when people are shared out")

    @property
    def shares(self) -> dict[str, float]:
        """Share, or number, of the people in each split."""
        return self.model_dump(exclude={"seed"})

    @model_validator(mode="after")
    def _whole(self) -> Splits:
        shares = self.shares.values()
        if in_people(self.shares):
            if any(share != int(share) for share in shares):
                raise ValueError("numbers of people must be whole")
        elif abs(sum(shares) - 1.0) > 1e-6:
            raise ValueError(
                "train + validation + test must be 1, or each of them a number of people"
            )
        return self


class Labels(Options):
    """Label maps of a cohort's scans, for the realistic atlas score."""

    path: str = Field(description="folder; ${NAME} takes an environment variable")
    grouping: Literal["freesurfer_aseg", "neuromorphometrics", "simulated"] = Field(
        "freesurfer_aseg", description="whose numbers they have"
    )
    space: Literal["preprocessed", "scan"] = Field(
        "preprocessed", description="whether they lie on the preprocessed volumes or the raw scans"
    )
    file: str = Field(
        "**/{scan_id}_dseg.nii.gz",
        description="pattern of a map's path below the folder; {words} are columns of the manifest",
    )
    names: str | None = Field(
        None,
        description="table with a column `path` (of the raw scan) whose columns are the words "
        "instead, for maps that are named otherwise",
    )


class Cohort(Options):
    """A named set of scans, read through one layout."""

    layout: Layout = Field("bids", description="how the raw files lie on disk")
    root: str | None = Field(
        None, description="folder of the raw scans; ${NAME} takes an environment variable"
    )
    tables: str | None = Field(
        None, description="folder of the source's tables; null: they are searched below the root"
    )
    withdrawn: str | None = Field(
        None, description="file of people who withdrew their consent, one id a line"
    )
    options: dict[str, Any] = Field(
        {}, description="choices of the layout, e.g. {image: T1/T1_brain.nii.gz}; see docs/data.md"
    )
    simulate: Simulation | None = Field(None, description="make the cohort instead of reading one")
    splits: Splits = Field(Splits())
    labels: Labels | None = Field(
        None,
        description="label maps of the scans, e.g. FreeSurfer's; null: a made cohort's own",
    )

    @property
    def labelled(self) -> bool:
        """Whether there are label maps: given ones, or those that a made cohort brings along."""
        return self.labels is not None or self.simulate is not None

    @model_validator(mode="after")
    def _one_source(self) -> Cohort:
        if (self.root is None) == (self.simulate is None):
            raise ValueError("give either root (real scans) or simulate (made scans)")
        return self


class StudyRoles(Options):
    """Which cohort plays which role in a study."""

    cohort: str = Field("simulated", description="one of `cohorts`")
    template_scan: str | None = Field(
        None,
        description="scan id of the template; null takes the healthy training scan nearest to the "
        "training mean",
    )
    populations: dict[str, str | dict[str, Any] | None] = Field(
        {},
        description='more populations, or others under the study\'s names: {old: "age_years > 70", '
        "young: {field: age_years, lowest: 0.2}}",
    )
    segmenters: dict[str, dict[str, Any]] = Field(
        {},
        description="{recipe: {option: value}} over the networks of the realistic atlas score, "
        "e.g. {slice_vae_64: {epochs: 40}}",
    )


class Features(Options):
    """The network whose features the Fréchet distance compares."""

    extractor: Literal["efficientnet-lite0", "inception-fid"] = Field(
        "efficientnet-lite0",
        description="only inception-fid gives a number that may be called FID",
    )
    inception_weights: str | None = Field(
        None, description="your pt_inception-2015-12-05-6726825d.pth (its SHA-256 is checked)"
    )

    @model_validator(mode="after")
    def _weights_given(self) -> Features:
        if self.extractor == "inception-fid" and self.inception_weights is None:
            raise ValueError("inception-fid needs inception_weights")
        if self.extractor != "inception-fid" and self.inception_weights is not None:
            raise ValueError(
                f"inception_weights are given, but the extractor is {self.extractor}: "
                "set extractor to inception-fid, or leave inception_weights null"
            )
        return self


class Preprocessing(Options):
    """How preprocessing is cut into jobs."""

    engine: Literal["builtin", "fsl", "ants", "freesurfer", "spm"] = Field(
        "builtin", description="software that carries out the steps; `genmorph engines` lists it"
    )
    step_engines: dict[str, str] = Field(
        {},
        description="{step: engine} for steps that another engine carries out, e.g. "
        "{registration: builtin}; needs allow_mixed_engines",
    )
    shard_size: int | None = Field(
        None, ge=1, description="scans handled by one job; null takes the scale's number"
    )
    workers: int = Field(2, ge=1, description="processes of one preprocessing job")
    max_failure_fraction: float = Field(
        0.1, ge=0, le=1, description="the study stops when more scans than this share fail"
    )
    allow_mixed_engines: bool = Field(
        False, description="one cohort may be made by several engines, or versions of one"
    )
    recipes: dict[str, dict[str, dict[str, Any] | None]] = Field(
        {},
        description="{recipe: {step: {option: value}}} over a study's recipe; null drops the step",
    )

    @model_validator(mode="after")
    def _mixed_on_purpose(self) -> Preprocessing:
        others = {name for name in self.step_engines.values() if name != self.engine}
        if others and not self.allow_mixed_engines:
            raise ValueError(
                f"step_engines adds {', '.join(sorted(others))} to {self.engine}: set "
                "allow_mixed_engines to true if that is meant"
            )
        return self


class AtlasSource(Options):
    """What has to be known of an atlas beside its file."""

    name: str = Field(description="as it is to be printed beside every volume")
    licence: str
    labels: tuple[int, ...] | None = Field(
        None, description="numbers of deep gray matter in a label map; null for probabilities"
    )


class DeepGrayAtlas(AtlasSource):
    """Where deep gray matter lies: intensity alone gives about a third of it to white matter."""

    path: str = Field(description="NIfTI in MNI152 space; ${NAME} takes an environment variable")


class Tissues(Options):
    """How tissues are segmented for the measures that need them."""

    engine: Literal["builtin", "fsl", "spm"] = Field("builtin", description="of the segmentation")
    working_mm: float = Field(1.5, gt=0, description="voxel size of the nonlinear registration")
    deep_gray_atlas: DeepGrayAtlas | None = Field(
        None, description="without one, deep gray matter is n/a"
    )


class Compute(Options):
    """Hardware. Numbers promise the same bytes only for one CPU family and these values."""

    device: Literal["cpu", "cuda"] = Field("cpu", description="where models train and sample")
    devices: int = Field(1, ge=1, description="GPUs of one training job")
    gpu_model: str | None = Field(None, description="ask the scheduler for this model, e.g. h200")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true")
    threads: int = Field(1, ge=1, description="numerical threads of a process")
    training_threads: int = Field(1, ge=1, description="numerical threads of a training process")


class Config(Options):
    """Everything config.yaml may say."""

    scale: Scale = Field(
        "demo",
        description="smoke (minutes, for tests), demo (CPU, minutes), pilot (one GPU, under "
        "half an hour), paper (the papers' own numbers)",
    )
    results: str = Field("results", description="folder that everything is written to")
    seeds: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="one run of each model per seed, e.g. [0, 1, 2]; null takes the scale's",
    )
    cohorts: dict[str, Cohort] = Field(
        {
            "simulated": Cohort(simulate=Simulation()),
            "simulated_hcp": Cohort(layout="hcp", simulate=Simulation(seed=2)),
        }
    )
    studies: dict[str, StudyRoles] = Field(
        {"m3ae": StudyRoles(), "slice_vae": StudyRoles(cohort="simulated_hcp")},
        description="{study: roles}; null leaves a study out, e.g. studies={slice_vae: null}",
    )
    features: Features = Field(Features())
    preprocessing: Preprocessing = Field(Preprocessing())
    tissues: Tissues = Field(Tissues())
    compute: Compute = Field(Compute())
    overrides: dict[str, dict[str, dict[str, Any]]] = Field(
        {}, description="{study: {model: {key: value}}} over any value of a study's models"
    )

    @field_validator("studies", mode="before")
    @classmethod
    def _without_those_left_out(cls, studies: Any) -> Any:
        if not isinstance(studies, dict):
            return studies
        # Snakemake gives the values of --config as text
        left_out = (None, "null")
        return {name: roles for name, roles in studies.items() if roles not in left_out}

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if not re.fullmatch(FOLDER, self.results):
            raise ValueError(f"results '{self.results}': letters, digits and . _ - + / only")
        for name in self.cohorts:
            if not re.match(NAME, name):
                raise ValueError(f"cohort name '{name}': letters, digits and single _ only")
        for study, roles in self.studies.items():
            if roles.cohort not in self.cohorts:
                hint = did_you_mean(roles.cohort, self.cohorts)
                raise ValueError(f"studies.{study}.cohort: no cohort '{roles.cohort}'; {hint}")
        if len(set(self.seeds or ())) != len(self.seeds or ()):
            raise ValueError("seeds: each seed once")
        return self

    def cohort_root(self, cohort: str) -> Path:
        """Folder of a cohort's raw scans, environment variables expanded."""
        entry = self.cohorts[cohort]
        if entry.root is None:
            return Path(self.results) / "raw" / cohort
        return Path(expand_variables(entry.root, f"cohorts.{cohort}.root"))

    def cohort_path(self, cohort: str, key: str) -> Path | None:
        """A cohort's `tables` or `withdrawn`, environment variables expanded; None when not set."""
        value = getattr(self.cohorts[cohort], key)
        return value and Path(expand_variables(value, f"cohorts.{cohort}.{key}"))


class ScaleDefaults(Options):
    """What a scale decides where config.yaml says null."""

    simulated_scans: int
    simulated_resolution_mm: float
    shard_size: int
    seeds: tuple[int, ...]


SCALES: dict[str, ScaleDefaults] = {
    "smoke": ScaleDefaults(
        simulated_scans=10, simulated_resolution_mm=4.0, shard_size=6, seeds=(0,)
    ),
    "demo": ScaleDefaults(
        simulated_scans=32, simulated_resolution_mm=2.0, shard_size=32, seeds=(0,)
    ),
    "pilot": ScaleDefaults(
        simulated_scans=400, simulated_resolution_mm=1.5, shard_size=50, seeds=(0, 1, 2)
    ),
    "paper": ScaleDefaults(
        simulated_scans=8000, simulated_resolution_mm=1.0, shard_size=200, seeds=(0, 1, 2)
    ),
}


def expand_variables(text: str, where: str) -> str:
    """Replace `${NAME}` by the environment's value.

    Raises
    ------
    ConfigError
        When a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(
                f"{where}: environment variable {name} is not set",
                f"export {name}=... before the workflow starts",
            )
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, text)


def load_config(*files: Path | str, **values: Any) -> Config:
    """Read configuration files, later ones over earlier ones, then single values.

    Raises
    ------
    ConfigError
        When a file is absent, is not YAML, or a value is wrong.
    """
    merged: dict[str, Any] = {}
    for file in files:
        content = read_yaml(file) or {}
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: keys and values are expected at the top")
        merged = merge(merged, content)
    return validate(Config, merge(merged, values), "config")


def read_yaml(file: Path | str) -> Any:
    """What a YAML file holds; one that nests or unfolds without end is refused.

    Raises
    ------
    ConfigError
        When the file is absent, is not YAML, or holds more than a configuration does.
    """
    # every job reads a configuration: with the C library, where there is one, it takes a tenth
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = Path(file).read_text(encoding="utf-8")
        depth = 0
        for event in yaml.parse(text, loader):  # the C library follows brackets until it crashes
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:
                raise ConfigError(f"{file}: nested deeper than a configuration is")
        content = yaml.load(text, loader)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # the last three where a tag and its value do not fit
        raise ConfigError(f"{file}: not YAML ({error})") from None
    if _expanded_size(content) > MOST_VALUES:
        raise ConfigError(f"{file}: aliases unfold to more values than a configuration has")
    return content


def _expanded_size(value: Any, known: dict[int, float] | None = None) -> float:
    """How many values a YAML document holds once its aliases are unfolded; infinite for a ring."""
    if not isinstance(value, dict | list):
        return 1.0
    known = {} if known is None else known
    if id(value) not in known:
        known[id(value)] = float("inf")  # what is met again below itself never ends
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1.0 + sum(_expanded_size(entry, known) for entry in inside)
    return known[id(value)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, mappings joined key by key."""
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


def render_yaml(config: Config) -> str:
    """The text of config.yaml for these values, each key with its description."""
    lines = [
        "# yaml-language-server: $schema=docs/config.schema.json",
        "# GenMorph's configuration. Another file over this one: --configfile FILE.",
        "# Made by `genmorph config write`; a test holds it to the defaults in the code.",
        "",
    ]
    for name in type(config).model_fields:
        lines += _render(type(config), name, getattr(config, name), 0) + [""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _render(model: type[BaseModel], name: str, value: Any, depth: int) -> list[str]:
    indent = "  " * depth
    description = model.model_fields[name].description if name in model.model_fields else None
    head = [f"{indent}# {description}"] if description else []
    if isinstance(value, BaseModel):
        body = [
            line
            for key in type(value).model_fields
            for line in _render(type(value), key, getattr(value, key), depth + 1)
        ]
        return [*head, f"{indent}{name}:", *body]
    if isinstance(value, dict) and any(isinstance(entry, BaseModel) for entry in value.values()):
        body = [
            line
            for key, entry in value.items()
            for line in _render(BaseModel, key, entry, depth + 1)
        ]
        return [*head, f"{indent}{name}:", *body]
    plain = list(value) if isinstance(value, tuple) else value
    text = (
        yaml.safe_dump(plain, default_flow_style=True, width=1000)
        .strip()
        .removesuffix("...")
        .strip()
    )
    return [*head, f"{indent}{name}: {text}"]
