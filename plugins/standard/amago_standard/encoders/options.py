"""Options of the encoders."""

from __future__ import annotations

from typing import Annotated, Literal

from amago_registry.options import Field, Options, Part, Widths

Keys = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
"""Names of observations, which a spec writes as a list."""


class HidingOptions(Options):
    """Options that hide the previous action or reward; for ablations, or to act without a reward."""

    hide_reward: bool = Field(
        False,
        description="Leave out the previous reward; the agent then adapts to what it observes alone.",
    )
    hide_action: bool = Field(
        False,
        description="Leave out the previous action; "
        "the agent then sees what happened and not what it did.",
    )


class MLPEncoderOptions(HidingOptions):
    """Options of ``use: mlp``."""

    hidden_dims: Widths = Field((512, 512), description="Width of each hidden layer; more is slower.")
    out_dim: int = Field(256, ge=1, description="Width of the vector the backbone reads.")
    normalize: bool = Field(
        True,
        description="Centre and scale inputs by running statistics; off suits inputs in [-1, 1].",
    )


class ImageEncoderOptions(HidingOptions):
    """Options common to the image encoders."""

    image_dim: int = Field(256, ge=1, description="Features that are kept of each image.")
    vector_dim: int = Field(
        128, ge=1, description="Features of non-image observations, the previous action and the reward."
    )
    hidden_dims: Widths = Field(
        (256,), description="Width of each layer that fuses images and vectors; [] for none."
    )
    out_dim: int = Field(256, ge=1, description="Width of the vector the backbone reads.")
    normalize: bool = Field(
        True,
        description="Normalize non-image observations by running mean and variance; off suits [-1, 1].",
    )
    image_axes: Literal["auto", "channels-first", "channels-last"] = Field(
        "auto",
        description="Order of an image's axes; auto takes the one end of at most 4 for channels.",
    )
    pixel_max: int = Field(
        255,
        ge=1,
        le=255,
        description="The byte that becomes 1, where 0 becomes -1; "
        "small for symbolic grids: 10 spreads MiniGrid's codes over the range.",
    )
    shift: int = Field(
        0,
        ge=0,
        description="Most pixels by which each training image is moved, timestep by timestep: "
        "against overfitting; exact places can then no longer be compared over time.",
    )
    chunk: int | None = Field(
        None,
        ge=1,
        description="Images per pass through the convolutions; less takes less memory while acting. "
        "null: 128 on the CPU, 2048 on a GPU.",
    )


class NatureCNNOptions(ImageEncoderOptions):
    """Options of ``use: nature-cnn``."""


class ImpalaCNNOptions(ImageEncoderOptions):
    """Options of ``use: impala-cnn``."""

    channels: Widths = Field(
        (16, 32, 32),
        min_length=1,
        description="Filters of each stage; a stage halves the image, the first is the slowest.",
    )


class GridCNNOptions(ImageEncoderOptions):
    """Options of ``use: grid-cnn``."""

    channels: Widths = Field(
        (16, 32),
        min_length=1,
        description="Filters of each 3 x 3 convolution; one more lets a cell see one cell further.",
    )


class GoalEncoderOptions(Options):
    """Options common to the goal encoders."""

    goal_keys: Keys = Field(
        ("goals",), description="Observations that are goals; the inner encoder reads all others."
    )
    inner: Part[Literal["encoder"]] = Field(
        "mlp",
        validate_default=True,
        description="Encoder of the rest: other observations, previous action and reward.",
    )
    goal_dim: int = Field(64, ge=1, description="Features made of each goal key.")
    out_dim: int = Field(256, ge=1, description="Width of the vector the backbone reads.")


class GoalMLPOptions(GoalEncoderOptions):
    """Options of ``use: goal-mlp``."""

    hidden_dims: Widths = Field((128,), description="Width of each hidden layer that reads the goals.")
    normalize: bool = Field(
        True,
        description="Centre and scale goals by running statistics; off suits goals in [-1, 1].",
    )


class GoalRNNOptions(GoalEncoderOptions):
    """Options of ``use: goal-rnn``."""

    token_dim: int = Field(16, ge=1, description="Features learned for each value of each coordinate.")
