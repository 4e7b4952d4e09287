"""Find the plugins that a run was trained with and that are not installed, and say what to install."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from amago_core.run_folder.run_dir import RunDir
from amago_core.system.untrusted_files import read_regular
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_registry.catalog import Catalog


_MAX_BYTES = 1 << 24

# The message holds a command to type, so no other text of an untrusted file may get into it.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")

_VERSION = re.compile(r"[0-9][A-Za-z0-9.+!-]*")

_USE = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


class MissingPluginError(AmagoError):
    """A part of a run whose plugin is not installed here, or only in a version without that part."""


def missing_parts(spec: Any, catalog: Catalog | None = None) -> dict[str, str]:
    """Return the parts that a run's resolved spec names and that are not installed, by spec key.

    Args:
        spec: The spec, or the value of one of its keys.
        catalog: The installed components.
    """
    from amago_registry.catalog import installed

    catalog = installed() if catalog is None else catalog
    known = {entry.name for entry in catalog.entries()}
    return {key: use for key, use in _uses(spec, ()) if use not in known and _USE.fullmatch(use)}


def check_plugins(run: RunDir, spec: Mapping[str, Any], catalog: Catalog | None = None) -> None:
    """Raise unless all plugins that a run's resolved spec names are installed.

    Args:
        run: The run's folder, which holds the versions it was trained with.
        spec: The spec, or the part of it that is needed.
        catalog: The installed components.

    Raises:
        MissingPluginError: Listing every missing part, and what to install.
    """
    from amago_registry.catalog import installed

    catalog = installed() if catalog is None else catalog
    missing = missing_parts(spec, catalog)
    if not missing:
        return
    plugins = {plugin.name: plugin for plugin in catalog.plugins}
    names = sorted({use.partition("/")[0] for use in missing.values()})
    lines = [f"{run.path} was trained with parts that are not installed here:"]
    lines += [f"  {key}: {use}" for key, use in missing.items()]
    trained_with = _distributions(run)
    for name in names:
        here = plugins.get(name)
        if here is not None and here.broken is not None:
            lines.append(f"The plugin {name} is installed but broken: {here.broken}")
            continue
        version = f" Installed is {here.distribution} {here.version}." if here is not None else ""
        lines.append(f"{_advice(name, trained_with)}{version}")
    raise MissingPluginError("\n".join(lines))


def _advice(plugin: str, trained_with: Mapping[str, str]) -> str:
    for distribution in (f"amago-{plugin}", plugin):
        if distribution in trained_with:
            version = trained_with[distribution]
            return (
                f"The plugin {plugin} was {distribution} {version}: "
                f"pip install '{distribution}=={version}'"
            )
    return f"The run does not say which version of the plugin {plugin} it was trained with."


def _distributions(run: RunDir) -> dict[str, str]:
    """Return the versions the run was last trained with; empty where they cannot be read."""
    try:
        versions = json.loads(read_regular(run.versions, _MAX_BYTES))[-1]["versions"]
        return {
            name: version
            for name, version in versions.items()
            if _DISTRIBUTION.fullmatch(name) and _VERSION.fullmatch(version)
        }
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return {}


def _uses(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the spec key and the name of every part, nested ones included."""
    if isinstance(node, Mapping):
        use = node.get("use")
        if isinstance(use, str):
            yield ".".join(path), use
        for key, value in node.items():
            yield from _uses(value, (*path, str(key)))
    elif isinstance(node, list | tuple):
        for index, item in enumerate(node):
            yield from _uses(item, (*path, str(index)))
