"""xformers' memory-efficient attention; the only module that imports xformers.

Shape suffixes: N = timesteps, B = environments, H = query heads, K = key/value heads, G = query heads
of one key/value head, F = features per head, T = slots of a cache, M = rows of all caches.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module, metadata
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from amago_registry.contexts import AttentionContext
from amago_registry.errors import UnavailableError
from amago_registry.layout import SequenceLayout
from amago_registry.protocols import State
from amago_standard.backbones.attention_reference import CachedAttention
from amago_standard.backbones.attention_trial import Packed, disagreement, gap_of
from amago_standard.backbones.cache import RingCache
from amago_standard.backbones.options import AttentionOptions


def reasons_against_xformers() -> list[str]:
    """Return every reason why xformers cannot run on this machine; empty if it can."""
    reasons = []
    if not torch.cuda.is_available():
        build = "has no CUDA in it" if torch.version.cuda is None else "finds no CUDA device"
        reasons.append(f"the installed torch {torch.__version__} {build}")
    for package, why in (
        ("xformers", "it is the kernel itself"),
        ("nvidia-cuda-runtime-cu12", "xformers' operators load CUDA 12's runtime"),
    ):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            reasons.append(f"{package} is not installed ({why}): pip install {package}")
    return reasons or _refusals()


def _refusals() -> list[str]:
    try:
        import_module("xformers.ops")
    except (ImportError, OSError, RuntimeError) as error:
        return [f"importing xformers fails: {error}"]
    return []


def _reasons_against_sinks(context: AttentionContext) -> list[str]:
    return ["xformers has no kernel for attention sinks"] if context.sinks else []


def reasons_against(like_NHF: Tensor, context: AttentionContext) -> list[str]:
    """Return every reason why xformers cannot be used for such queries here; empty if it can."""
    reasons = _reasons_against_sinks(context) + reasons_against_xformers()
    if not reasons and not like_NHF.is_cuda:
        reasons.append("the agent is trained on the CPU: set running.device=cuda")
    if not reasons and (refused := refusal_of(like_NHF, context)):
        reasons.append(refused)
    return reasons


def refusal_of(like_NHF: Tensor, context: AttentionContext) -> str | None:
    """Check forward and backward; return xformers' error if no operator fits, or what is wrong."""
    return disagreement(_packed, like_NHF, context)


