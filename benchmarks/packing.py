"""Speed of one training pass of the Transformer, packed against padded.

    python -m benchmarks.packing

Both sides run a Transformer of one size, forward and backward, in turn; lengths are uniform in
[L/8, L].
The padded side fills every sequence up to the longest, one block of equal lengths, which is its best
case. Prints medians and their ratio.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import Transformer
from amago_standard.backbones.options import TransformerOptions

SEQUENCES, WIDTH, LAYERS, REPEATS = 24, 128, 2, 9


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    print(f"{SEQUENCES} sequences, width {WIDTH}, {LAYERS} layers, {torch.get_num_threads()} threads")
    print(f"{'L':>5} {'padding':>8} {'packed ms':>10} {'padded ms':>10} {'ratio':>6}")
    for longest in (128, 512, 1024):
        lengths = np.random.default_rng(0).integers(longest // 8, longest + 1, SEQUENCES).tolist()
        packed, padded = _pass(longest, lengths), _pass(longest, [max(lengths)] * SEQUENCES)
        packed_ms, padded_ms = _in_turn(packed, padded)
        share, ratio = 1 - sum(lengths) / (max(lengths) * SEQUENCES), padded_ms / packed_ms
        print(f"{longest:>5} {share:>8.0%} {packed_ms:>10.1f} {padded_ms:>10.1f} {ratio:>6.2f}")


def _pass(longest: int, lengths: list[int]) -> Callable[[], None]:
    context = BackboneContext(
        in_dim=WIDTH, context_length=longest, build=lambda part, given: part.build(given)
    )
    model = Transformer(context, TransformerOptions(layers=LAYERS, width=WIDTH))
    layout = SequenceLayout.build(lengths)
    x_ND = torch.randn(layout.timesteps, WIDTH)

    def run() -> None:
        model.zero_grad()
        model(x_ND, layout).square().mean().backward()

    return run


def _in_turn(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float]:
    """Return the median milliseconds of two functions, run one after the other, again and again."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for function, taken in zip((first, second), times, strict=True):
            begin = time.perf_counter()
            function()
            taken.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


if __name__ == "__main__":
    main()
