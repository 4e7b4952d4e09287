"""A compiled update equals the eager one, and one graph serves every length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from amago_core.acting.task import Task
from amago_core.compose.networks import compose_agent, compose_objective
from amago_core.learning.batch import PackedBatch, pack
from amago_core.learning.learner import Learner
from amago_core.spec import load_spec
from amago_registry.trajectories import Trajectory

pytestmark = pytest.mark.slow

OBSERVED = spaces.Box(-np.inf, np.inf, (2,), np.float32)
SPACES: dict[str, spaces.Discrete | spaces.Box] = {
    "discrete": spaces.Discrete(3),
    "continuous": spaces.Box(-1.0, 1.0, (2,)),
}


def learner(space: spaces.Space[Any], *, compiled: bool) -> Learner:
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "agent": {
            "encoder": {"use": "mlp", "hidden_dims": [8], "out_dim": 8},
            "backbone": {"use": "transformer", "layers": 1, "width": 8, "heads": 2, "dropout": 0.0},
            "actor": {"use": "mlp", "hidden_dims": [8]},
            "critic": {"use": "ensemble", "hidden_dims": [8]},
            "objective": {"use": "amago", "target_members": 4, "n_step": 2},
        },
        "running": {"compile": compiled},
    }
    spec = load_spec(small, local_environment=True)
    task = Task("walk", lambda: None, OBSERVED, space, None)  # type: ignore[arg-type,return-value]
    agent = compose_agent(spec.agent, task)
    return Learner(agent, compose_objective(spec.agent, agent, task), spec.training, spec.running)


def batch(space: spaces.Space[Any], seed: int) -> PackedBatch:
    rng = np.random.default_rng(seed)
    slices = []
    for length in rng.integers(3, 30, 4):
        columns = {
            "obs.observation": rng.normal(size=(length + 1, 2)).astype(np.float32),
            "action": _actions(space, rng, length),
            "reward": rng.normal(size=length).astype(np.float32),
            "terminated": np.arange(length) == length - 1,
            "truncated": np.zeros(length, bool),
        }
        slices.append(Trajectory(columns, seed=0).slice(0, int(length)))
    return pack(slices, space)


def _actions(space: spaces.Space[Any], rng: np.random.Generator, length: int) -> Any:
    if isinstance(space, spaces.Discrete):
        return rng.integers(0, int(space.n), length)
    return rng.uniform(-1, 1, (length, 2)).astype(np.float32)


@pytest.mark.filterwarnings("ignore")  # Of torch's compiler about itself.
@pytest.mark.parametrize("name", SPACES)
def test_a_compiled_update_is_the_update_and_lengths_do_not_compile_it_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.utils import counters

    monkeypatch.setattr(
        torch, "randn_like", lambda x: torch.full_like(x, 0.3)
    )  # Compiled draws differ.
    counters.clear()
    space = SPACES[name]
    compiled, eager = learner(space, compiled=True), learner(space, compiled=False)
    graphs = []
    for update in range(8):
        batches = [batch(space, 2 * update), batch(space, 2 * update + 1)]
        ours, theirs = (trained.update(*batches) for trained in (compiled, eager))
        assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=1e-3)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[-1] == graphs[2] > 0
    for parameter, tensor in eager.agent.state_dict().items():
        torch.testing.assert_close(compiled.agent.state_dict()[parameter], tensor, rtol=1e-2, atol=1e-3)