def _packed(context: AttentionContext) -> Packed:
    kernel = XformersAttention(context, AttentionOptions())

    def packed(q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        bias = block_causal_bias(layout, context.window)
        return _attend(q_NHF, kernel.expand(k_NKF), kernel.expand(v_NKF), bias)

    return packed


class FilledSlotsAttention(CachedAttention):
    """Acting step of the CUDA kernels, which reads only the filled part of the ring buffer.

    It needs xformers; without it, and on the CPU, torch's operators are used.
    """

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        self._slots: FilledSlots | None = None

    def step(self, q_BHF: Tensor, k_BKF: Tensor, v_BKF: Tensor, cache: State) -> tuple[Tensor, State]:
        """Append one timestep per environment; return ``(B, H, F)`` and the cache."""
        if q_BHF.is_cuda and (slots := self._filled_slots()).takes(q_BHF):
            return slots.attend(q_BHF, k_BKF, v_BKF, cache)
        return super().step(q_BHF, k_BKF, v_BKF, cache)

    def _filled_slots(self) -> FilledSlots:
        if self._slots is None:
            self._slots = FilledSlots(self._ring, self.context)
        return self._slots


class XformersAttention(FilledSlotsAttention):
    """Block-diagonal causal attention over the packed stream by xformers, in fp32 or bf16.

    Only training requires xformers. Acting uses :class:`FilledSlots` on CUDA where that works and
    torch's own operators elsewhere, so that an agent trained with it can be loaded on any machine.

    Args:
        context: Heads, window and capacity; supplied by the backbone.
        options: None yet.

    Raises:
        UnavailableError: If ``context`` asks for sinks; lists every reason.
    """

    def __init__(self, context: AttentionContext, options: AttentionOptions) -> None:
        super().__init__(context, options)
        if reasons := _reasons_against_sinks(context):
            _refuse(reasons + reasons_against_xformers())
        self._biases: WeakKeyDictionary[SequenceLayout, Any] = WeakKeyDictionary()
        self._tried: set[torch.dtype] = set()

    def packed(self, q_NHF: Tensor, k_NKF: Tensor, v_NKF: Tensor, layout: SequenceLayout) -> Tensor:
        """Return ``(N, H, F)``; every row attends to its own sequence up to itself.

        Raises:
            UnavailableError: If xformers cannot run here, or its results are wrong; lists every reason.
        """
        if q_NHF.dtype not in self._tried:
            if reasons := reasons_against(q_NHF, self.context):
                _refuse(reasons)
            self._tried.add(q_NHF.dtype)
        if layout not in self._biases:
            self._biases[layout] = block_causal_bias(layout, self.context.window)
        return _attend(q_NHF, self.expand(k_NKF), self.expand(v_NKF), self._biases[layout])


def _refuse(reasons: list[str]) -> None:
    listed = "".join(f"\n  - {reason}" for reason in reasons)
    raise UnavailableError(
        f"attention 'xformers' cannot run on this machine:{listed}\n"
        "Use 'auto' to let the machine decide, or 'sdpa', which runs everywhere."
    )


class FilledSlots:
    """Acting step on CUDA by xformers: a query reads only the filled slots of its ring buffer.

    To the kernel, the rings of all environments and heads are one stream ``(B K T, 1, F)`` of padded
    sequences, so that the cache is used without a copy. How many slots of each are filled is written on
    the device, into the mask, which is built once: no step waits for the device. Of the masks for
    padded keys, only the causal one has an operator for float32; its one query sees every filled slot.

    Args:
        ring: The cache.
        context: Heads, window and capacity, for the correctness check.
    """

    def __init__(self, ring: RingCache, context: AttentionContext) -> None:
        self._ring, self._context = ring, context
        self._trusted: dict[torch.dtype, bool] = {}
        # Only the last mask is cached: all layers of a Transformer ask for the same one in turn.
        self._masks: dict[tuple[int, torch.device], Any] = {}

    def takes(self, like_BHF: Tensor) -> bool:
        """Return whether xformers runs here and agrees with torch on a step; checked once per dtype."""
        if like_BHF.dtype not in self._trusted:
            fits = like_BHF.is_cuda and not reasons_against_xformers()
            self._trusted[like_BHF.dtype] = fits and step_refusal_of(like_BHF, self._context) is None
        return self._trusted[like_BHF.dtype]

    def attend(self, q_BHF: Tensor, k_BKF: Tensor, v_BKF: Tensor, cache: State) -> tuple[Tensor, State]:
        """Append one timestep per environment and attend to all that are remembered: ``(B, H, F)``."""
        key_BKTF, value_BKTF, seen_B = self._ring.append(k_BKF, v_BKF, cache)
        batch, kv_heads, slots, width = key_BKTF.shape
        mask = self._mask(batch, key_BKTF.device)
        filled_B1 = seen_B[:, None].clamp(max=slots)
        mask.k_seqinfo.seqlen.view(batch, kv_heads).copy_(filled_B1.expand(batch, kv_heads))
        q_1GF = q_BHF.reshape(batch * kv_heads, -1, width)
        key_MGF, value_MGF = (
            x.view(-1, 1, width).expand(-1, q_1GF.shape[1], -1) for x in (key_BKTF, value_BKTF)
        )
        return _attend(q_1GF, key_MGF, value_MGF, mask).reshape(q_BHF.shape), cache

    def _mask(self, batch: int, device: torch.device) -> Any:
        if (batch, device) not in self._masks:
            sequences = batch * self._ring.kv_heads
            self._masks = {(batch, device): padded_keys_bias(sequences, self._ring.slots, device)}
        return self._masks[batch, device]


def step_refusal_of(like_BHF: Tensor, context: AttentionContext) -> str | None:
    """Check a step of three environments at different lengths; return the error, or what is wrong."""
    small = replace(context, capacity=min(context.capacity, 130))
    ring = RingCache(small)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(like_BHF)

    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.autocast(like_BHF.device.type, enabled=False),
    ):
        q_BHF = draw(3, small.heads, small.head_dim)
        k_BKF, v_BKF = (draw(3, small.kv_heads, small.head_dim) for _ in range(2))
        cache = ring.new(3, like_BHF)
        for name in ("key", "value"):
            cache[name] = draw(3, ring.kv_heads, ring.slots, small.head_dim)
        cache["seen"] = torch.tensor([0, ring.slots // 2, 3 * ring.slots], device=like_BHF.device)
        exact = _doubled(cache)
        try:
            y_BHF, _ = FilledSlots(ring, small).attend(q_BHF, k_BKF, v_BKF, cache)
        except Exception as error:  # Compilers and drivers raise exceptions of any class.
            return str(error) or type(error).__name__
        wanted_BHF, _ = ring.attend(q_BHF.double(), k_BKF.double(), v_BKF.double(), exact)
    scale = wanted_BHF.abs().max().item()
    return gap_of("step", y_BHF, wanted_BHF, like_BHF.dtype, scale)


def _doubled(cache: State) -> State:
    tensors = {name: cast(Tensor, value) for name, value in cache.items()}
    return {name: x.double() if x.is_floating_point() else x.clone() for name, x in tensors.items()}


def _attend(q_NHF: Tensor, k_MHF: Tensor, v_MHF: Tensor, bias: Any) -> Tensor:
    from xformers.ops import memory_efficient_attention

    y_1NHF = memory_efficient_attention(q_NHF[None], k_MHF[None], v_MHF[None], attn_bias=bias)
    return cast(Tensor, y_1NHF[0])


def block_causal_bias(layout: SequenceLayout, window: int | None) -> Any:
    """Return xformers' block-diagonal causal mask for a layout, on the layout's device."""
    from xformers.ops.fmha.attn_bias import BlockDiagonalCausalMask

    bias = BlockDiagonalCausalMask.from_seqlens(list(layout.lengths), device=layout.offsets.device)
    return bias if window is None else bias.make_local_attention(window)


def padded_keys_bias(sequences: int, slots: int, device: torch.device) -> Any:
    """Return xformers' mask of one query per sequence over ``slots`` padded keys.

    At first every slot counts as filled. The number of filled slots is ``k_seqinfo.seqlen``, int32
    ``(sequences,)`` on the device; overwrite it before each step.
    """
    from xformers.ops.fmha.attn_bias import BlockDiagonalCausalWithOffsetPaddedKeysMask

    with torch.inference_mode(False):  # Else it could not be written to outside of that mode.
        return BlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
            q_seqlen=[1] * sequences,
            kv_padding=slots,
            kv_seqlen=[slots] * sequences,
            device=device,
        )
