"""The tree of what can go wrong is the one that the engine's classes form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import amago_core
from amago_core import errors
from amago_core.errors import AmagoError, CatalogError

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


def test_the_drawing_is_the_tree_of_the_engines_errors() -> None:
    for module in walk_packages(amago_core.__path__, "amago_core."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    own = {error for error in below(AmagoError) if error.__module__.startswith("amago_core.")}
    assert drawn() == {error.__name__: error.__bases__[0].__name__ for error in {*own, CatalogError}}
