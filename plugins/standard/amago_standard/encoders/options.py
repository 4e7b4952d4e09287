"""Options of the encoders."""

from __future__ import annotations

from amago_registry.options import Field, Options, Widths


class MLPEncoderOptions(Options):
    """Options of ``use: mlp``."""

    hidden_dims: Widths = Field((512, 512), description="Width of each hidden layer; more is slower.")
    out_dim: int = Field(256, ge=1, description="Width of the vector the backbone reads.")
    normalize: bool = Field(
        True,
        description="Centre and scale inputs by running statistics; off suits inputs in [-1, 1].",
    )
