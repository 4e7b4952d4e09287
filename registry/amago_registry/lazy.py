"""Names that a package exports without importing the modules they live in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for the package that imports a name's module when it is first used.

    Args:
        package: ``__name__`` of the package.
        homes: The module of each exported name, relative to the package; ``"module:name"`` where the
            name there is another one.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = homes[name].partition(":")
        return getattr(import_module(f"{package}.{module}"), attribute or name)

    return get
