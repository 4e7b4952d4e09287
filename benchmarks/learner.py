"""Updates per second of the learner, a profile of an update, and the cost of padding.

    python -m benchmarks.learner            # the whole table: about 20 minutes
    python -m benchmarks.learner --quick    # L = 64 and 256 at width 128

Batches of 24 sequences (8 at L = 4096) whose lengths are all L or uniform in [L/8, L]; observations of
8 numbers, 5 discrete actions, encoder 512-512-256, a Transformer of 3 layers and 8 heads, heads
2 x 256, 7 discounts, 4 critics, the objective ``amago``. The padded side is the same model on a
(batch, longest) block, which is what a padded layout computes; only real timesteps count as valid.
Every row is measured in a process of its own, so that its peak memory is its own. Packed and padded
take turns in neighbouring processes.

One line per case: updates per second, valid timesteps per second of wall and of processor time, the
share of the machine's own speed (the matrix products of an update against one large product, in the
same process and precision), peak memory, the packed side's speed over the padded side's, and
shares of the wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

SECONDS, LEAST = 6.0, 4  # Of measuring, and the fewest updates.
STAGES = ("encoder", "backbone", "heads", "targets", "backward", "optimiser")


@dataclass(frozen=True)
class Case:
    """One configuration.

    Args:
        longest: L, timesteps.
        width: Of the Transformer.
        varied: Lengths uniform in [L/8, L] instead of all L.
        padded: Every sequence takes the longest one's rows.
        threads: Of torch.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16``.
        compiled: Whether heads and loss are compiled.
        keeps_memory: Whether freed memory is kept, as in every run.
    """

    longest: int
    width: int
    varied: bool
    padded: bool = False
    threads: int = 2
    device: str = "cpu"
    precision: str = "fp32"
    compiled: bool = False
    keeps_memory: bool = True

    @property
    def sequences(self) -> int:
        """Sequences in a batch."""
        return 8 if self.longest >= 4096 else 24


def main() -> None:
    """Print the table, or measure one case and print it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="L = 64 and 256, width 128")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--lengths", type=int, nargs="+", default=None, help="L, instead of all")
    parser.add_argument("--widths", type=int, nargs="+", default=None)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--return-memory", action="store_true", help="as glibc does by itself")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(measure(Case(**json.loads(arguments.case)))))
        return
    lengths = arguments.lengths or ([64, 256] if arguments.quick else [64, 256, 1024, 4096])
    widths = arguments.widths or ([128] if arguments.quick else [128, 256])
    print(_HEADER)
    for threads in arguments.threads:
        for width in widths:
            for longest in lengths:
                for varied in (False, True):
                    case = Case(
                        longest,
                        width,
                        varied,
                        threads=threads,
                        device=arguments.device,
                        precision=arguments.precision,
                        compiled=arguments.compile,
                        keeps_memory=not arguments.return_memory,
                    )
                    print(_row(case), flush=True)


_HEADER = (
    f"{'threads':>7} {'width':>5} {'L':>5} {'lengths':>7} {'updates/s':>9} {'valid/s':>8} "
    f"{'valid/cpu s':>11} {'of peak':>7} {'peak MiB':>8} {'padded':>7}  "
    + " ".join(f"{s:>9}" for s in STAGES)
)


def _row(case: Case) -> str:
    packed = _in_a_process(case)
    ratio = ""
    if case.varied:
        padded = _in_a_process(Case(**{**asdict(case), "padded": True}))
        ratio = f"{packed['valid_per_second'] / padded['valid_per_second']:.2f}x"
    shares = " ".join(f"{packed[stage]:>9.0%}" for stage in STAGES)
    lengths = "varied" if case.varied else "equal"
    return (
        f"{case.threads:>7} {case.width:>5} {case.longest:>5} {lengths:>7} "
        f"{packed['updates_per_second']:>9.2f} {packed['valid_per_second']:>8.0f} "
        f"{packed['valid_per_cpu_second']:>11.0f} {packed['of_peak']:>7.0%} "
        f"{packed['peak_mib']:>8.0f} {ratio:>7}  {shares}"
    )


def _in_a_process(case: Case) -> dict[str, float]:
    environment = os.environ | {"OMP_NUM_THREADS": str(case.threads)}
    command = [sys.executable, "-m", "benchmarks.learner", "--case", json.dumps(asdict(case))]
    finished = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return measured


