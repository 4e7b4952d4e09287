"""Options of the backbones and attention kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from amago_registry.errors import CatalogError
from amago_registry.options import Field, Options, Part, catalog_of


class TransformerOptions(Options):
    """Options of ``use: transformer``."""

    layers: int = Field(3, ge=1, description="Blocks; time and memory grow in proportion.")
    width: int = Field(256, ge=2, multiple_of=2, description="Features per timestep inside the model.")
    heads: int = Field(8, ge=1, description="Attention heads; must divide the width.")
    kv_heads: int | None = Field(
        None,
        ge=1,
        description="Key and value heads, each shared by as many query heads; must divide the heads. "
        "Fewer shrink the acting cache and the time to read it; null for as many as heads.",
    )
    expansion: int = Field(4, ge=1, description="Width of the feed-forward block, in widths.")
    activation: Literal["leaky-relu", "relu", "gelu", "silu"] = Field(
        "leaky-relu",
        description="Between the feed-forward layers: gelu and silu are smooth, slower, and keep one "
        "tensor more for training; relu can leave features dead.",
    )
    norm: Literal["layer", "rms"] = Field(
        "layer",
        description="Norm everywhere; rms leaves out the mean and the bias, and is slower on the CPU.",
    )
    normformer: bool = Field(
        True,
        description="Norms after attention and inside feed-forward as well; false saves their time, "
        "and gradients of early and late layers differ more.",
    )
    head_scale: bool = Field(
        True, description="A learned scale per head, so that training can turn a head down."
    )
    reparametrize: bool = Field(
        True,
        description="Sigma-reparametrization: the spectral norm of every layer in attention and "
        "feed-forward is a learned number; false saves a few percent per update, and attention may "
        "collapse in a long run.",
    )
    positions: Literal["sinusoidal", "learned", "rotary", "none"] = Field(
        "sinusoidal",
        description="Positional encoding: sinusoidal for any time, learned for times up to "
        "position_rows, rotary for relative distances, none for causality alone.",
    )
    position_rows: int | None = Field(
        None,
        ge=1,
        description="Rows of the table of learned positions, one per time; later times share the last "
        "row, so give the length of the longest trajectory. null for context_length + 1.",
    )
    dropout: float = Field(
        0.05, ge=0, lt=1, description="Dropout probability on the embedding and after feed-forward."
    )
    window: int | None = Field(
        None,
        ge=1,
        description="Most timesteps a query attends to in every layer; null for all of the context.",
    )
    sinks: int = Field(
        0,
        ge=0,
        le=1024,
        description="First timesteps that stay visible once the window, or acting beyond the context, "
        "has left them behind; 4 keep attention stable there, at one cache slot each.",
    )
    attention: Part[Literal["attention"]] = Field(
        "auto",
        validate_default=True,
        description="Kernel: auto chooses for the device, a name must run or explains why not.",
    )
    checkpoint: bool = Field(
        False,
        description="Gradient checkpointing: compute each block again in the backward pass, which "
        "takes the memory of one block and more time per update (16 % in one run at 10,000 timesteps).",
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> TransformerOptions:
        if problems := list(self._misfits()):
            raise PydanticCustomError("value_error", "{problems}", {"problems": "; ".join(problems)})
        return self

    def _misfits(self) -> Iterator[str]:
        if self.width % self.heads:
            yield (
                f"a transformer of width {self.width} cannot have {self.heads} heads: "
                "the width must be a multiple of the heads"
            )
        elif self.positions == "rotary" and self.width // self.heads % 2:
            yield (
                f"positions: rotary turns features in pairs, and {self.heads} heads of a width of "
                f"{self.width} have {self.width // self.heads} each: choose heads that leave an even "
                "number, or other positions"
            )
        if self.kv_heads is not None and self.heads % self.kv_heads:
            shares = [str(n) for n in range(1, self.heads + 1) if self.heads % n == 0]
            yield (
                f"{self.heads} heads cannot share {self.kv_heads} key and value heads: "
                f"kv_heads must be one of {', '.join(shares)}"
            )
        if self.position_rows is not None and self.positions != "learned":
            yield (
                f"position_rows is the size of a learned table, and positions is {self.positions}: "
                "write positions: learned, or leave position_rows out"
            )


class RecurrentOptions(Options):
    """Options of every stack of recurrent layers."""

    layers: int = Field(2, ge=1, description="Stacked recurrent layers; each is one pass over time.")
    width: int = Field(
        256, ge=1, description="Features of the state; all memory must fit in layers x width."
    )


class GRUOptions(RecurrentOptions):
    """Options of ``use: gru``."""


class LSTMOptions(RecurrentOptions):
    """Options of ``use: lstm``."""


class StackOptions(Options):
    """Options of every stack of residual blocks."""

    layers: int = Field(3, ge=1, description="Residual blocks; time and memory grow in proportion.")
    width: int = Field(256, ge=1, description="Features per timestep.")
    expansion: int = Field(
        2, ge=0, description="Width of a block's feed-forward layer, in widths; 0 leaves it out."
    )
    checkpoint: bool = Field(
        False,
        description="Gradient checkpointing: compute each block again in the backward pass, which "
        "takes the memory of one block and more time per update (16 % in one run at 10,000 timesteps).",
    )


class MinGRUOptions(StackOptions):
    """Options of ``use: mingru``."""


class MinLSTMOptions(StackOptions):
    """Options of ``use: minlstm``."""


class MambaOptions(StackOptions):
    """Options of ``use: mamba``."""

    expansion: int = Field(
        0,
        ge=0,
        description="Width of a feed-forward layer after each mixer, in widths; 0 leaves it out.",
    )
    heads: int = Field(
        8, ge=1, description="Memories that forget each at its own rate; must divide twice the width."
    )
    state_dim: int = Field(
        32,
        ge=1,
        description="Numbers remembered per feature; acting state and its cost grow in proportion.",
    )
    kernel: Literal["auto", "fused", "torch"] = Field(
        "auto",
        description="auto takes mamba-ssm's fused kernel where it runs and agrees with torch's "
        "operators; fused must run or explains why not.",
    )

    @model_validator(mode="after")
    def _heads_divide_the_inner_width(self) -> MambaOptions:
        if 2 * self.width % self.heads:
            raise PydanticCustomError(
                "value_error",
                "a mamba of width {width} cannot have {heads} heads: "
                "twice the width, {inner}, must be a multiple of the heads",
                {"width": self.width, "inner": 2 * self.width, "heads": self.heads},
            )
        return self


class GatedDeltaNetOptions(StackOptions):
    """Options of ``use: gated-deltanet``."""

    heads: int = Field(
        4, ge=1, description="Memories per layer; must divide the width. More are smaller and cheaper."
    )
    value_expansion: int = Field(
        1, ge=1, description="Width of what is stored, in widths; the state grows in proportion."
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> GatedDeltaNetOptions:
        if self.width % self.heads:
            raise PydanticCustomError(
                "value_error",
                "a gated-deltanet of width {width} cannot have {heads} heads: "
                "the width must be a multiple of the heads",
                {"width": self.width, "heads": self.heads},
            )
        return self


class LRUOptions(StackOptions):
    """Options of ``use: lru``."""

    expansion: int = Field(
        0,
        ge=0,
        description="Width of a feed-forward layer after each mixer, in widths; 0 leaves it out.",
    )
    state_dim: int = Field(
        128,
        ge=1,
        description="Complex numbers remembered per layer; each fades and turns at its own rate.",
    )


class FFMOptions(StackOptions):
    """Options of ``use: ffm``."""

    traces: int = Field(
        32, ge=1, description="Numbers remembered of a timestep; each fades at its own rate."
    )
    contexts: int = Field(
        4,
        ge=1,
        description="Speeds at which every trace turns; the state is 2 x traces x contexts numbers.",
    )


class MLPBackboneOptions(Options):
    """Options of ``use: mlp``."""

    layers: int = Field(2, ge=1, description="Hidden layers.")
    width: int = Field(256, ge=1, description="Features per timestep.")


def _one_layer_of_the_hybrids_width(written: Any, info: ValidationInfo) -> Any:
    """Return a block with defaults for what it leaves out: 1 layer and the hybrid's width."""
    block = {"use": written} if isinstance(written, str) else written
    if not isinstance(block, Mapping) or not isinstance(block.get("use"), str):
        return written
    try:
        entry = catalog_of(info.context).find("backbone", block["use"])
    except CatalogError:
        return written  # The part's own validation says what is wrong, and what is close.
    fields = entry.component.options.model_fields
    missing = {
        name: value
        for name, value in (("layers", 1), ("width", info.data.get("width")))
        if name in fields and fields[name].annotation is int and value is not None
    }
    return {**missing, **block}


def _not_empty(blocks: tuple[Part[Any], ...]) -> tuple[Part[Any], ...]:
    if blocks:
        return blocks
    # Not min_length, which would also count invalid blocks as missing.
    raise PydanticCustomError("no_block", "names no backbone; write at least one, such as [mingru]")


Block = Annotated[Part[Literal["backbone"]], BeforeValidator(_one_layer_of_the_hybrids_width)]
Blocks = Annotated[tuple[Block, ...], Field(strict=False), AfterValidator(_not_empty)]


class HybridOptions(Options):
    """Options of ``use: hybrid``."""

    width: int = Field(256, ge=1, description="Features that all blocks add to.")
    blocks: Blocks = Field(
        ({"use": "mamba"}, {"use": "transformer", "window": 128}),
        validate_default=True,
        description="Backbones, first to last. Where they do not say otherwise, each has one layer and "
        "the hybrid's width; a resolved spec says both, so change them there.",
    )


class AttentionOptions(Options):
    """Attention kernels have no options yet."""
