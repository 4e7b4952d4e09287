"""The plugin of the README is examples/memory-zoo, word for word, and what it says of laws is so."""

from __future__ import annotations

import re
import textwrap
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from amago_registry import testing
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
    for piece in STEPS[file].split("...\n"):
        assert piece.strip()
        _, found, text = text.partition(piece)
        assert found, (
            f"{file} does not say, after what is shown before:\n{textwrap.indent(piece, '  ')}"
        )


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

    def noted(law: Any) -> Any:
        def check(*args: Any, **settings: Any) -> None:
            law(*args, **settings)
            obeyed.append(law)

        return check

    for law in testing.ENVIRONMENT_LAWS:
        names = {"with_options": testing.with_options, "component": parts["gymnasium"]}
        exec(environment, names | {"law": noted(law)})
    for law in testing.RELABELER_LAWS:
        names = {"component": parts["none"], "columns": walks()[0]}
        exec(relabeler, names | {"law": noted(law)})
    assert obeyed == [*testing.ENVIRONMENT_LAWS, *testing.RELABELER_LAWS]
