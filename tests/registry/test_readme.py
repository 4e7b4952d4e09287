"""The README's plugin is examples/memory-zoo, word for word; its statements about laws are true."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import yaml
from gymnasium import spaces

import amago_core
from amago_registry import Component, Options, RelabelerContext, testing
from amago_registry.testing.other_goals import difference, played, replayed
from amago_registry.testing.playing import players
from amago_registry.testing.relabelers import walks
from amago_standard.hooks import amago_register_environments, amago_register_relabelers

ROOT = Path(__file__).parents[2]
README = (ROOT / "registry" / "README.md").read_text("utf-8")
STEPS: dict[str, str] = dict(
    re.findall(r"^\*\*\d\. `(.*?)`\*\*:.*?^```\w+\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
)


def test_there_are_five_steps() -> None:
    package = "amago_memory_zoo"
    modules = [f"{package}/{name}.py" for name in ("options", "traces", "hooks")]
    assert list(STEPS) == ["pyproject.toml", *modules, "tests/test_laws.py"]


@pytest.mark.parametrize("file", STEPS)
def test_each_step_shows_its_file_in_order(file: str) -> None:
    text = (ROOT / "examples" / "memory-zoo" / file).read_text("utf-8")
    for excerpt in STEPS[file].split("...\n"):
        assert excerpt.strip()
        _, found, text = text.partition(excerpt)
        assert found, f"{file} lacks, after the previous excerpt:\n{textwrap.indent(excerpt, '  ')}"


def test_the_last_step_runs_every_law_on_every_backbone() -> None:
    names: dict[str, Any] = {"__name__": "test_laws"}
    exec(STEPS["tests/test_laws.py"], names)
    check = names["test_backbone_obeys"]
    given = {mark.args[0]: mark.args[1] for mark in check.pytestmark}
    assert given["law"] is testing.BACKBONE_LAWS
    assert [component.name for component in given["component"]] == ["traces"]
    for component, law in product(given["component"], given["law"]):
        check(component, law)


def test_the_table_of_kinds_lists_the_laws_there_are() -> None:
    listed = re.findall(r"^\| (\w+) \|.*\| `(\w+_LAWS)` \|$", README, flags=re.MULTILINE)
    assert all(laws == f"{kind.upper()}_LAWS" for kind, laws in listed)
    assert sorted(laws for _, laws in listed) == [n for n in testing.__all__ if n.endswith("_LAWS")]
    assert len(listed) == 9


def test_laws_take_what_a_part_needs_as_the_readme_says() -> None:
    (block,) = re.findall(r"^```python\n(law\(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    environment, relabeler = block.splitlines()
    parts = {c.name: c for c in [*amago_register_environments(), *amago_register_relabelers()]}
    obeyed: list[Any] = []

    def counted(law: Any) -> Any:
        def check(*args: Any, **settings: Any) -> None:
            law(*args, **settings)
            obeyed.append(law)

        return check

    for law in testing.ENVIRONMENT_LAWS:
        names = {"with_options": testing.with_options, "component": parts["gymnasium"]}
        exec(environment, names | {"law": counted(law)})
    for law in testing.RELABELER_LAWS:
        names = {"component": parts["none"], "columns": walks()[0]}
        exec(relabeler, names | {"law": counted(law)})
    assert obeyed == [*testing.ENVIRONMENT_LAWS, *testing.RELABELER_LAWS]


def relabeler_blocks() -> list[str]:
    """Return the code of the relabeler section: an environment, a relabeler, a ``with_goals``."""
    section = README.partition("### `amago_register_relabelers()")[2].partition("\n### ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)


def readme_relabeler() -> dict[str, Any]:
    """Return the names that the relabeler section defines for goals of another form."""
    _, relabeler, method = relabeler_blocks()
    names: dict[str, Any] = {"__name__": "readme_relabeler", "lines": relabeler.count("\n")}
    exec(relabeler, names)
    exec(method, names)
    return names


def test_the_line_of_the_readme_obeys_the_laws_and_hindsight_trains_on_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names: dict[str, Any] = {"__name__": "readme_line"}
    exec(relabeler_blocks()[0], names)
    offer = {"make": lambda self: names["Line"](), "with_goals": staticmethod(names["with_goals"])}
    part = type("Part", (), {"__init__": lambda self, context, options: None, **offer})
    monkeypatch.setitem(sys.modules, "readme_line", SimpleNamespace(Part=part))
    for law in testing.ENVIRONMENT_LAWS:
        law(Component("line", "readme_line:Part", Options, "for tests"))
    spec = yaml.safe_load((ROOT / "examples" / "maze-runner.yaml").read_text("utf-8"))
    del spec["environment"]
    (tmp_path / "line.yaml").write_text(json.dumps(spec))
    short = ["agent.context_length=20", "training.steps_per_round=40", "training.rounds=1"]
    short += ["training.updates_per_round=2", "evaluation.every=0", "running.threads=1"]
    result = amago_core.train(
        tmp_path / "line.yaml", short, run=tmp_path / "run", environment=names["make_line"]
    )
    assert result.updates == 2


def run(*places: float) -> dict[str, np.ndarray]:
    """Return a truncated trajectory along an axis that does not reach its goal."""
    length = len(places) - 1
    position = np.array([[place, 0.0] for place in places])
    return {
        "obs.observation": position.astype(np.float32),
        "obs.goal": np.full((length + 1, 2), 9, np.float32),
        "position": position,
        "action": np.arange(length),
        "reward": np.zeros(length, np.float32),
        "terminated": np.zeros(length, bool),
        "truncated": np.arange(length) == length - 1,
    }


def test_the_readme_relabeler_has_thirty_lines_and_obeys_the_laws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = readme_relabeler()
    monkeypatch.setitem(sys.modules, "readme_relabeler", SimpleNamespace(**names))
    assert names["lines"] <= 30
    (law_line,) = re.findall(r"^`(law\(component, trajectory=columns, context=.*\))`\.$", README, re.M)
    part = type("Part", (), {"with_goals": names["with_goals"]})()
    component = Component("place", "readme_relabeler:Place", names["PlaceOptions"], "for tests")
    for law in testing.RELABELER_LAWS:
        known = {"law": law, "component": component, "columns": run(0, 1, 2, 3, 2)}
        exec(law_line, known | {"part": part, "RelabelerContext": RelabelerContext})


class Meadow(gymnasium.Env[Any, Any]):
    """The relabeler's environment, and its part: 12 steps of length 1 along two axes."""

    observation_space = spaces.Dict(
        observation=spaces.Box(-12, 12, (2,), np.float32), goal=spaces.Box(-12, 12, (2,), np.float32)
    )
    action_space = spaces.Discrete(4)
    recorded_space = spaces.Dict(position=spaces.Box(-12, 12, (2,), np.float64))
    horizon = 12

    def __init__(self, context: Any, options: Any) -> None:
        self.asked = context, options

    def make(self) -> Meadow:
        return type(self)(*self.asked)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.place, self.time = np.zeros(2), 0
        self.goal = (options or {}).get("goals", self.np_random.integers(-2, 3, 2))
        return self.see(), {"position": self.place.copy()}

    def step(self, action: Any) -> Any:
        self.time += 1
        self.place[action // 2] += 2 * (action % 2) - 1
        there = bool(np.linalg.norm(self.place - self.goal) < 0.1)
        late = not there and self.time == self.horizon
        return self.see(), float(there), there, late, {"position": self.place.copy()}

    def see(self) -> dict[str, np.ndarray]:
        return {"observation": self.place.astype(np.float32), "goal": self.goal.astype(np.float32)}


def test_with_goals_of_the_readme_equals_a_replay_and_obeys_the_laws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part = type("Part", (Meadow,), {"with_goals": readme_relabeler()["with_goals"]})
    monkeypatch.setitem(sys.modules, "readme_environment", SimpleNamespace(Part=part))
    component = Component("meadow", "readme_environment:Part", Options, "for tests")
    for law in testing.ENVIRONMENT_LAWS:
        law(component)
    reached = 0
    with players(component) as (player,):
        for seed in range(5):
            walk = played(player, seed, 12)
            for goal in (*walk.columns["position"][1:], np.array([9, 9])):
                replay = replayed(player, seed, walk.actions, goal)
                found = player.part.with_goals(walk.columns, goal)
                assert difference(found, replay.columns) is None
                reached += bool(found["terminated"][-1])
    assert reached > 5


def test_the_readme_relabeler_returns_the_rewards_of_its_environment() -> None:
    names = readme_relabeler()
    part = type("Part", (), {"with_goals": names["with_goals"]})()
    context = RelabelerContext(with_goals=part.with_goals)
    place = names["Place"](context, names["PlaceOptions"](probability=1.0))
    columns = place(run(0, 1, 2, 3, 2), np.random.default_rng(0))
    assert columns["reward"].tolist() == [0, 1]
    assert columns["obs.goal"].tolist() == [[2, 0]] * 3
    assert (columns["terminated"].tolist(), columns["truncated"].tolist()) == (
        [False, True],
        [False] * 2,
    )
    assert part.with_goals(columns, np.array([7, 7]))["truncated"].tolist() == [False, True]
