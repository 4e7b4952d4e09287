"""Plugins of this project that are installed one by one: their dependencies are heavy, or at odds."""

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
"""Which plugin has a part, by its kind and its name."""


def not_installed(kind: str, installed: Collection[str]) -> tuple[str, ...]:
    """Return the names of parts of a kind whose plugin is ours and is not among those installed."""
    return tuple(
        name for (of, name), plugin in _PLUGINS.items() if of == kind and plugin not in installed
    )


def offered_by(kind: str, use: str, installed: Collection[str]) -> str:
    """Return a space and what to install for a part; empty where that is not known, or would not help.

    Args:
        kind: Name of the kind.
        use: What a spec calls the part: ``name`` or ``plugin/name``.
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
