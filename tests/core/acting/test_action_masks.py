"""Action masks in observations, and parts that must support them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from toys import Choosy, Listener, Walk, tiny

import amago_core
from amago_core.acting.action_masks import action_mask, check_mask, check_takes_mask, shows_mask
from amago_core.compose.tasks import compose_task
from amago_core.errors import AmagoError
from amago_registry.errors import UnsupportedSpaceError

MOVES, DIALS = spaces.Discrete(3), spaces.MultiDiscrete([3, 2])
FORCE, SWITCHES = spaces.Box(-1, 1, (3,)), spaces.MultiBinary(3)


def seeing(mask: spaces.Space[Any]) -> spaces.Dict:
    return spaces.Dict(action_mask=mask, clock=spaces.Discrete(9))


def test_only_discrete_actions_have_a_mask() -> None:
    assert shows_mask(seeing(spaces.MultiBinary(3)), MOVES)
    assert shows_mask(seeing(spaces.MultiBinary(5)), DIALS)
    assert not shows_mask(seeing(spaces.MultiBinary(3)), FORCE)
    assert not shows_mask(seeing(spaces.MultiBinary(3)), SWITCHES)
    assert not shows_mask(spaces.Dict(mask=spaces.MultiBinary(3)), MOVES)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.bool_])
def test_masks_in_arrays_and_tensors_are_read_as_booleans(dtype: Any) -> None:
    values = np.array([[[1], [0]], [[0], [0]]], dtype)
    expected = [[True, False], [False, False]]
    assert action_mask({"action_mask": values}).tolist() == expected
    mask_NA = action_mask({"action_mask": torch.from_numpy(values)})
    assert (mask_NA.dtype, mask_NA.tolist()) == (torch.bool, expected)


@pytest.mark.parametrize(
    ("mask", "acted"),
    [
        (spaces.MultiBinary(3), MOVES),
        (spaces.Box(0, 1, (3,), np.int8), MOVES),
        (spaces.Box(0, 1, (3, 1), np.float32), MOVES),
        (spaces.MultiBinary(5), DIALS),
        (spaces.MultiDiscrete([2, 2, 2]), MOVES),
        (spaces.MultiDiscrete([[2], [2], [2]]), MOVES),
        (spaces.Box(-9, 9, (7,)), FORCE),
        (spaces.Discrete(2), SWITCHES),
    ],
    ids=str,
)
def test_a_mask_needs_one_value_per_choice_of_discrete_actions_only(mask: Any, acted: Any) -> None:
    check_mask(seeing(mask), acted)


@pytest.mark.parametrize(
    ("mask", "acted", "message"),
    [
        (
            spaces.MultiBinary(4),
            MOVES,
            "its action_mask is MultiBinary(4), of 4 values; "
            "a mask over Discrete(3) is one array of 3 values 0 or 1, such as MultiBinary(3).",
        ),
        (
            spaces.MultiBinary(6),
            DIALS,
            "its action_mask is MultiBinary(6), of 6 values; "
            "a mask over MultiDiscrete([3 2]) is one array of 5 values 0 or 1, such as MultiBinary(5).",
        ),
        (
            spaces.Box(-1, 1, (3,)),
            MOVES,
            "its action_mask is Box(-1.0, 1.0, (3,), float32), which has other values; "
            "a mask over Discrete(3) is one array of 3 values 0 or 1, such as MultiBinary(3).",
        ),
        (
            spaces.MultiDiscrete([2, 2]),
            MOVES,
            "its action_mask is MultiDiscrete([2 2]), of 2 values; "
            "a mask over Discrete(3) is one array of 3 values 0 or 1, such as MultiBinary(3).",
        ),
        (
            spaces.MultiDiscrete([2, 3, 2]),
            MOVES,
            "its action_mask is MultiDiscrete([2 3 2]), which has other values; "
            "a mask over Discrete(3) is one array of 3 values 0 or 1, such as MultiBinary(3).",
        ),
        (
            spaces.MultiDiscrete([2, 2, 2], start=[1, 1, 1]),
            MOVES,
            "its action_mask is MultiDiscrete([2 2 2], start=[1 1 1]), which has other values; "
            "a mask over Discrete(3) is one array of 3 values 0 or 1, such as MultiBinary(3).",
        ),
        (
            spaces.Discrete(2),
            spaces.Discrete(1),
            "its action_mask is Discrete(2), which is not an array; "
            "a mask over Discrete(1) is one array of 1 values 0 or 1, such as MultiBinary(1).",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_an_observation_that_cannot_be_a_mask_is_refused(mask: Any, acted: Any, message: str) -> None:
    with pytest.raises(UnsupportedSpaceError) as caught:
        check_mask(seeing(mask), acted)
    assert str(caught.value) == message


class Counting(Choosy):
    """Its mask is a MultiDiscrete observation of 0 and 1."""

    def __init__(self) -> None:
        super().__init__(spaces.Discrete(3))
        self.observation_space = seeing(spaces.MultiDiscrete([2, 2, 2]))

    def _observe(self) -> Any:
        seen = super()._observe()
        return {**seen, "action_mask": seen["action_mask"].astype(np.int64), "clock": self.time % 9}


def test_a_multi_discrete_mask_is_obeyed_in_training_and_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment raises on masked actions; ten steps pay 10."""
    monkeypatch.setattr("amago_core.run_folder.plots.plot_run", lambda folder, evaluation: None)
    spec, run = tiny(environment=None), tmp_path / "run"
    amago_core.train(spec, environment=Counting, run=run, reporter=Listener())
    assert amago_core.evaluate(run, environment=Counting).mean_return == 10


