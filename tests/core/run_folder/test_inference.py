"""Inference: load a trained agent and act with it in another program."""

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
from amago_core.acting.evaluator import FRESH_STREAM
from amago_core.acting.task_seeds import task_seed
from amago_core.errors import AmagoError
from amago_core.run_folder.inference import TrainedAgent
from amago_registry.spaces import BARE_KEY

SHIFTED = spaces.Discrete(3, start=4)
BOX = spaces.Box(np.array([0, -2], np.float32), np.array([1, 2], np.float32))


def trained(run: Path, make: Any) -> Path:
    written = tiny(environment=None, exploration={"use": "epsilon-greedy", "anneal_steps": 50})
    # The transformer is the backbone that also uses the time step.
    backbone = "agent.backbone={use: transformer, layers: 1, width: 8, heads: 2}"
    amago_core.train(written, [backbone], environment=make, run=run, reporter=Listener())
    return run


@pytest.mark.parametrize(("space", "named"), [(SHIFTED, False), (SHIFTED, True), (BOX, False)])
def test_a_loaded_agent_acts_as_in_evaluation(tmp_path: Path, space: Any, named: bool) -> None:
    """Over several tasks in a row in each of two environments that end at different times."""

    def make() -> Walk:
        return Walk(12, action=space, named=named)

    run = trained(tmp_path / "run", make)
    evaluation = amago_core.evaluate(run, environment=make)  # 3 tasks, 2 environments
    agent = amago_core.load(run)
    agent.reset(batch=2)
    totals: dict[int, float] = {}
    envs, numbers, begun = [make(), make()], [0, 1], 2
    seen = [
        env.reset(seed=task_seed(0, FRESH_STREAM, n))[0] for env, n in zip(envs, numbers, strict=True)
    ]
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
                seen[index], _ = env.reset(seed=task_seed(0, FRESH_STREAM, numbers[index]))
    assert np.mean([totals[number] for number in range(3)]) == pytest.approx(
        evaluation.mean_return, rel=1e-6
    )


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


def test_a_reset_clears_the_memory(tmp_path: Path) -> None:
    agent = amago_core.load(trained(tmp_path / "run", lambda: Walk(9, action=BOX)))
    rng = np.random.default_rng(0)
    first = agent.act(np.ones((1, 2)))
    for _ in range(4):
        agent.act(rng.normal(size=(1, 2)), rng.normal(size=1))
    assert not np.array_equal(agent.act(np.ones((1, 2))), first)
    agent.reset()
    assert np.array_equal(agent.act(np.ones((1, 2))), first)


def test_done_clears_the_memory_of_its_environment_only(tmp_path: Path) -> None:
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


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> TrainedAgent:
    """An agent that sees ``seen`` (2,) float32 and ``cell`` (2, 2) uint8."""
    run = trained(tmp_path_factory.mktemp("named") / "run", lambda: Walk(9, named=True))
    return amago_core.load(run)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> TrainedAgent:
    """An agent that sees an array (2,) float32."""
    return amago_core.load(trained(tmp_path_factory.mktemp("bare") / "run", Walk))


SEEN, CELL = [[0.5, 1]], [[[0, 1], [2, 255]]]


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (SEEN, "the observation has no keys, this agent was trained on the keys 'cell', 'seen'."),
        (
            {"seen": SEEN},
            "the observation has the key 'seen', this agent was trained on the keys 'cell', 'seen'.",
        ),
        (
            {"seen": SEEN, "cell": CELL, "map": 0},
            "the observation has the keys 'cell', 'map', 'seen', "
            "this agent was trained on the keys 'cell', 'seen'.",
        ),
        (
            {"seen": SEEN[0], "cell": CELL},
            "observation 'seen' has shape (2,), expected (1, 2): B environments first.",
        ),
        (
            {"seen": SEEN, "cell": CELL * 3},
            "observation 'cell' has shape (3, 2, 2), expected (1, 2, 2): B environments first. "
            "To act in 3 environments, call reset(batch=3) first.",
        ),
        (
            {"seen": SEEN, "cell": [[[0, 1], [2]]]},
            "observation 'cell' is not an array: its rows have different lengths.",
        ),
        (
            {"seen": SEEN, "cell": [[[0, 1], [2, 256]]]},
            "observation 'cell' is of type int64 and cannot become uint8 without loss.",
        ),
        (
            {"seen": SEEN, "cell": [[[0, 1], [2, 0.9]]]},
            "observation 'cell' is of type float64 and cannot become uint8 without loss.",
        ),
        (
            {"seen": [["a", "b"]], "cell": CELL},
            "observation 'seen' is of type <U1 and cannot become float32 without loss.",
        ),
    ],
)
def test_an_observation_that_does_not_fit_the_space_is_an_error(
    named: TrainedAgent, observation: Any, message: str
) -> None:
    with pytest.raises(AmagoError) as caught:
        named.act(observation)
    assert str(caught.value) == message


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> TrainedAgent:
    """An agent that sees a dictionary in a dictionary, with a tuple in it."""
    run = trained(tmp_path_factory.mktemp("nested") / "run", lambda: Walk(9, nested=True))
    return amago_core.load(run)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (
            {"eye": {"cell": CELL, "pair": (SEEN,)}},
            "the observation has the keys 'eye/cell', 'eye/pair/0', "
            "this agent was trained on the keys 'eye/cell', 'eye/pair/0', 'eye/pair/1'.",
        ),
        (
            {"eye": {"cell": CELL, "pair": (SEEN, [0, 1])}},
            "observation 'eye/pair/1' has shape (2,), expected (1, 2): B environments first.",
        ),
    ],
)
def test_an_error_in_a_nested_observation_names_its_flat_key(
    nested: TrainedAgent, observation: Any, message: str
) -> None:
    with pytest.raises(AmagoError) as caught:
        nested.act(observation)
    assert str(caught.value) == message


