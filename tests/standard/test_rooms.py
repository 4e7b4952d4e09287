"""Public names of the rooms, and the README's table of components."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import amago_standard
from amago_registry import KINDS
from amago_standard import hooks

FOLDER = Path(amago_standard.__file__ or "").parent
README = FOLDER.parent / "README.md"
ROOMS = sorted(
    file.parent.name for file in FOLDER.glob("*/__init__.py") if file.parent.name != "layers"
)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_exactly_what_a_type_checker_sees(room: str) -> None:
    module = import_module(f"amago_standard.{room}")
    tree = ast.parse((FOLDER / room / "__init__.py").read_text("utf-8"))
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert sorted(module.__all__) == sorted(alias.name for node in imports for alias in node.names)
    assert [getattr(module, name).__name__ for name in module.__all__] == module.__all__


@pytest.mark.parametrize("room", ROOMS)
def test_a_name_that_a_room_lacks_is_an_attribute_error(room: str) -> None:
    with pytest.raises(AttributeError) as caught:
        import_module(f"amago_standard.{room}").Nothing  # noqa: B018
    assert str(caught.value) == f"module 'amago_standard.{room}' has no attribute 'Nothing'"


def test_the_readme_lists_every_part_in_its_room() -> None:
    rows = re.findall(r"^\| `(\w+)/` \| (\w+) \| (.*) \|$", README.read_text("utf-8"), re.MULTILINE)
    listed = {(room, kind, name) for room, kind, names in rows for name in names[1:-1].split("`, `")}
    offered = {
        (component.target.split(".")[1], kind.name, component.name)
        for kind in KINDS.values()
        for component in getattr(hooks, kind.hook)()
    }
    assert listed == offered
    assert [kind for _, kind, _ in rows] == list(KINDS)
