"""Causal Transformer made stable for reinforcement learning: the default backbone.

Shape suffixes: N = timesteps of a packed batch, B = environments, D = features in, E = width,
H = query heads, K = key/value heads, F = features per head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from amago_registry.contexts import AttentionContext, BackboneContext
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import Attention, State
from amago_standard.backbones.options import TransformerOptions
from amago_standard.layers.activations import ACTIVATIONS
from amago_standard.layers.norms import NORMS
from amago_standard.layers.positions import (
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
    turned,
)
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.recomputing import recomputed
from amago_standard.layers.sigma import SigmaLinear

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Turn = Callable[[Tensor], Tensor]


class Block(nn.Module):
    """Pre-norm attention and feed-forward; with NormFormer's extra norms and head scaling.

    Sources: NormFormer (Shleifer et al., 2021, arXiv:2110.09456) over sigma-reparametrised layers;
    grouped-query heads (Ainslie et al., 2023, arXiv:2305.13245).

    Args:
        options: Sizes, and which of the optional layers are used.
    """

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        width, heads, kv_heads = options.width, options.heads, options.kv_heads or options.heads
        self.heads, self.head_dim = (heads, kv_heads, kv_heads), width // heads
        hidden = options.expansion * width
        linear = SigmaLinear if options.reparametrize else _plain_linear
        norm = NORMS[options.norm]
        extra_norm = norm if options.normformer else nn.Identity
        self.norm_attention_in = norm(width)
        self.qkv = linear(width, sum(self.heads) * self.head_dim)
        self.head_scale = nn.Parameter(torch.ones(heads, 1)) if options.head_scale else None
        self.out = linear(width, width)
        self.norm_attention_out = extra_norm(width)
        self.norm_forward_in = norm(width)
        self.up = linear(width, hidden)
        self.activation = ACTIVATIONS[options.activation]
        self.norm_forward_hidden = extra_norm(hidden)
        self.down = linear(hidden, width)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, x_NE: Tensor, attend: Attend) -> Tensor:
        """Return ``(N, E)``.

        Args:
            x_NE: The residual stream so far.
            attend: Maps queries ``(N, H, F)`` and keys and values ``(N, K, F)`` to ``(N, H, F)``.
        """
        qkv = self.qkv(self.norm_attention_in(x_NE)).view(-1, sum(self.heads), self.head_dim)
        y_NHF = attend(*qkv.split(self.heads, dim=1))
        if self.head_scale is not None:
            y_NHF = y_NHF * self.head_scale
        x_NE = x_NE + self.norm_attention_out(self.out(y_NHF.flatten(1)))
        hidden = self.activation(self.up(self.norm_forward_in(x_NE)))
        y_NE = self.down(self.norm_forward_hidden(hidden))
        return cast(Tensor, x_NE + (self.dropout(y_NE) if self.training else y_NE))


class Transformer(nn.Module):
    """Causal Transformer over the packed stream; acting reads a key/value cache.

    Choose it when the agent must recall single past timesteps exactly. Time per training timestep
    and per acting step grows with the context, or with ``window``; memory for training grows in
    proportion to the timesteps. Acting state is 2 x layers x width x kv_heads / heads numbers per
    remembered timestep.

    Attention sinks: StreamingLLM (Xiao et al., 2023, arXiv:2309.17453).

    Args:
        context: Width in and context length; supplied by the composer.
        options: Sizes and variants; see :class:`TransformerOptions`.
    """

    def __init__(self, context: BackboneContext, options: TransformerOptions) -> None:
        super().__init__()
        self.out_dim = options.width
        self.checkpoint = options.checkpoint
        self.embed = nn.Linear(context.in_dim, options.width)
        self.positions = _added_positions(options, options.position_rows or context.context_length + 1)
        head_dim = options.width // options.heads
        self.rotary = RotaryPositions(head_dim) if options.positions == "rotary" else None
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.layers))
        self.norm = NORMS[options.norm](options.width)
        self.attention: Attention = context.build(
            options.attention,
            AttentionContext(
                heads=options.heads,
                kv_heads=options.kv_heads or options.heads,
                head_dim=head_dim,
                capacity=context.context_length + 1,
                window=options.window,
                sinks=options.sinks,
            ),
        )

    def forward(self, x_ND: Tensor, layout: SequenceLayout) -> Tensor:
        """Return state representations ``(N, E)`` of a packed stream."""
        y_NE = self._embed(x_ND, layout.time_N)
        turn = self._turn(layout.time_N, y_NE.dtype)

        def attend(q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor) -> Tensor:
            return self.attention.packed(turn(q_NHF), turn(k_NKF), v_NKF, layout)

        for block in self.blocks:
            y_NE = recomputed(block, y_NE, attend, when=self.checkpoint and self.training)
        return cast(Tensor, self.norm(y_NE))

    def initial_state(self, batch: int) -> State:
        """Return an empty cache per layer."""
        like = self.embed.weight.detach()
        return {str(layer): self.attention.cache(batch, like) for layer in range(len(self.blocks))}

    def step(self, x_BD: Tensor, time_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Take one timestep per environment; return ``(B, E)`` and the state."""
        y_BE = self._embed(x_BD, time_B)
        turn = self._turn(time_B, y_BE.dtype)
        for block, cache in zip(self.blocks, self._caches(state), strict=True):

            def attend(q_BHF: Tensor, k_BKF: Tensor, v_BKF: Tensor, cache: State = cache) -> Tensor:
                # The cache is written in place, so the returned one is the one already held.
                return self.attention.step(turn(q_BHF), turn(k_BKF), v_BKF, cache)[0]

            y_BE = block(y_BE, attend)
        return self.norm(y_BE), state

    def reset(self, state: State, mask_B: Tensor) -> State:
        """Return the state with the environments where ``mask_B`` is true emptied."""
        return {
            layer: self.attention.reset(cast(State, cache), mask_B) for layer, cache in state.items()
        }

    def _caches(self, state: State) -> list[State]:
        return [cast(State, state[str(layer)]) for layer in range(len(self.blocks))]

    def _embed(self, x_ND: Tensor, time_N: Tensor) -> Tensor:
        y_NE = at_least_single(self.embed(x_ND))  # The residual stream.
        if self.positions is not None:
            y_NE = y_NE + self.positions(time_N).to(y_NE.dtype)
        return cast(Tensor, self.dropout(y_NE) if self.training else y_NE)

    def _turn(self, time_N: Tensor, dtype: torch.dtype) -> Turn:
        """Return the rotation of queries and keys; the identity without rotary positions."""
        if self.rotary is None:
            return lambda x_NHF: x_NHF
        cos_N1F, sin_N1F = self.rotary(time_N, dtype)
        return lambda x_NHF: turned(x_NHF, cos_N1F, sin_N1F)


def _added_positions(options: TransformerOptions, rows: int) -> nn.Module | None:
    match options.positions:
        case "sinusoidal":
            return SinusoidalPositions(options.width)
        case "learned":
            return LearnedPositions(rows, options.width)
        case _:
            return None


def _plain_linear(in_dim: int, out_dim: int) -> nn.Linear:
    layer = nn.Linear(in_dim, out_dim)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer
