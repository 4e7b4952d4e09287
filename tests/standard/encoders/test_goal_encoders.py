"""Encoders that read goals by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import leaky_relu

from amago_registry import EncoderContext, UnsupportedSpaceError
from amago_standard.encoders import GoalMLP, GoalRNN, GridCNN, MLPEncoder
from amago_standard.encoders.goals import GoalTokens
from amago_standard.encoders.options import GoalMLPOptions, GoalRNNOptions

CELLS = spaces.Box(-1, 10, (3, 2), np.int64)
INNER = {"use": "mlp", "hidden_dims": [8], "out_dim": 5, "normalize": False}


def context(**observations: spaces.Space[Any]) -> EncoderContext:
    return EncoderContext(observation_space=spaces.Dict(observations), action_space=spaces.Discrete(2))


def seen(rows: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "obs": torch.randn(rows, 7, generator=generator),
        "goals": torch.randint(-1, 11, (rows, 3, 2), generator=generator),
    }


ACTION, REWARD = torch.tensor([[0.0, 1.0]] * 4), torch.tensor([0.0, 1.0, 2.0, 3.0])
MAZE = context(obs=spaces.Box(0, 1, (7,)), goals=CELLS)


@pytest.mark.parametrize(("part", "options"), [(GoalMLP, GoalMLPOptions), (GoalRNN, GoalRNNOptions)])
def test_goals_and_the_rest_meet_in_one_layer(part: Any, options: Any) -> None:
    module = part(MAZE, options(inner=INNER, goal_dim=6, out_dim=3)).eval()
    obs = seen()
    rest = module.inner({"obs": obs["obs"]}, ACTION, REWARD)
    fused = torch.cat([rest, module.goals[0](obs["goals"])], -1)
    assert fused.shape == (4, 5 + 6)
    expected = module.norm(leaky_relu(module.fuse(fused)))
    torch.testing.assert_close(module(obs, ACTION, REWARD), expected)


def test_the_inner_encoder_is_never_shown_the_goals() -> None:
    module = GoalMLP(MAZE, GoalMLPOptions(inner=INNER))
    assert isinstance(module.inner, MLPEncoder)
    assert list(module.inner.inputs.observations) == ["obs"]
    shown: list[dict[str, Tensor]] = []
    module.inner.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    module(seen(), ACTION, REWARD)
    assert list(shown[0]) == ["obs"]


def test_flat_goals_are_coordinates_end_to_end() -> None:
    module = GoalMLP(MAZE, GoalMLPOptions(inner=INNER, normalize=False, hidden_dims=[]))
    flat = seen()["goals"].reshape(4, 6).float()
    torch.testing.assert_close(module.goals[0](seen()["goals"]), module.goals[0].net(flat))


def test_tokens_are_read_goal_by_goal_as_a_loop_would() -> None:
    torch.manual_seed(0)
    options = GoalRNNOptions(token_dim=3, goal_dim=4)
    module = GoalTokens(
        "goals", spaces.MultiDiscrete([[4, 2], [5, 2]], start=[[-1, 7], [-1, 7]]), options
    )
    module.double()
    assert module.tokens.num_embeddings == 5 + 2
    cell = torch.nn.GRUCell(6, 4).double()
    cell.load_state_dict(
        {name[: -len("_l0")]: value for name, value in module.gru.state_dict().items()}
    )
    for goals in ([[-1, 7], [3, 8]], [[0, 8], [2, 7]]):
        state = torch.zeros(4, dtype=torch.float64)
        for first, second in goals:
            table = module.tokens.weight
            state = cell(torch.cat([table[first + 1], table[5 + second - 7]]), state)
        torch.testing.assert_close(module(torch.tensor([goals]))[0], state)


@pytest.mark.parametrize(
    ("space", "places", "tokens"),
    [
        (spaces.Box(-1, 10, (3, 2), np.int64), (3, 2), 24),
        (spaces.Box(0, 255, (3,), np.uint8), (3, 1), 256),
        (spaces.Discrete(5, start=2), (1, 1), 5),
        (spaces.MultiBinary((2, 3)), (2, 3), 6),
        (spaces.MultiDiscrete([3, 4]), (2, 1), 4),
    ],
    ids=str,
)
def test_spaces_of_whole_numbers_are_tokens(
    space: spaces.Space, places: tuple[int, int], tokens: int
) -> None:
    module = GoalTokens("goals", space, GoalRNNOptions())
    assert (module.places, module.coordinates) == places
    assert module.tokens.num_embeddings == tokens
    drawn = torch.tensor(np.stack([space.sample() for _ in range(20)]))
    assert module(drawn).shape == (20, 64)
    assert module(drawn[:0]).shape == (0, 64)


@pytest.mark.parametrize(
    "space", [spaces.Box(0, 1, (2,)), spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64)], ids=str
)
def test_numbers_that_are_no_tokens_are_refused(space: spaces.Space) -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        GoalRNN(context(goals=space), GoalRNNOptions())
    assert str(caught.value) == (
        f"the encoder goal-rnn cannot read the goals 'goals' of space {space} as tokens: it takes "
        "MultiDiscrete, MultiBinary, Discrete and a Box of an integer type, of at most 100,000 values "
        "in all. goal-mlp takes any numbers."
    )


def test_goals_go_with_any_other_encoder() -> None:
    asked = context(goals=CELLS, view=spaces.Box(0, 255, (7, 7, 3), np.uint8))
    module = GoalRNN(asked, GoalRNNOptions(inner={"use": "grid-cnn", "out_dim": 9}))
    assert isinstance(module.inner, GridCNN)
    obs = {"goals": seen()["goals"], "view": torch.zeros(4, 7, 7, 3, dtype=torch.uint8)}
    assert module(obs, ACTION, REWARD).shape == (4, 256)


def test_two_keys_of_goals_have_a_network_each() -> None:
    asked = context(goals=CELLS, far=spaces.Discrete(3))
    module = GoalMLP(asked, GoalMLPOptions(goal_keys=["goals", "far"], inner=INNER, goal_dim=6))
    assert module.goal_keys == ("far", "goals")
    assert module.fuse.in_features == 5 + 2 * 6
    obs = {"goals": seen()["goals"], "far": torch.tensor([0, 1, 2, 0])}
    assert module(obs, ACTION, REWARD).shape == (4, 256)


def test_a_goal_key_that_is_not_observed_is_an_error() -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        GoalMLP(MAZE, GoalMLPOptions(goal_keys=["goal", "target", "obs"]))
    assert str(caught.value) == (
        "the encoder goal-mlp takes its goal_keys for goals: 'goal' is not observed. Did you mean "
        "'goals'? 'target' is not observed. The observations are goals, obs."
    )


def test_an_encoder_without_goal_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="Tuple should have at least 1 item"):
        GoalMLPOptions(goal_keys=[])
