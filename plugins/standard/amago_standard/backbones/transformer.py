"""The default backbone: a Transformer made stable for reinforcement learning.

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = width,
H = heads, F = features per head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from amago_registry.contexts import AttentionContext, BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import Attention, State
from amago_standard.backbones.options import TransformerOptions
from amago_standard.layers.positions import sinusoidal_positions
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.sigma import SigmaLinear

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Block(nn.Module):
    """Pre-norm attention and feed-forward, with NormFormer's extra norms and head scaling.

    Source: NormFormer (Shleifer et al., 2021, arXiv:2110.09456) over sigma-reparametrised layers.

    Args:
        width: E.
        heads: H; divides the width.
        expansion: Width of the feed-forward block, in widths.
        dropout: Share dropped after feed-forward.
    """

    def __init__(self, width: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention_in = nn.LayerNorm(width)
        self.qkv = SigmaLinear(width, 3 * width)
        self.head_scale = nn.Parameter(torch.ones(heads, 1))
        self.out = SigmaLinear(width, width)
        self.norm_attention_out = nn.LayerNorm(width)
        self.norm_forward_in = nn.LayerNorm(width)
        self.up = SigmaLinear(width, expansion * width)
        self.norm_forward_hidden = nn.LayerNorm(expansion * width)
        self.down = SigmaLinear(expansion * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_NE: Tensor, attend: Attend) -> Tensor:
        """Return ``(N, E)``; ``attend`` maps queries, keys, values ``(N, H, F)`` to the same."""
        qkv_N3HF = self.qkv(self.norm_attention_in(x_NE)).unflatten(-1, (3, self.heads, -1))
        y_NHF = attend(*qkv_N3HF.unbind(1)) * self.head_scale
        x_NE = x_NE + self.norm_attention_out(self.out(y_NHF.flatten(1)))
        hidden = leaky_relu(self.up(self.norm_forward_in(x_NE)), inplace=True)
        hidden = self.norm_forward_hidden(hidden)
        return cast(Tensor, x_NE + self.dropout(self.down(hidden)))


class Transformer(nn.Module):
    """Causal Transformer over the packed stream; acting against a key/value cache.

    Choose it when the agent must recall single past timesteps exactly. Time per training timestep
    and per acting step grows with the context; acting state is 2 x layers x width numbers per
    remembered timestep.

    Args:
        context: Width in and context length; supplied by the composer.
        options: Sizes; see :class:`TransformerOptions`.
    """

    def __init__(self, context: BackboneContext, options: TransformerOptions) -> None:
        super().__init__()
        self.out_dim = options.width
        self.embed = nn.Linear(context.in_dim, options.width)
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(
            Block(options.width, options.heads, options.expansion, options.dropout)
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(options.width)
        self.attention: Attention = context.build(
            options.attention,
            AttentionContext(
                heads=options.heads,
                kv_heads=options.heads,
                head_dim=options.width // options.heads,
                capacity=context.context_length + 1,
                window=options.window,
            ),
        )

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, E)`` of a packed stream."""
        y_NE = self._embed(x_ND, layout.time_N)
        for block in self.blocks:
            y_NE = block(y_NE, lambda q, k, v: self.attention.packed(q, k, v, layout))
        return cast(Tensor, self.norm(y_NE))

    def initial_state(self, batch: int) -> State:
        """Return an empty cache per layer."""
        like = self.embed.weight.detach()
        return {str(layer): self.attention.cache(batch, like) for layer in range(len(self.blocks))}

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        y_BE = self._embed(x_BD, time_B)
        for layer, block in enumerate(self.blocks):
            cache = cast(State, state[str(layer)])
            # The cache is written in place, so the returned one is the one already held.
            y_BE = block(y_BE, lambda q, k, v, cache=cache: self.attention.step(q, k, v, cache)[0])
        return self.norm(y_BE), state

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state with the environments where ``mask_B`` is true emptied."""
        return {
            layer: self.attention.reset(cast(State, cache), mask_B) for layer, cache in state.items()
        }

    def _embed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        embedded_NE = at_least_single(self.embed(x_ND))  # What all blocks add to.
        position_NE = sinusoidal_positions(time_N, self.out_dim).to(embedded_NE.dtype)
        return cast(Tensor, self.dropout(embedded_NE + position_NE))
