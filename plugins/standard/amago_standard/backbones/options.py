"""Options of the backbones and attention kernels."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from amago_registry.options import Field, Options, Part


class TransformerOptions(Options):
    """Options of ``use: transformer``."""

    layers: int = Field(3, ge=1, description="Blocks; time and memory grow in proportion.")
    width: int = Field(256, ge=2, multiple_of=2, description="Features per timestep inside the model.")
    heads: int = Field(8, ge=1, description="Attention heads; must divide the width.")
    expansion: int = Field(4, ge=1, description="Width of the feed-forward block, in widths.")
    dropout: float = Field(
        0.05, ge=0, lt=1, description="Share dropped on the embedding and after feed-forward."
    )
    window: int | None = Field(
        None,
        ge=1,
        description="Most timesteps a query attends to in every layer; null for all of the context.",
    )
    attention: Part[Literal["attention"]] = Field(
        "auto",
        validate_default=True,
        description="Kernel: auto chooses for the device, a name must run or explains why not.",
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> TransformerOptions:
        if self.width % self.heads:
            raise PydanticCustomError(
                "value_error",
                "a transformer of width {width} cannot have {heads} heads: "
                "the width must be a multiple of the heads",
                {"width": self.width, "heads": self.heads},
            )
        return self


class GRUOptions(Options):
    """Options of ``use: gru``."""

    layers: int = Field(2, ge=1, description="Stacked recurrent layers; each is one pass over time.")
    width: int = Field(
        256, ge=1, description="Features of the state; all memory must fit in layers x width."
    )


class MLPBackboneOptions(Options):
    """Options of ``use: mlp``."""

    layers: int = Field(2, ge=1, description="Hidden layers.")
    width: int = Field(256, ge=1, description="Features per timestep.")


class AttentionOptions(Options):
    """Attention kernels have no options yet."""
