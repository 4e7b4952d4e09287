"""The gated delta rule over the packed stream: matrix products over chunks instead of steps over time.

Source: "Parallelizing Linear Transformers with the Delta Rule over Sequence Length" (Yang et al., 2024,
arXiv:2406.06484), with the decay of "Gated Delta Networks" (Yang, Kautz and Hatamizadeh, 2024,
arXiv:2412.06464).

Shape suffixes: N = timesteps of a packed batch, B = environments, H = heads, K = features of a key,
V = features of a value, C = chunks, T = timesteps per chunk, S = timesteps of the same chunk.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from amago_registry.layout import SequenceLayout
from amago_standard.layers.precision import at_least_single

CPU_CHUNK, GPU_CHUNK = 32, 64
"""T: on the CPU 64 takes a tenth longer; a GPU has fewer small steps to take one after the other."""


@torch.compiler.disable  # type: ignore[untyped-decorator]  # Its loop would be unrolled.
def delta_rule(
    q_NHK: Tensor,
    k_NHK: Tensor,
    v_NHV: Tensor,
    write_NH: Tensor,
    log_decay_NH: Tensor,
    layout: SequenceLayout,
    chunk: int | None = None,
) -> Tensor:
    """Gated delta rule: return ``memory_n^T q_n``, ``(N, H, V)``.

    ``memory_n = decay_n (I - write_n k_n k_n^T) memory_(n-1) + write_n k_n v_n^T``, a matrix ``(K, V)``
    per head that is zero before each sequence. The stream is cut into chunks wherever its sequences
    begin; only the end of the stream is filled up. Inside a chunk every timestep's correction
    depends on those before it, a triangular system that is solved for all chunks at once (the WY form);
    then one small product per chunk, one chunk after the other, carries the memory on. Time and memory
    grow in proportion to N; nothing is kept per timestep that is as large as the memory itself.

    Decays are differences of sums of logarithms inside one chunk, taken in double precision, so that
    strong decays do not blur weak ones after them. Everything else is computed in single precision or
    better, also under autocast.

    Args:
        q_NHK: Queries.
        k_NHK: Keys, of length at most 1.
        v_NHV: Values.
        write_NH: How much of the old value is replaced, in [0, 1].
        log_decay_NH: Logarithm of how much of the memory is kept from the timestep before, at most 0.
        layout: Where sequences begin.
        chunk: T; the result does not depend on it. By default what suits the device.
    """
    if chunk is None:
        chunk = CPU_CHUNK if q_NHK.device.type == "cpu" else GPU_CHUNK
    with torch.autocast(q_NHK.device.type, enabled=False):
        rows = (q_NHK, k_NHK, v_NHV, write_NH[..., None], log_decay_NH[..., None])
        q, k, v, write, log_decay = (_chunked(x, chunk) for x in rows)  # (C, H, T, ...)
        segment_CT = _segments(layout, chunk)
        total_CHT1 = log_decay.cumsum(2, dtype=torch.float64)
        decay_CHTS = _decays(total_CHT1, segment_CT, v.dtype)
        # The decay of the memory before the chunk; zero once another sequence has begun. (The roll's
        # wrap-around into the first chunk does not matter: the memory before it is zero.)
        continues_CT = segment_CT == segment_CT[:, -1].roll(1)[:, None]
        left_CHT1 = total_CHT1.to(v.dtype).exp() * continues_CT[:, None, :, None]

        # written = direct - past memory_before: values minus what is already stored under their keys.
        k_t = k.transpose(2, 3)
        system_CHTS = ((k * write) @ k_t) * decay_CHTS  # Read below the diagonal alone.
        sides = torch.cat([v * write, k * (write * left_CHT1)], dim=-1)
        solved = torch.linalg.solve_triangular(system_CHTS, sides, upper=False, unitriangular=True)
        direct_CHTV, past_CHTK = solved.split([v.shape[-1], k.shape[-1]], dim=-1)

        to_end_CHKT = k_t * decay_CHTS[:, :, -1:]
        carried = _carried(to_end_CHKT @ direct_CHTV, to_end_CHKT @ past_CHTK, left_CHT1[:, :, -1:])
        written_CHTV = direct_CHTV - past_CHTK @ carried
        out_CHTV = ((q @ k_t) * decay_CHTS) @ written_CHTV + (q * left_CHT1) @ carried
        return cast(Tensor, out_CHTV.transpose(1, 2).flatten(0, 1)[: layout.timesteps])


def delta_step(
    q_BHK: Tensor, k_BHK: Tensor, v_BHV: Tensor, write_BH: Tensor, log_decay_BH: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """Take one timestep of :func:`delta_rule` per environment; the memory is written in place.

    Returns:
        The outputs ``(B, H, V)``, and the memory ``(B, H, K, V)``.
    """
    with torch.autocast(q_BHK.device.type, enabled=False):
        q_BHK, k_BHK, v_BHV = at_least_single(q_BHK), at_least_single(k_BHK), at_least_single(v_BHV)
        write_BH1, decay_BH1 = write_BH[..., None], log_decay_BH[..., None].exp()
        # Both are read from the old memory, which is large, in one go.
        memory.mul_(decay_BH1[..., None])
        known, asked = (torch.stack([k_BHK, q_BHK], 2) @ memory).unbind(2)
        written_BHV = write_BH1 * (v_BHV - known)
        memory.addcmul_(k_BHK[..., None], written_BHV[..., None, :])
        return asked + (q_BHK * k_BHK).sum(-1, keepdim=True) * written_BHV, memory


def _chunked(x_NHF: Tensor, chunk: int) -> Tensor:
    """Return ``(C, H, T, F)``, with zeros after the end of the stream."""
    x_NHF = at_least_single(x_NHF)
    filled = pad(x_NHF, (0, 0, 0, 0, 0, -len(x_NHF) % chunk))
    return filled.view(-1, chunk, *x_NHF.shape[1:]).transpose(1, 2).contiguous()


def _segments(layout: SequenceLayout, chunk: int) -> Tensor:
    """Return the sequence of every row ``(C, T)``; -1 after the end of the stream."""
    missing = -layout.timesteps % chunk
    return pad(layout.sequence_N, (0, missing), value=-1).view(-1, chunk)


def _decays(total_CHT1: Tensor, segment_CT: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is left at T of what was written at S ``(C, H, T, S)``; 0 for another sequence."""
    chunk = segment_CT.shape[1]
    seen_CTS = segment_CT[:, :, None] == segment_CT[:, None, :]
    seen_CTS &= torch.ones(chunk, chunk, dtype=torch.bool, device=segment_CT.device).tril()
    difference_CHTS = (total_CHT1 - total_CHT1.transpose(2, 3)).to(dtype)
    # Masked before exp, for the differences to later timesteps may overflow.
    return difference_CHTS.masked_fill(~seen_CTS[:, None], -torch.inf).exp()


def _carried(direct_CHKV: Tensor, past_CHKK: Tensor, left_CH11: Tensor) -> Tensor:
    """Return the memory before every chunk: ``(left - past) memory + direct`` follows ``memory``."""
    identity_KK = torch.eye(past_CHKK.shape[-1], dtype=past_CHKK.dtype, device=past_CHKK.device)
    through_CHKK = left_CH11 * identity_KK - past_CHKK
    memory_HKV = torch.zeros_like(direct_CHKV[0])
    memories = [memory_HKV]
    for direct_HKV, through_HKK in zip(direct_CHKV[:-1], through_CHKK[:-1], strict=True):
        memory_HKV = torch.baddbmm(direct_HKV, through_HKK, memory_HKV)
        memories.append(memory_HKV)
    return torch.stack(memories)
