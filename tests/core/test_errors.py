"""The drawing of the exception tree matches the classes; what is printed below an error's message."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import pytest
from toys import Walk

import amago_core
from amago_core import errors
from amago_core.environments import CheckedEnv, EnvironmentFault
from amago_core.errors import AmagoError, CatalogError, notes_of

LINE = re.compile(r"^([|` -]*)(\w+)  +\w", re.MULTILINE)


def drawn() -> dict[str, str]:
    """Return the parent of each class in the drawing, by name."""
    above: list[str] = []
    parents = {}
    for indent, name in LINE.findall(errors.__doc__ or ""):
        depth = len(indent) // 4
        if depth:
            parents[name] = above[depth - 1]
        above[depth:] = [name]
    return parents


def below(base: type[AmagoError]) -> Iterator[type[AmagoError]]:
    for child in base.__subclasses__():
        yield child
        yield from below(child)


def test_the_drawing_matches_the_exception_classes() -> None:
    for module in walk_packages(amago_core.__path__, "amago_core."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    classes = {error for error in below(AmagoError) if error.__module__.startswith("amago_core.")}
    assert drawn() == {
        error.__name__: error.__bases__[0].__name__ for error in {*classes, CatalogError}
    }


def test_an_environment_fault_shows_the_traceback_of_its_cause() -> None:
    class Arm(Walk):
        def step(self, action: Any) -> Any:
            raise KeyError("pos")

    with pytest.raises(EnvironmentFault) as caught:
        CheckedEnv(Arm(), "arm").take(0)
    (trace,) = notes_of(caught.value)
    first, *frames, last = trace.splitlines()
    assert (first, last) == ("Traceback (most recent call last):", "KeyError: 'pos'")
    assert f'File "{__file__}"' in frames[0]
    assert "raise KeyError" in frames[-1] or "raise KeyError" in frames[-2]
    caught.value.add_note("output of a process")
    assert notes_of(caught.value) == ["output of a process"]
    assert notes_of(AmagoError("a mistake in a spec")) == []
