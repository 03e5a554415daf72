"""Options of the slice segmenter."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt

from genmorph.validation import Options


class SliceSegmenterOptions(Options):
    """The 2D U-Net that labels coronal slices for the realistic atlas score (P2, section 4.2).

    Notes
    -----
    P2 states the slices' direction, 15 labels, 40 training volumes, Adam with 1e-3, batches of 16
    and the soft Dice loss. Depth, widths, normalisation and the number of epochs are not stated:
    here two convolutions a level, each with batch normalisation and ReLU (Ronneberger et al. 2015,
    with the normalisation that is usual now), and the epoch with the best Dice on volumes that are
    not trained on.
    """

    n_labels: int = Field(15, ge=2, description="background included")
    channels: tuple[PositiveInt, ...] = Field(
        (32, 64, 128, 256), min_length=2, description="of each level, from fine to coarse"
    )
    learning_rate: PositiveFloat = Field(1e-3, description="of Adam")
    learning_rate_falls: bool = Field(
        False,
        description="to 0 along half a cosine over the training, which a short one gains by; the "
        "paper has one rate",
    )
    batch_size: PositiveInt = Field(16, description="slices in a step")
    epochs: PositiveInt = 20
    dice_smoothing: PositiveFloat = Field(
        1.0, description="pixels added to both sides of the Dice ratio of a label in a batch"
    )
    cross_entropy_weight: float = Field(
        0.0,
        ge=0,
        description="of cross entropy beside soft Dice. The paper has none; in a short training on "
        "few people it helps with small structures, which soft Dice alone may lose for good",
    )
    cross_entropy_balance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="labels count in cross entropy by their number of voxels to minus this power: "
        "0 every voxel alike, 1 every label alike. A short training finds small structures by it",
    )
    volumes_at_once: PositiveInt = Field(
        40, description="volumes held in memory, whose slices are shuffled together"
    )
