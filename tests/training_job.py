"""A small training job on the command line: its files, its command, and what it ends with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from genmorph.cohorts.manifest import Scan, write_manifest
from genmorph.files import write_tsv
from genmorph.models.options.m3ae import M3AEOptions
from genmorph.processes import shell_prefix
from genmorph.store import Description, write_store
from genmorph.training.options import TrainingOptions
from support import PROJECT

SHAPE = (17, 5, 4)
PEOPLE = 10
TRAINED_ON = 8


class TrainingJob:
    """`genmorph train` on noise, in a folder of its own.

    Parameters
    ----------
    folder : Path
    epochs : int
        Of four steps each.
    devices : int
        Processes that share a step.
    save_every : int, optional
        Steps between states that nobody asked for.
    """

    def __init__(
        self, folder: Path, epochs: int, devices: int = 1, save_every: int | None = None
    ) -> None:
        self.folder = folder
        self.weights = folder / "checkpoint" / "model.safetensors"
        self.metrics = self.weights.with_name("metrics.csv")
        self.steps = 4 * epochs
        rng = np.random.default_rng(0)
        names = [f"sub-{number:02d}" for number in range(PEOPLE)]
        scans = ((name, rng.random(SHAPE)) for name in names)
        description = Description(np.eye(4).tolist(), "noise", "", {})
        write_store(folder / "store", scans, shape=SHAPE, dtype="uint8", description=description)
        write_manifest(
            folder / "manifest.tsv",
            [Scan(name, name, None, f"{name}.nii.gz", 1, True, visit=1, shard=0) for name in names],
        )
        write_tsv(
            folder / "participants.tsv",
            ("participant_id", "split"),
            [
                {"participant_id": name, "split": "train" if row < TRAINED_ON else "validation"}
                for row, name in enumerate(names)
            ],
        )
        values = {
            "study": "m3ae",
            "model": "m3ae",
            "architecture": "m3ae",
            "population": {},
            "template_scan": names[0],
            "precision": "32-true",
            "device": "cpu",
            "devices": devices,
            "numerical_threads": 1,
            "options": M3AEOptions(
                channels=(2, 2, 3, 3), latent_size=4, integration_steps=3
            ).model_dump(mode="json"),
            "training": TrainingOptions(
                epochs=epochs,
                batch_size=2,
                tensorboard=False,
                checkpoint_every_epochs=10 * epochs,  # beyond the end
                checkpoint_every_steps=save_every,
                validation_every_epochs=10 * epochs,
            ).model_dump(mode="json"),
        }
        (folder / "parameters.json").write_text(json.dumps(values))

    @property
    def command(self) -> list[str]:
        """The command line."""
        return [
            sys.executable, "-m", "genmorph", "train",
            "--index", str(self.folder / "store" / "index.tsv"),
            "--manifest", str(self.folder / "manifest.tsv"),
            "--participants", str(self.folder / "participants.tsv"),
            "--parameters", f"@{self.folder / 'parameters.json'}",
            "--seed", "3",
            "--state", str(self.folder / "state"),
            "--out", str(self.weights),
        ]  # fmt: skip

    @property
    def shell(self) -> str:
        """The command line as the shell of a workflow's job runs it."""
        return f"{shell_prefix(PROJECT / 'src')} {' '.join(['genmorph', *self.command[3:]])}"

    @property
    def saved_steps(self) -> list[int]:
        """Steps of the states that could be gone on from."""
        states = (self.folder / "state").glob("*/step-*")
        return sorted(int(state.name.removeprefix("step-")) for state in states)

    @property
    def has_begun(self) -> bool:
        """Whether an epoch is over."""
        return any((self.folder / "state").glob("*/metrics.csv"))

    def outcome(self) -> tuple[bytes, bytes]:
        """What it published: weights with their header, and the losses of each epoch."""
        return self.weights.read_bytes(), self.metrics.read_bytes()
