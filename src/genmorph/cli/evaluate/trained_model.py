"""A trained model as the measured side of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genmorph.errors import StoreError

if TYPE_CHECKING:
    from genmorph.models.interface import GenerativeModel

SUMMARY = "training.json"


class TrainedModel:
    """A checkpoint with the summary of its training beside it.

    Parameters
    ----------
    checkpoint : Path
        model.safetensors.
    cohort : str
        Of the scans it is measured on, which are those it was trained on.

    Attributes
    ----------
    checkpoint, summary : Path
    header : dict
        What the checkpoint says of itself.
    description : Description
        Whose run it is.

    Raises
    ------
    StoreError
        When there is no summary.
    WeightsError
        When the file is no checkpoint.
    """

    def __init__(self, checkpoint: Path, cohort: str) -> None:
        from genmorph.files import read_json
        from genmorph.store import Description
        from genmorph.training.checkpoints import read_header

        self.header: dict[str, Any] = read_header(checkpoint)
        self.checkpoint, self.summary = checkpoint, checkpoint.with_name(SUMMARY)
        if not self.summary.is_file():
            raise StoreError(
                f"{checkpoint}: no {SUMMARY} beside it, which says whose run it is",
                "give the checkpoint where `genmorph train` wrote it",
            )
        run = read_json(self.summary)["run"]
        self.description = Description([], "a trained model", "", {**run, "cohort": cohort})

    def load(self, device: str) -> GenerativeModel:
        """The model, ready for use on a device.

        Raises
        ------
        GenmorphError
            When the device is not there, or the weights are damaged.
        """
        from genmorph.sampling import on_device
        from genmorph.training.checkpoints import load_model

        return on_device(load_model(self.checkpoint), device)
