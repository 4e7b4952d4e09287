"""A compiled update is the update, and one graph serves every length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from amago_core.compose import Task, compose_agent, compose_objective
from amago_core.learner import Learner
from amago_core.packing import PackedBatch, pack
from amago_core.replay import Trajectory
from amago_core.spec import load_spec

pytestmark = pytest.mark.slow

OBSERVED, ACTED = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Discrete(3)


def learner(*, compiled: bool) -> Learner:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "agent": {
            "encoder": {"use": "mlp", "hidden_dims": [8], "out_dim": 8},
            "backbone": {"use": "transformer", "layers": 1, "width": 8, "heads": 2, "dropout": 0.0},
            "actor": {"use": "mlp", "hidden_dims": [8]},
            "critic": {"use": "ensemble", "hidden_dims": [8]},
            "objective": {"use": "amago", "target_members": 4},
        },
        "running": {"compile": compiled},
    }
    spec = load_spec(small, local_environment=True)
    task = Task("walk", lambda: None, OBSERVED, ACTED, None)  # type: ignore[arg-type,return-value]
    agent = compose_agent(spec.agent, task)
    return Learner(agent, compose_objective(spec.agent, agent, task), spec.training, spec.running)


def batch(seed: int) -> PackedBatch:
    rng = np.random.default_rng(seed)
    slices = []
    for length in rng.integers(3, 30, 4):
        columns = {
            "obs.observation": rng.normal(size=(length + 1, 2)).astype(np.float32),
            "action": rng.integers(0, 3, length),
            "reward": rng.normal(size=length).astype(np.float32),
            "terminated": np.arange(length) == length - 1,
            "truncated": np.zeros(length, bool),
        }
        slices.append(Trajectory(columns, seed=0).slice(0, int(length)))
    return pack(slices, ACTED)


@pytest.mark.filterwarnings("ignore")  # Of torch's compiler about itself.
def test_a_compiled_update_is_the_update_and_lengths_do_not_compile_it_again() -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    compiled, eager = learner(compiled=True), learner(compiled=False)
    graphs = []
    for update in range(8):
        ours, theirs = (trained.update(batch(update)) for trained in (compiled, eager))
        assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=1e-4)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[-1] == graphs[1] > 0
    for name, tensor in eager.agent.state_dict().items():
        torch.testing.assert_close(compiled.agent.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)
