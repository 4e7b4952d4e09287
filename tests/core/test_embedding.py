"""A trained agent inside another program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import Listener, Walk, tiny

import amago_core
from amago_core.collector import task_seed
from amago_core.errors import AmagoError
from amago_core.spaces import BARE_KEY

SHIFTED = spaces.Discrete(3, start=4)
BOX = spaces.Box(np.array([0, -2], np.float32), np.array([1, 2], np.float32))


def trained(run: Path, make: Any) -> Path:
    written = tiny(environment=None, exploration={"use": "epsilon-greedy", "anneal_steps": 50})
    # Of all backbones the transformer knows the time, besides everything else.
    backbone = "agent.backbone={use: transformer, layers: 1, width: 8, heads: 2}"
    amago_core.train(written, [backbone], environment=make, run=run, reporter=Listener())
    return run


@pytest.mark.parametrize(("space", "named"), [(SHIFTED, False), (SHIFTED, True), (BOX, False)])
def test_an_embedded_agent_does_what_the_agent_did_in_evaluation(
    tmp_path: Path, space: Any, named: bool
) -> None:
    """Over several tasks in a row in each of two environments that end at different times."""

    def make() -> Walk:
        return Walk(12, action=space, named=named)

    run = trained(tmp_path / "run", make)
    evaluation = amago_core.evaluate(run, environment=make)  # 3 tasks, 2 environments
    agent = amago_core.load(run)
    agent.reset(batch=2)
    totals: dict[int, float] = {}
    envs, numbers, begun = [make(), make()], [0, 1], 2
    seen = [env.reset(seed=task_seed(0, 1, n))[0] for env, n in zip(envs, numbers, strict=True)]
    reward_B, done_B = np.zeros(2), np.zeros(2, bool)
    while not {0, 1, 2} <= set(totals):
        names = seen[0].keys() if named else [BARE_KEY]
        obs = {k: np.stack([one[k] if named else one for one in seen]) for k in names}
        action_B = agent.act(obs if named else obs[BARE_KEY], reward_B, done_B)
        for index, env in enumerate(envs):
            seen[index], reward_B[index], done_B[index], _, _ = env.step(action_B[index])
            totals[-1 - index] = totals.get(-1 - index, 0.0) + reward_B[index]
            if done_B[index]:
                totals[numbers[index]] = totals.pop(-1 - index)
                numbers[index], begun = begun, begun + 1
                seen[index], _ = env.reset(seed=task_seed(0, 1, numbers[index]))
    assert np.mean([totals[number] for number in range(3)]) == pytest.approx(evaluation.total, rel=1e-6)


def test_an_agent_is_loaded_without_its_environment(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", lambda: Walk(9, action=BOX))
    agent = amago_core.load(str(run))
    action = agent.act(np.zeros((1, 2)))  # Double precision is fine.
    assert action.shape == (1, 2)
    assert BOX.contains(action[0])


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", Walk)
    before = torch.get_rng_state()
    amago_core.load(run)
    assert torch.equal(torch.get_rng_state(), before)


def test_after_a_reset_everything_is_forgotten(tmp_path: Path) -> None:
    agent = amago_core.load(trained(tmp_path / "run", lambda: Walk(9, action=BOX)))
    rng = np.random.default_rng(0)
    first = agent.act(np.ones((1, 2)))
    for _ in range(4):
        agent.act(rng.normal(size=(1, 2)), rng.normal(size=1))
    assert not np.array_equal(agent.act(np.ones((1, 2))), first)
    agent.reset()
    assert np.array_equal(agent.act(np.ones((1, 2))), first)


def test_a_done_makes_one_environment_forget_and_not_its_neighbour(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", lambda: Walk(9, action=BOX))
    both, alone = amago_core.load(run), amago_core.load(run)
    both.reset(batch=2)
    rng = np.random.default_rng(1)
    for _ in range(3):
        obs = rng.normal(size=(2, 2))
        both.act(obs, 0.5)
        alone.act(obs[1:], 0.5)
    fresh = amago_core.load(run).act(np.ones((1, 2)))
    action = both.act(np.ones((2, 2)), np.array([0.7, 0.5]), np.array([True, False]))
    assert action[0] == pytest.approx(fresh[0], abs=1e-6)
    assert action[1] == pytest.approx(alone.act(np.ones((1, 2)), 0.5)[0], abs=1e-6)


def test_what_holds_no_agent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AmagoError) as caught:
        amago_core.load(tmp_path / "nothing")
    assert str(caught.value) == f"{tmp_path / 'nothing'} is no run: it does not exist."
    run = trained(tmp_path / "run", Walk)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(AmagoError) as caught:
        amago_core.load(run)
    assert str(caught.value) == f"{run} holds no checkpoint."


def test_the_newest_whole_checkpoint_is_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained(tmp_path / "run", Walk)
    newest = sorted((run / "checkpoints").iterdir())[-1]
    (newest / "model.safetensors").write_bytes(b"")
    amago_core.load(run)
    assert caplog.messages == [
        f"the checkpoint {newest} is damaged: "
        "model.safetensors does not have the checksum it was written with"
    ]
