"""Training speed, acting speed, memory and state size of each sequence backbone.

    python -m benchmarks.backbones                       # every installed backbone, plugins' included
    python -m benchmarks.backbones --backbones mamba 'transformer window=128 kv_heads=2'
    python -m benchmarks.backbones --lengths 10000       # one sequence of 10,000 timesteps

Each backbone without the rest of the agent: 128 features in, width 128 and 3 layers where its options
have them.
Training: one forward and backward pass over sequences of L timesteps, about 8,192 in all and at least
one sequence. Acting: a step of 32 environments, and of one, that have all seen more than L timesteps,
on one thread; network and cache alone. Every measurement has a process of its own; medians.

Columns: parameters; trained timesteps per second; what a training pass adds to the process's memory;
steps of 32 environments per second, over all of them; milliseconds of a step of one environment; acting
state of one environment.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

WIDTH, LAYERS, TIMESTEPS, SECONDS = 128, 3, 8192, 3.0
_HEADER = (
    f"{'backbone':<36} {'L':>6} {'parameters':>10} {'trained/s':>9} {'MiB':>6} {'acts/s':>8} "
    f"{'ms alone':>8} {'state KiB':>9}"
)


def main() -> None:
    """Print the table, or measure one case and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", help="names, each with options: 'gru layers=1'")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 1024, 4096])
    parser.add_argument("--threads", type=int, default=2, help="while training; acting takes one")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        case = json.loads(arguments.case)
        measured = {"train": train, "act": act}[case.pop("measure")](**case)
        print(json.dumps(measured))
        return
    print(_HEADER)
    for backbone in arguments.backbones or _names():
        for length in arguments.lengths:
            case = {"backbone": backbone, "length": length, "device": arguments.device}
            trained = _in_a_process({**case, "measure": "train"}, arguments.threads)
            alone = _in_a_process({**case, "measure": "act", "environments": 1}, 1)
            acted = _in_a_process({**case, "measure": "act", "environments": 32}, 1)
            print(
                f"{backbone:<36} {length:>6} {trained['parameters']:>10,.0f} "
                f"{trained['timesteps_per_second']:>9.0f} {trained['mib']:>6.0f} "
                f"{acted['steps_per_second']:>8.0f} {1e3 / alone['steps_per_second']:>8.2f} "
                f"{alone['state_kib']:>9.1f}",
                flush=True,
            )


def _names() -> list[str]:
    from amago_registry.catalog import installed

    catalog = installed()
    return [catalog.short_name(entry) for entry in catalog.entries("backbone")]


def _in_a_process(case: dict[str, Any], threads: int) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.backbones", "--case", json.dumps(case)]
    finished = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return measured


def train(backbone: str, length: int, device: str) -> dict[str, float]:
    """Return parameters, trained timesteps per second, and the memory that training takes in MiB."""
    import torch

    from amago_core.running.train import peak_memory
    from amago_registry import SequenceLayout

    model = _model(backbone, length, device).train()
    layout = SequenceLayout.build([length] * max(1, TIMESTEPS // length), device=device)
    x_ND = torch.randn(layout.timesteps, WIDTH, device=device, requires_grad=True)
    toward_NE = torch.randn(layout.timesteps, model.out_dim, device=device)
    cuda = device == "cuda"
    before = torch.cuda.memory_allocated() if cuda else peak_memory()

    def update() -> None:
        model.zero_grad()
        model(x_ND, layout).backward(toward_NE)

    seconds = _median(update, cuda)
    after = torch.cuda.max_memory_allocated() if cuda else peak_memory()
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "timesteps_per_second": layout.timesteps / seconds,
        "mib": (after - before) / 2**20,
    }


def act(backbone: str, length: int, device: str, environments: int) -> dict[str, float]:
    """Return steps per second over all environments, and the acting state of one in KiB."""
    import torch

    model = _model(backbone, length, device).eval()
    x_BD = torch.randn(environments, WIDTH, device=device)
    state = model.initial_state(environments)
    time_B = torch.zeros(environments, dtype=torch.int64, device=device)

    def step() -> None:
        nonlocal state
        _, state = model.step(x_BD, time_B, state)
        time_B.add_(1)

    with torch.inference_mode():
        # Only what grows with the context needs filling.
        for _ in range(8 if getattr(model, "constant_state", False) else length + 1):
            step()
        seconds = _median(step, device == "cuda")
    return {
        "steps_per_second": environments / seconds,
        "state_kib": _bytes(state) / environments / 1024,
    }


def _model(backbone: str, length: int, device: str) -> Any:
    import torch
    from omegaconf import OmegaConf

    from amago_registry import BackboneContext
    from amago_registry.catalog import installed

    name, *words = backbone.split()
    component = installed().find("backbone", name).component
    sizes = {"width": WIDTH, "layers": LAYERS}
    given = {k: v for k, v in sizes.items() if k in component.options.model_fields}
    written = OmegaConf.to_container(OmegaConf.from_dotlist(words))
    options = component.options.model_validate({**given, **written})  # type: ignore[dict-item]
    context = BackboneContext(
        in_dim=WIDTH, context_length=length, build=lambda part, inner: part.build(inner)
    )
    torch.manual_seed(0)
    return component.load()(context, options).to(device)


def _median(function: Callable[[], None], cuda: bool) -> float:
    """Return the median seconds of a call; at least three calls, for about ``SECONDS``."""
    import torch

    function()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - begun < SECONDS:
        begin = time.perf_counter()
        function()
        if cuda:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _bytes(state: dict[str, Any]) -> int:
    return sum(_bytes(v) if isinstance(v, dict) else v.nbytes for v in state.values())


if __name__ == "__main__":
    main()