def measure(case: Case) -> dict[str, float]:
    """Return one case's numbers; the median update of several different batches."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from amago_core.running.train import peak_memory
    from amago_core.system.memory import keep_freed_memory

    if case.keeps_memory:
        keep_freed_memory()
    torch.set_num_threads(case.threads)
    learner, batches, valid = _prepare(case)
    cuda = case.device == "cuda"
    with FlopCounterMode(display=False) as counter:
        learner.update(batches[0])
    for batch in 2 * batches if case.compiled else batches[:2]:
        learner.update(batch)
    middle = _medians(learner, batches, valid, None, cuda)
    peak = torch.cuda.max_memory_allocated() if cuda else peak_memory()
    # In updates of their own: on a GPU, timing a stage waits for it.
    shares = _medians(learner, batches, valid, _stopwatch(learner, cuda), cuda)
    products = counter.get_total_flops() / valid[0] / middle["wall"]
    return {
        "updates_per_second": 1 / (middle["wall"] * statistics.mean(valid)),
        "valid_per_second": 1 / middle["wall"],
        "valid_per_cpu_second": 1 / middle["cpu"],
        "of_peak": products / _machine_speed(case),
        "peak_mib": peak / 2**20,
        **{stage: shares[stage] for stage in STAGES},
    }


def _medians(
    learner: Any, batches: list[Any], valid: list[int], stages: dict[str, float] | None, cuda: bool
) -> dict[str, float]:
    """Return median seconds per valid timestep, and the stages' shares where a stopwatch is given."""
    import torch

    rows = defaultdict(list)
    begun = time.perf_counter()
    for update in range(400):
        (stages or {}).clear()
        wall, cpu = time.perf_counter(), time.process_time()
        learner.update(batches[update % len(batches)])
        if cuda:
            torch.cuda.synchronize()
        taken = time.perf_counter() - wall
        rows["wall"].append(taken / valid[update % len(batches)])
        rows["cpu"].append((time.process_time() - cpu) / valid[update % len(batches)])
        if stages is not None:
            for stage in STAGES:
                rows[stage].append(stages[stage] / taken)
        if update >= LEAST and time.perf_counter() - begun > (SECONDS if stages is None else 2):
            break
    return {name: statistics.median(values) for name, values in rows.items()}


def _machine_speed(case: Case) -> float:
    """Return the floating-point operations per second of one large matrix product."""
    import torch

    size = 8192 if case.device == "cuda" else 2048
    dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
    x = torch.randn(size, size, device=case.device, dtype=dtype)
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        x @ x
        if case.device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return 2 * size**3 / min(taken)


def _prepare(case: Case) -> tuple[Any, list[Any], list[int]]:
    """Return a learner, packed batches, and the valid timesteps of each."""
    import numpy as np
    import torch
    from gymnasium import spaces

    from amago_core.acting.task import Task
    from amago_core.compose.networks import compose_agent, compose_objective
    from amago_core.learning.batch import pack
    from amago_core.learning.learner import Learner
    from amago_core.spec import load_spec
    from amago_registry.trajectories import Trajectory

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    spec = load_spec(
        {
            "agent": {
                "context_length": case.longest,
                "backbone": {"use": "transformer", "width": case.width},
            },
            "training": {"warmup": 0},
            "running": {"precision": case.precision, "compile": case.compiled},
        },
        local_environment=True,
    )
    observed, acted = spaces.Box(-np.inf, np.inf, (8,), np.float32), spaces.Discrete(5)
    task = Task("benchmark", lambda: None, observed, acted, None)  # type: ignore[arg-type,return-value]
    agent = compose_agent(spec.agent, task).to(case.device)
    objective = compose_objective(spec.agent, agent, task).to(case.device)
    learner = Learner(agent, objective, spec.training, spec.running)
    batches, valid = [], []
    for _ in range(4):
        steps = np.full(case.sequences, case.longest - 1)
        if case.varied:
            steps = rng.integers(case.longest // 8, case.longest + 1, case.sequences) - 1
        valid.append(int(steps.sum()) + case.sequences)
        if case.padded:
            steps[:] = steps.max()
        slices = [
            Trajectory(
                {
                    "obs.observation": rng.normal(size=(length + 1, 8)).astype(np.float32),
                    "action": rng.integers(0, 5, length),
                    "reward": rng.normal(size=length).astype(np.float32),
                    "terminated": np.arange(length) == length - 1,
                    "truncated": np.zeros(length, bool),
                },
                seed=0,
            ).slice(0, int(length))
            for length in steps
        ]
        batches.append(pack(slices, acted, case.device))
    return learner, batches, valid


def _stopwatch(learner: Any, cuda: bool) -> dict[str, float]:
    """Wrap the stages of an update; return the seconds each has taken so far."""
    import torch

    taken: dict[str, float] = defaultdict(float)

    def timed(
        stage: str, function: Callable[..., Any], without: str | None = None
    ) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            inside = taken[without] if without else 0.0
            begin = time.perf_counter()
            result = function(*args, **kwargs)
            if cuda:
                torch.cuda.synchronize()
            taken[stage] += time.perf_counter() - begin
            if without:
                taken[stage] -= taken[without] - inside
            return result

        return run

    agent, objective = learner.agent, learner.objective
    agent.encoder.forward = timed("encoder", agent.encoder.forward)
    agent.backbone.forward = timed("backbone", agent.backbone.forward)
    objective._target = timed("targets", objective._target)
    learner._loss = timed("heads", learner._loss, without="targets")
    torch.Tensor.backward = timed("backward", torch.Tensor.backward)  # type: ignore[method-assign]
    learner._clip = timed("optimiser", learner._clip)
    learner._step = timed("optimiser", learner._step)
    return taken


if __name__ == "__main__":
    main()