class Wrong(Walk):
    """A walk with two dials that shows one mask for each of them."""

    def __init__(self) -> None:
        super().__init__(action=DIALS)
        parts = spaces.Tuple([spaces.MultiBinary(3), spaces.MultiBinary(2)])
        self.observation_space = spaces.Dict(action_mask=parts)


def test_a_mask_in_parts_is_refused_when_the_task_is_composed() -> None:
    def walk() -> gymnasium.Env[Any, Any]:
        return Wrong()

    with pytest.raises(UnsupportedSpaceError) as caught:
        compose_task(None, 0, walk)
    assert str(caught.value) == (
        "environment walk: its action_mask is in 2 parts; "
        "a mask over MultiDiscrete([3 2]) is one array of 5 values 0 or 1, such as MultiBinary(5)."
    )


class Blind(nn.Module):
    """An actor without an argument for the mask."""

    def forward(self, state_NE: Tensor) -> Tensor:
        return state_NE


class Seeing(nn.Module):
    """An actor that takes a mask under another name."""

    def forward(self, state_NE: Tensor, allowed: Tensor | None = None) -> Tensor:
        return state_NE


def explore(action: Any, time_B: Any, step: int, rng: Any) -> Any:
    return action


@pytest.mark.parametrize(
    ("part", "kind", "call", "message"),
    [
        (
            Blind(),
            "actor",
            ("state_NE", "action_mask_NA"),
            "environment walk has an action_mask, which the actor zoo/part does not support: it would "
            "be called with (state_NE, action_mask_NA), and takes no action_mask_NA. "
            "To see the others, type: amago components actor",
        ),
        (
            explore,
            "exploration",
            ("action", "time_B", "step", "rng", "action_mask_BA"),
            "environment walk has an action_mask, which the exploration zoo/part does not support: "
            "it would be called with (action, time_B, step, rng, action_mask_BA), "
            "and takes no action_mask_BA. "
            "To see the others, type: amago components exploration",
        ),
    ],
)
def test_a_part_without_a_mask_argument_is_refused(
    part: Any, kind: str, call: tuple[str, ...], message: str
) -> None:
    with pytest.raises(AmagoError) as caught:
        check_takes_mask(part, kind, "zoo/part", call, "walk")
    assert str(caught.value) == message


def test_the_mask_argument_may_have_any_name() -> None:
    check_takes_mask(Seeing(), "actor", "zoo/part", ("state_NE", "action_mask_NA"), "walk")