def test_a_nested_observation_may_also_be_given_flat(nested: TrainedAgent) -> None:
    deep = nested.act({"eye": {"cell": CELL, "pair": (SEEN, [[0, 1]])}})
    nested.reset()
    assert nested.act({"eye/cell": CELL, "eye/pair/0": SEEN, "eye/pair/1": [[0, 1]]}) == deep


def test_a_bare_observation_is_called_observation_in_messages(bare: TrainedAgent) -> None:
    with pytest.raises(AmagoError) as caught:
        bare.act([0.5, 1.0])
    assert str(caught.value) == (
        "observation 'observation' has shape (2,), expected (1, 2): B environments first."
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"reward": [0.0, 0.0]},
            "reward has shape (2,), expected (1,): one per environment. "
            "To act in 2 environments, call reset(batch=2) first.",
        ),
        ({"reward": [[0.0]]}, "reward has shape (1, 1), expected (1,): one per environment."),
        (
            {"done": [True, False]},
            "done has shape (2,), expected (1,): one per environment. "
            "To act in 2 environments, call reset(batch=2) first.",
        ),
        ({"done": [0.5]}, "done is of type float64 and cannot become bool without loss."),
        ({"reward": [float("nan")]}, "reward is not finite: [nan]."),
        ({"reward": 1e39}, "reward is not finite: inf."),
        ({"reward": None}, "reward is of type object and cannot become float32 without loss."),
    ],
)
def test_reward_and_done_of_a_wrong_shape_or_type_are_an_error(
    bare: TrainedAgent, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(AmagoError) as caught:
        bare.act(SEEN, **given)
    assert str(caught.value) == message


@pytest.mark.parametrize("batch", [0, -1, 2.5])
def test_a_batch_that_is_not_a_positive_integer_is_an_error(bare: TrainedAgent, batch: Any) -> None:
    with pytest.raises(AmagoError) as caught:
        bare.reset(batch)
    assert (
        str(caught.value)
        == f"reset(batch={batch}): batch is the number of environments, a positive integer."
    )


def test_a_call_that_raises_leaves_the_memory_unchanged(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", lambda: Walk(9, action=BOX))
    agent, other = amago_core.load(run), amago_core.load(run)
    for one in (agent, other):
        one.act(SEEN)
    with pytest.raises(AmagoError):
        agent.act(SEEN, [0.5, 0.5], True)
    assert np.array_equal(agent.act(SEEN, 0.5), other.act(SEEN, 0.5))


def test_lists_are_converted_like_arrays(named: TrainedAgent) -> None:
    arrays = {"seen": np.array(SEEN, np.float32), "cell": np.array(CELL, np.uint8)}
    shown: list[dict[str, torch.Tensor]] = []
    act = named.agent.act
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            named.agent, "act", lambda obs, *a, **k: (shown.append(obs), act(obs, *a, **k))[1]
        )
        named.act({"seen": SEEN, "cell": CELL}, [1], [0])
        named.act(arrays, np.ones(1), np.zeros(1, bool))
    for key in arrays:
        assert shown[0][key].dtype == shown[1][key].dtype
        assert torch.equal(shown[0][key], shown[1][key])


def test_the_acting_state_is_reset_only_where_a_task_is_done(
    bare: TrainedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[list[bool]] = []
    reset = bare.agent.reset
    monkeypatch.setattr(
        bare.agent, "reset", lambda state, mask: (masks.append(mask.tolist()), reset(state, mask))[1]
    )
    bare.reset(batch=2)
    for done in (False, [False, True], [False, False]):
        bare.act(SEEN * 2, 0.0, done)
    bare.reset()
    assert masks == [[False, True]]


def test_a_folder_without_a_run_or_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AmagoError) as caught:
        amago_core.load(tmp_path / "nothing")
    assert str(caught.value) == f"{tmp_path / 'nothing'} is not a run: it does not exist."
    run = trained(tmp_path / "run", Walk)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(AmagoError) as caught:
        amago_core.load(run)
    assert str(caught.value) == f"{run} holds no checkpoint."


def test_the_newest_intact_checkpoint_is_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained(tmp_path / "run", Walk)
    *_, before, newest = sorted((run / "checkpoints").glob("round-*"))
    (newest / "model.safetensors").write_bytes(b"")
    amago_core.load(run)
    assert caplog.messages == [
        f"the checkpoint {newest} is damaged: "
        "model.safetensors does not have the checksum it was written with",
        f"the checkpoint before it is used: {before} (round 2, update 4)",
    ]
