"""Linear attention whose memory decays, as products of matrices over chunks of the packed stream.

Shape suffixes: N = timesteps of a packed batch, H = heads, G = groups of heads that share keys and
queries, S = features of a key, P = features of a value, C = chunks, T = timesteps per chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from amago_registry.layout import SequenceLayout
from amago_standard.layers.precision import at_least_single
from amago_standard.layers.scan import scan_from


def decayed_attention(
    q_NGS: Tensor,
    k_NGS: Tensor,
    v_NHP: Tensor,
    log_decay_NH: Tensor,
    layout: SequenceLayout,
    chunk: int = 32,
) -> Tensor:
    """Linear attention with decay: return ``y_n = M_n q_n``, ``(N, H, P)``.

    ``M_n = exp(log_decay_n) M_(n-1) + v_n k_n^T``. The memory M is a ``(P, S)`` matrix per head, zero
    before every sequence. Source: the chunked form of Dao and Gu (2024, arXiv:2405.21060, section 6).
    The stream is cut into chunks of equal size wherever its sequences begin, and only its tail is
    filled up. Rows of one chunk see each other through a masked ``(T, T)`` product; older rows are read
    from the memory at the chunk's beginning, and a scan over chunks computes these memories. Costs ``N
    (T + 2 S) P`` multiplications per head, linear in N, as is what is kept for the backward pass: with
    T = 32, S = 32 and P = 64, 454 numbers per head and row, beyond the inputs.

    Decays enter as differences of sums inside one chunk, taken in double precision, so that neither
    long streams nor strong decays blur weak ones. Everything else is computed in single precision or
    better, under autocast too.

    Args:
        q_NGS: Queries.
        k_NGS: Keys; G divides H.
        v_NHP: Values.
        log_decay_NH: At most 0; without effect on the first row of a sequence.
        layout: Where sequences begin.
        chunk: T. On a CPU 32 was level with 16 and ahead of 64 and 128.
    """
    with torch.autocast(v_NHP.device.type, enabled=False):
        q_CGTS, k_CGTS, v_CHTP, log_decay_CHT = (
            _cut(at_least_single(x), chunk) for x in (q_NGS, k_NGS, v_NHP, log_decay_NH)
        )
        heads = v_CHTP.shape[1] // q_CGTS.shape[1]
        if q_CGTS.shape[1] > 1:  # One group is spread over the heads by broadcasting.
            q_CGTS, k_CGTS = (x.repeat_interleave(heads, dim=1) for x in (q_CGTS, k_CGTS))
        # Rows that fill the tail write nothing and are cut off, whichever sequence they count to.
        sequence_CT = _cut(layout.sequence_N, chunk)
        y_CHTP = _attend(q_CGTS, k_CGTS, v_CHTP, log_decay_CHT, sequence_CT)
        return y_CHTP.transpose(1, 2).flatten(0, 1)[: len(v_NHP)]


def _attend(
    q_CGTS: Tensor, k_CGTS: Tensor, v_CHTP: Tensor, log_decay_CHT: Tensor, sequence_CT: Tensor
) -> Tensor:
    since_CHT = log_decay_CHT.cumsum(-1, dtype=torch.float64)
    last_C1 = sequence_CT[:, -1:]
    before_C1 = last_C1.roll(1, 0)  # The first chunk reads zeros, whatever it compares itself with.

    def decay(log: Tensor, where: Tensor) -> Tensor:
        return log.to(v_CHTP.dtype).masked_fill(~where[:, None], -torch.inf).exp()

    same_CTT = (sequence_CT[:, :, None] == sequence_CT[:, None, :]).tril()
    between_CHTT = decay(since_CHT[..., :, None] - since_CHT[..., None, :], same_CTT)
    y_CHTP = (q_CGTS @ k_CGTS.mT * between_CHTT) @ v_CHTP

    to_end_CHT = decay(since_CHT[..., -1:] - since_CHT, sequence_CT == last_C1)
    written_CHPS = (v_CHTP * to_end_CHT[..., None]).mT @ k_CGTS
    through_CH = decay(since_CHT[..., -1:], before_C1 == last_C1)
    memory_CHPS = _before(written_CHPS, through_CH)

    from_start_CHT = decay(since_CHT, sequence_CT == before_C1)
    return torch.addcmul(y_CHTP, from_start_CHT[..., None], q_CGTS @ memory_CHPS.mT)


def _before(written_CHPS: Tensor, through_CH1: Tensor) -> Tensor:
    """Return the memory at the beginning of every chunk."""
    if len(written_CHPS) == 1:
        return torch.zeros_like(written_CHPS)
    start = torch.zeros(1, dtype=torch.int64, device=written_CHPS.device)
    memory_CHPS = scan_from(start, through_CH1[:-1, ..., None], written_CHPS[:-1])
    return pad(memory_CHPS, (0, 0, 0, 0, 0, 0, 1, 0))


def _cut(x_N: Tensor, chunk: int) -> Tensor:
    """Return ``(N,)`` as ``(C, T)``, ``(N, H, ...)`` as ``(C, H, T, ...)``; zeros fill the tail."""
    x_N = pad(x_N, (0, 0) * (x_N.dim() - 1) + (0, -len(x_N) % chunk))
    x_CT = x_N.view(-1, chunk, *x_N.shape[1:])
    return x_CT if x_N.dim() == 1 else x_CT.transpose(1, 2)
