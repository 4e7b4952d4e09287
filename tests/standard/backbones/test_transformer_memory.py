"""Memory for training the Transformer grows with the timesteps, not with their square."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, pathlib, re, resource, sys
import torch
from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import Transformer
from amago_standard.backbones.options import TransformerOptions

lengths, options = json.loads(sys.argv[1]), json.loads(sys.argv[2])
context = BackboneContext(
    in_dim=128, context_length=lengths[-1], build=lambda part, context: part.build(context)
)
model = Transformer(context, TransformerOptions(width=128, **options)).train()
def peak():
    # Not ru_maxrss where there is a choice: on Linux it begins with what the parent held.
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

peaks = []
for length in lengths:
    model(torch.randn(length, 128), SequenceLayout.build([length])).square().mean().backward()
    peaks.append(peak())
print(json.dumps(peaks))
"""


def peaks(*lengths: int, **options: object) -> list[float]:
    """Return the most MiB a process had held after training on one sequence of each length in turn."""
    written = [json.dumps(lengths), json.dumps(options)]
    # What is freed goes back to the system at once, so that the peak is what was in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *written],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    numbers: list[float] = json.loads(done.stdout)
    return numbers


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"checkpoint": True}, marks=pytest.mark.slow),
        pytest.param({"window": 128, "sinks": 4}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_twice_the_timesteps_take_twice_the_memory(options: dict[str, object]) -> None:
    base, once, twice = peaks(64, 1000, 2000, **options)
    assert 1.7 < (twice - base) / (once - base) < 2.3


@pytest.mark.slow
def test_blocks_computed_again_take_less_than_half_the_memory() -> None:
    base, kept = peaks(64, 2000, layers=8)
    base_again, again = peaks(64, 2000, layers=8, checkpoint=True)
    assert again - base_again < 0.5 * (kept - base)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", [False, True])
def test_ten_thousand_timesteps_train_in_under_three_gigabytes(checkpoint: bool) -> None:
    assert peaks(10_000, checkpoint=checkpoint)[0] < 3 * 1000**3 / 2**20
