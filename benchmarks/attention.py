"""Speed of each attention kernel, packed for training and with a cache for acting.

    python -m benchmarks.attention                    # on the CPU, small
    python -m benchmarks.attention --device cuda      # 65,536 timesteps, bf16, L = 128 to 8192

Attention without the rest of the agent, 8 heads of 32 features. Training: forward and backward over a
packed stream whose sequences are uniform in [L/8, L]. ``padded`` is torch's own kernel on a (batch,
longest) block, which is the padded computation; only real timesteps count. Acting: one query row for
each of 256 environments (32 on the CPU) against a full cache of L timesteps; on the CPU torch's
operators act for every kernel. A kernel that cannot run here is left out, with the reason below the
table.

``of peak`` compares with the machine's own speed in the same process: for training, the products that
causal attention needs against one large product; for acting, the bytes of the cache against a copy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from amago_registry import AmagoError, AttentionContext, SequenceLayout, UnavailableError
from amago_registry.catalog import installed

HEADS, HEAD_DIM, SECONDS = 8, 32, 2.0
KERNELS = ("xformers", "varlen", "sdpa", "auto", "padded")
Run = Callable[[], object]


@dataclass(frozen=True)
class Machine:
    """Where the kernels run.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: Precision.
    """

    device: str
    dtype: torch.dtype

    def seconds(self, run: Run) -> float:
        """Return the median seconds of a call."""
        taken: list[float] = []
        begun = time.perf_counter()
        while len(taken) < 4 or time.perf_counter() - begun < SECONDS:
            begin = time.perf_counter()
            run()
            if self.device == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - begin)
        return statistics.median(taken[1:])

    def products_per_second(self) -> float:
        """Return floating-point operations per second of one large matrix product."""
        size = 8192 if self.device == "cuda" else 2048
        x = torch.randn(size, size, device=self.device, dtype=self.dtype)
        return 2 * size**3 / self.seconds(lambda: x @ x)

    def bytes_per_second(self) -> float:
        """Return the bytes per second that a large copy reads and writes."""
        x = torch.randn(2**26, device=self.device)
        y = torch.empty_like(x)
        return 2 * x.nbytes / self.seconds(lambda: y.copy_(x))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default: bf16 on cuda")
    parser.add_argument("--timesteps", type=int, help="in all; default 65,536 on cuda, 8,192 on cpu")
    parser.add_argument("--lengths", type=int, nargs="+", help="L; default: all that fit")
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    precision = arguments.precision or ("bf16" if cuda else "fp32")
    machine = Machine(arguments.device, torch.bfloat16 if precision == "bf16" else torch.float32)
    timesteps = arguments.timesteps or (65536 if cuda else 8192)
    lengths = arguments.lengths or [
        length for length in (128, 512, 1024, 2048, 4096, 8192) if length <= timesteps
    ]
    reasons: dict[str, str] = {}
    _print_training(machine, lengths, timesteps, reasons)
    _print_acting(machine, lengths, 256 if cuda else 32, reasons)
    for kernel, reason in reasons.items():
        print(f"\n{kernel}: {reason}")


def _print_training(
    machine: Machine, lengths: list[int], timesteps: int, reasons: dict[str, str]
) -> None:
    peak = machine.products_per_second()
    print(f"training, {timesteps} timesteps, {machine.dtype}: peak {peak / 1e12:.2f} TFLOP/s")
    print(
        f"{'L':>6} {'padding':>8} " + " ".join(f"{name + ' ms':>12} {'of peak':>7}" for name in KERNELS)
    )
    for longest in lengths:
        packed = _lengths(longest, timesteps)
        # Two products forward, five backward, of half a square for each sequence.
        operations = 7 * sum(2 * HEADS * HEAD_DIM * length**2 / 2 for length in packed)
        cells = _cells(
            lambda name, at=packed: _training(name, at, machine), operations / peak, machine, reasons
        )
        padding = 1 - sum(packed) / (len(packed) * max(packed))
        print(f"{longest:>6} {padding:>8.0%} " + " ".join(cells), flush=True)


def _print_acting(
    machine: Machine, lengths: list[int], environments: int, reasons: dict[str, str]
) -> None:
    peak = machine.bytes_per_second()
    print(f"\nacting, {environments} environments: copying moves {peak / 1e9:.0f} GB/s")
    print(
        f"{'L':>6} {'':>8} " + " ".join(f"{name + ' ms':>12} {'of peak':>7}" for name in KERNELS[:-1])
    )
    for longest in lengths:
        size = torch.empty((), dtype=machine.dtype).itemsize
        read = 2 * environments * longest * HEADS * HEAD_DIM * size
        cells = _cells(
            lambda name, at=longest: _acting(name, at, environments, machine),
            read / peak,
            machine,
            reasons,
            KERNELS[:-1],
        )
        print(f"{longest:>6} {'':>8} " + " ".join(cells), flush=True)


def _cells(
    prepare: Callable[[str], Run],
    at_peak: float,
    machine: Machine,
    reasons: dict[str, str],
    kernels: tuple[str, ...] = KERNELS,
) -> list[str]:
    """Return milliseconds and the share of peak of each kernel; note why one cannot run.

    Args:
        prepare: Returns what to time, for a kernel's name.
        at_peak: Seconds that the work would take at the machine's own speed.
        machine: Where.
        reasons: Written to.
        kernels: Names.
    """
    cells = []
    for kernel in kernels:
        try:
            run = prepare(kernel)
            run()
        except AmagoError as error:
            reasons[kernel] = str(error)
            cells.append(f"{'-':>12} {'-':>7}")
        else:
            seconds = machine.seconds(run)
            cells.append(f"{1e3 * seconds:>12.3f} {at_peak / seconds:>7.0%}")
    return cells


def _lengths(longest: int, timesteps: int) -> list[int]:
    rng, lengths = np.random.default_rng(0), list[int]()
    while sum(lengths) < timesteps:
        lengths.append(int(rng.integers(longest // 8, longest + 1)))
    return lengths


def _training(kernel: str, lengths: list[int], machine: Machine) -> Run:
    layout = SequenceLayout.build(lengths, device=machine.device)
    if kernel == "padded":
        return _padded(lengths, machine)
    attention = _build(kernel, max(lengths), machine)
    q, k, v = _inputs(layout.timesteps, machine)

    def run() -> object:
        y = attention.packed(q, k, v, layout)
        return torch.autograd.grad(y, (q, k, v), y)

    return run


def _padded(lengths: list[int], machine: Machine) -> Run:
    rows = len(lengths) * max(lengths)
    q, k, v = (
        x.detach().view(len(lengths), max(lengths), HEADS, HEAD_DIM).transpose(1, 2).requires_grad_()
        for x in _inputs(rows, machine)
    )

    def run() -> object:
        y = scaled_dot_product_attention(q, k, v, is_causal=True)
        return torch.autograd.grad(y, (q, k, v), y)

    return run


def _acting(kernel: str, longest: int, environments: int, machine: Machine) -> Run:
    attention = _build(kernel, longest, machine)
    q, k, v = (x.detach() for x in _inputs(environments, machine))
    with torch.no_grad():
        cache = attention.cache(environments, q)
        for _ in range(longest):
            cache = attention.step(q, k, v, cache)[1]

    @torch.no_grad()
    def run() -> object:
        return attention.step(q, k, v, cache)

    return run


def _build(kernel: str, capacity: int, machine: Machine) -> Any:
    context = AttentionContext(heads=HEADS, kv_heads=HEADS, head_dim=HEAD_DIM, capacity=capacity)
    if kernel == "varlen":  # Reached through auto alone, so it has no name in the catalog.
        return _varlen(context, machine)
    component = installed().find("attention", kernel).component
    return component.load()(context, component.options())


def _varlen(context: AttentionContext, machine: Machine) -> Any:
    from amago_standard.backbones.attention_varlen import VarlenAttention, reasons_against
    from amago_standard.backbones.options import AttentionOptions

    reasons = reasons_against(torch.empty((), device=machine.device, dtype=machine.dtype), context)
    if reasons:
        raise UnavailableError("; ".join(reasons))
    return VarlenAttention(context, AttentionOptions())


def _inputs(rows: int, machine: Machine) -> list[Tensor]:
    shape = (rows, HEADS, HEAD_DIM)
    return [
        torch.randn(shape, device=machine.device, dtype=machine.dtype).requires_grad_() for _ in "qkv"
    ]


if __name__ == "__main__":
    main()
