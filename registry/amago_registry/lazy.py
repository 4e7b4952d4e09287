"""Lazy exports of a package: a name's module is imported when the name is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for the package that imports a name's module when it is first used.

    Args:
        package: ``__name__`` of the package.
        modules: The module of each exported name, relative to the package; ``"module:name"`` if the
            attribute of the module has another name.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = modules[name].partition(":")
        return getattr(import_module(f"{package}.{module}"), attribute or name)

    return get
