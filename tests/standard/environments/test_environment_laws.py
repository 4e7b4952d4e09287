"""Environment laws, for all components with default and very different options."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from amago_registry import Component
from amago_registry.testing import ENVIRONMENT_LAWS, Law, with_options
from amago_standard.hooks import amago_register_environments

ENVIRONMENTS = {component.name: component for component in amago_register_environments()}
MAZE, BANDIT, ROOM, DOOR, LAKE, MIXTURE, GYMNASIUM = (
    ENVIRONMENTS[name]
    for name in (
        "t-maze",
        "bandit",
        "dark-room",
        "dark-key-to-door",
        "meta-frozen-lake",
        "mixture",
        "gymnasium",
    )
)
TASKS = [{"use": "t-maze", "length": 4}, {"use": "bandit", "arms": 6, "pulls": 7}]
SWINGS = [{"use": "gymnasium", "id": "Pendulum-v1"}]
VARIANTS = {
    name: component for name, component in ENVIRONMENTS.items() if component not in (MIXTURE, GYMNASIUM)
} | {
    "short t-maze": with_options(MAZE, length=4),
    "active t-maze": with_options(MAZE, length=4, active=True),
    "gaussian bandit": with_options(BANDIT, pulls=7, gaussian=True),
    "small dark room": with_options(ROOM, size=3, attempts=2, attempt_limit=4),
    "short way to the door": with_options(DOOR, size=2, horizon=30, attempt_limit=7),
    "lit way to the door": with_options(DOOR, size=3, horizon=30, light=True, shuffle_actions=True),
    "small lake": with_options(LAKE, size=3, attempts=2),
    "lake with a way back": with_options(LAKE, size=3, attempts=2, recover=True),
    "hard lake": with_options(LAKE, size=3, attempts=2, hard=True),
    "mixture": with_options(MIXTURE, tasks=TASKS),
    "mixture that hides its task": with_options(MIXTURE, tasks=TASKS, show_task=False),
    "mixture of one continuous task": with_options(MIXTURE, tasks=SWINGS),
    "CartPole": with_options(GYMNASIUM, id="CartPole-v1"),
    "CartPole whose time limit terminates": with_options(
        GYMNASIUM, id="CartPole-v1", time_limit_terminates=True
    ),
    "Pendulum": with_options(GYMNASIUM, id="Pendulum-v1"),
    "Blackjack": with_options(GYMNASIUM, id="Blackjack-v1"),
}
WITHOUT_MUJOCO = pytest.mark.skipif(
    find_spec("mujoco") is None, reason="needs mujoco: pip install -e './plugins/standard[mujoco]'"
)
PARAMETERS = [
    pytest.param(component, id=name, marks=WITHOUT_MUJOCO if name == "half-cheetah-velocity" else ())
    for name, component in VARIANTS.items()
]


def test_every_environment_is_held_to_the_laws() -> None:
    tried = {component.target for component in VARIANTS.values()}
    assert tried == {component.target for component in ENVIRONMENTS.values()}


@pytest.mark.parametrize("law", ENVIRONMENT_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("component", PARAMETERS)
def test_environment_obeys(component: Component, law: Law) -> None:
    law(component)
