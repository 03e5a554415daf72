"""Options of every model, importable without torch.

Defaults are what a paper states. Where it is silent or contradicts itself, the option is named
after what it does, and its class says where the text leaves room.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from genmorph.validation import Options

BETA_OF_PRESET = {"supplement": 6.0, "text": 3.0}

ThreeWeights = tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]
FourWeights = tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]
FourChannels = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class ModelOptions(Options):
    """Options of any model."""

    @property
    def starts_from_mean(self) -> bool:
        """Whether the model is built from the mean image of its training scans."""
        return False


class AutoencoderOptions(ModelOptions):
    """What P1's two variational autoencoders share: the encoder, its blocks, the KL term."""

    latent_size: int = Field(512, ge=2, multiple_of=2, description="dimensions of z")
    channels: FourChannels = Field(
        (16, 32, 64, 128), description="hidden channels from fine to coarse"
    )
    block_convolutions: PositiveInt = Field(2, description="3x3x3 convolutions in a block")
    normalisation: Literal["instance", "none"] = Field(
        "instance", description="after each convolution of a block"
    )
    negative_slope: float = Field(0.2, ge=0, description="of the leaky rectifier in a block")
    downscaling: Literal["before_convolutions", "after_convolutions"] = Field(
        "before_convolutions", description="where an encoder block halves the grid"
    )
    initial_log_variance: float | None = Field(
        None, description="of the posterior before training; null leaves the layer's first weights"
    )
    beta: float = Field(6.0, ge=0, description="weight of KL after warm-up (equation 2)")
    beta_warmup_epochs: float = Field(
        10.0, ge=0, description="epochs over which beta rises from 0; fewer in a short run"
    )
    beta_warmup_fraction: float = Field(
        1 / 3, ge=0, le=1, description="warm-up is never longer than this share of all epochs"
    )
    beta_warmup_unit: Literal["epoch", "step"] = Field(
        "epoch", description="beta rises at the start of each epoch, or with each step"
    )
    pixel_loss: Literal["l1", "mse"] = Field(
        "l1",
        description="distance of volumes in the loss (equations 2 and 3: l1, whose best single "
        "image is a median; that of squared differences is the mean)",
    )
    reduction: Literal["sum", "mean"] = Field(
        "sum", description="over voxels, in every term but KL, which is a sum over dimensions"
    )

    def beta_at(self, epoch: float, epochs: float) -> float:
        """Weight of KL at a moment of training (supplement, section B).

        Parameters
        ----------
        epoch : float
            Epochs done, fractions included.
        epochs : float
            Epochs of the whole run.

        Returns
        -------
        float
            Rises linearly from 0 to `beta` over the shorter of `beta_warmup_epochs` and
            `beta_warmup_fraction * epochs`.
        """
        warmup = min(self.beta_warmup_epochs, self.beta_warmup_fraction * epochs)
        done = math.floor(epoch) if self.beta_warmup_unit == "epoch" else epoch
        return self.beta if done >= warmup else self.beta * done / warmup


