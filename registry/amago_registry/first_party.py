"""Plugins of this project that are installed separately: their dependencies are heavy or conflict."""

from __future__ import annotations

from collections.abc import Collection

_PLUGINS = {
    ("dataset", "minari"): "minari",
    ("encoder", "minigrid"): "minigrid",
    ("environment", "atari"): "atari",
    ("environment", "metaworld"): "metaworld",
    ("environment", "minigrid"): "minigrid",
    ("environment", "popgym"): "popgym",
}
"""The plugin of each part, by kind and name."""


def not_installed(kind: str, installed: Collection[str]) -> tuple[str, ...]:
    """Return the names of parts of a kind whose plugin belongs to this project and is not installed."""
    return tuple(
        name for (of, name), plugin in _PLUGINS.items() if of == kind and plugin not in installed
    )


def offered_by(kind: str, use: str, installed: Collection[str]) -> str:
    """Return a space and the ``pip install`` command for a part; empty if unknown or installed.

    Args:
        kind: Name of the kind.
        use: Name of the part in a spec: ``name`` or ``plugin/name``.
        installed: Names of the plugins that are installed, broken ones included.
    """
    plugin, _, name = use.rpartition("/")
    known = _PLUGINS.get((kind, name))
    if known is None or known in installed or plugin not in ("", known):
        return ""
    return (
        f" amago-{known} offers it, and is not installed: pip install ./plugins/{known} in this "
        "project's repository."
    )