class M3AEOptions(AutoencoderOptions):
    """The multiscale metamorphic autoencoder (P1).

    Notes
    -----
    What the paper leaves open, and what is done here:

    - Reshaping half of z, 256 numbers, "to a shape of [128,5,6,5]" is impossible: each decoder
      has a fully connected layer of 256 -> 19200 in front.
    - The block (figure 6) is not described in words beyond its scaling: `block_convolutions`,
      `normalisation`, `negative_slope`. The scaling stands first in both kinds of block, as the
      down-scaling block is said to differ by nothing else; `downscaling` moves it.
    - β is 3 in section 3 and 6, warmed up, in the supplement: `preset`.
    - φ in equation 3: the displacement (deformation minus identity) in voxels of its own level,
      as a norm of the deformation itself would punish the identity; `penalised_field`.
    - Fields and intensities of a coarse level: up-sampled and applied on the full grid, as the
      template would lose its detail otherwise; `transform_resolution`.
    - Norms in the losses: sums over voxels, KL a sum over latent dimensions, all of them means
      over the batch; `reduction`. The weights γ assume sums over 80x96x80 voxels and are not
      rescaled on another grid: on a coarser grid the KL term weighs more against them.
    - First weights: torch's own, and what `initial_log_variance` says. A narrow first posterior
      and `encoder_input: difference_from_template` let a very short run learn from its latents;
      both are off unless asked for.
    - Number of squarings, and how β rises within the warm-up: `integration_steps`,
      `beta_warmup_unit`.
    """

    latent_size: int = Field(
        512, ge=2, multiple_of=2, description="dimensions of z; each decoder is given one half"
    )
    template: Literal["scan", "training_mean"] = Field(
        "scan",
        description="what is transformed: one training scan (P1), or the mean of all, which is "
        "nearer to people whom no training scan is like",
    )
    encoder_input: Literal["volume", "difference_from_template"] = Field(
        "volume", description="what the encoder sees; the difference lacks what all scans share"
    )
    integration_steps: int = Field(
        7, ge=0, le=20, description="squarings that turn a velocity into a deformation"
    )
    transform_resolution: Literal["full_resolution", "native_resolution"] = Field(
        "full_resolution",
        description="grid on which a level transforms the volume: the whole, or its own",
    )
    preset: Literal["supplement", "text"] = Field(
        "supplement", description="part of the paper that beta is taken from when not given"
    )
    penalised_field: Literal["displacement", "velocity"] = Field(
        "displacement", description="field in the three penalties, in voxels of its own level"
    )
    intermediate_weights: ThreeWeights = Field(
        (0.25, 0.25, 0.5), description="γ1: distance of the volume after levels 1-3 from the scan"
    )
    intensity_weights: FourWeights = Field(
        (0.6, 1.2, 1.2, 2.4), description="γ2: squared intensity terms of levels 1-4"
    )
    smoothness_weights: ThreeWeights = Field(
        (0.6, 1.2, 1.2), description="γ3: squared gradient of the fields of levels 1-3"
    )
    divergence_weights: ThreeWeights = Field(
        (0.6, 1.2, 1.2), description="γ4: squared divergence of the fields of levels 1-3"
    )
    magnitude_weights: ThreeWeights = Field(
        (0.6, 1.2, 1.2), description="γ5: squared length of the fields of levels 1-3"
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the template is the mean image of the training scans."""
        return self.template == "training_mean"

    @model_validator(mode="before")
    @classmethod
    def _beta_of_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and "beta" not in values:
            preset = values.get("preset")
            if isinstance(preset, str) and preset in BETA_OF_PRESET:
                return {**values, "beta": BETA_OF_PRESET[preset]}
        return values


class BetaVAEOptions(AutoencoderOptions):
    """The β variational autoencoder (P1's baseline).

    Notes
    -----
    The paper gives β = 3 and no more. Encoder, channels and latent size are taken from M3AE; the
    warm-up of β, described for M3AE alone, is off. A short run may start from the training mean
    (`output`, `encoder_input`); neither is the paper's.
    """

    beta: float = Field(3.0, ge=0, description="weight of KL (section 3)")
    beta_warmup_epochs: float = Field(0.0, ge=0, description="epochs over which beta rises from 0")
    encoder_input: Literal["volume", "difference_from_mean"] = Field(
        "volume", description="what the encoder sees; the difference lacks what all scans share"
    )
    output: Literal["volume", "sigmoid", "difference_from_mean"] = Field(
        "volume",
        description="what the decoder puts out: intensities, intensities through a sigmoid, or "
        "what is added to the training mean",
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the mean image of the training scans is used."""
        return "difference_from_mean" in (self.encoder_input, self.output)


class AlphaWGANOptions(ModelOptions):
    """The auto-encoding Wasserstein GAN of Kwon et al. (2019; P1's baseline).

    Notes
    -----
    P1 trained the authors' released code. From it: layers, widths, 1000 latent numbers, weight 10
    of L1 and of the gradient penalties, one step of each part in turn, Adam with rate 0.0002,
    batches of 4, batch normalisation even within the critics. Not taken over: the optimiser of
    encoder and generator steps twice in each turn there, which no text mentions; random flips
    (`mirror_probability`, an option of training) and intensity factors of its data loader, which
    P1 does not mention.

    The released network is for 64x64x64 voxels; on another grid its last convolution covers what
    four halvings leave, 5x6x5 at P1's size.
    """

    latent_size: int = Field(1000, ge=1, description="numbers of a code")
    channels: FourChannels = Field(
        (64, 128, 256, 512), description="hidden channels from fine to coarse"
    )
    code_channels: PositiveInt = Field(4096, description="hidden channels of the code critic")
    normalisation: Literal["batch", "instance", "none"] = Field(
        "batch", description="in encoder and generator"
    )
    critic_normalisation: Literal["batch", "instance", "none"] = Field(
        "batch",
        description="in the critic; batch is the released code's, though a gradient penalty is "
        "meant for one volume alone",
    )
    code_normalisation: Literal["batch", "none"] = Field("batch", description="in the code critic")
    negative_slope: float = Field(0.2, ge=0, description="of the leaky rectifiers")
    reconstruction_weight: float = Field(
        10.0, ge=0, description="of the mean distance of reconstructions"
    )
    pixel_loss: Literal["l1", "mse"] = Field("l1", description="distance of reconstructions")
    adversarial_weight: float = Field(
        1.0, ge=0, description="of what the critics say in the loss of encoder and generator"
    )
    gradient_penalty_weight: float = Field(10.0, ge=0, description="in the loss of each critic")
    encoder_input: Literal["volume", "difference_from_mean"] = Field(
        "volume", description="what the encoder sees; the difference lacks what all scans share"
    )
    generator_start: Literal["grey", "training_mean"] = Field(
        "grey",
        description="what a generator of weight zero puts out; the training mean, which no paper "
        "starts from, lets a very short run show brains",
    )

    @property
    def starts_from_mean(self) -> bool:
        """Whether the mean image of the training scans is used."""
        return self.encoder_input == "difference_from_mean" or self.generator_start != "grey"
