"""Finds the installed plugins, and keeps a broken one from breaking anything else.

A plugin is a distribution with entry points in the group ``amago``. Each is loaded alone, its hooks
are called alone and their results listed; whatever goes wrong on the way is remembered as the reason
why that one plugin is broken.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType

import pluggy

from amago_registry import hookspecs
from amago_registry.component import Component
from amago_registry.errors import did_you_mean, reason
from amago_registry.kinds import KINDS, Kind
from amago_registry.options import Options

GROUP = "amago"
"""The entry-point group of plugins."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Plugin:
    """An installed plugin and what it offers.

    Args:
        name: The distribution's name without ``amago-``; the first half of ``plugin/name``.
        distribution: The distribution's name.
        version: The distribution's version.
        offers: Each part with the name of its kind; empty where the plugin is broken.
        broken: Why nothing of it can be used; None where all is well.
    """

    name: str
    distribution: str
    version: str
    offers: tuple[tuple[str, Component], ...] = ()
    broken: str | None = None


class _BrokenError(Exception):
    """Its text is the reason why a plugin is broken."""


def discover() -> tuple[Plugin, ...]:
    """Read every installed plugin, in the order of their names."""
    loaders: dict[tuple[str, str], list[Callable[[], object]]] = {}
    for point in metadata.entry_points(group=GROUP):
        if point.dist is not None:
            key = (_normal(point.dist.name), point.dist.version)
            loaders.setdefault(key, []).append(_loader(point))
    plugins = [
        read_plugin(distribution, version, loaders[distribution, version])
        for distribution, version in sorted(loaders)
    ]
    return tuple(sorted(_without_twins(plugins), key=lambda plugin: plugin.name))


def read_plugin(distribution: str, version: str, loaders: Sequence[Callable[[], object]]) -> Plugin:
    """Load one plugin and list what it offers.

    Args:
        distribution: Name of the distribution, as in ``amago-memory-zoo``.
        version: Version of the distribution.
        loaders: Each imports one entry point and returns the module (or object) with the hooks.

    Returns:
        The plugin, marked as broken where anything about it is wrong.
    """
    name = distribution.removeprefix("amago-")
    try:
        offers = tuple(offer for load in loaders for offer in _offers(load()))
        _refuse_repeats(offers)
    except _BrokenError as broken:
        return Plugin(name, distribution, version, broken=str(broken))
    # Whatever it says of itself, from __dir__ to __repr__, is the plugin's own code.
    except (Exception, SystemExit) as error:
        why = f"reading its hooks raised {reason(error)}"
        return Plugin(name, distribution, version, broken=why)
    return Plugin(name, distribution, version, offers)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _loader(point: metadata.EntryPoint) -> Callable[[], object]:
    def load() -> object:
        try:
            return point.load()
        except (Exception, SystemExit) as error:
            raise _BrokenError(f"importing {point.value} raised {reason(error)}") from error

    return load


def _without_twins(plugins: Sequence[Plugin]) -> Iterator[Plugin]:
    """Two distributions may shorten to one plugin name; neither may pass for the other."""
    for plugin in plugins:
        twins = [other.distribution for other in plugins if other.name == plugin.name]
        if len(twins) > 1:
            why = f"the distributions {' and '.join(twins)} are both called {plugin.name}"
            yield Plugin(plugin.distribution, plugin.distribution, plugin.version, broken=why)
        else:
            yield plugin


def _offers(module: object) -> Iterator[tuple[str, Component]]:
    """Yield what one module's hooks return."""
    manager = pluggy.PluginManager("amago")
    manager.add_hookspecs(hookspecs)
    _refuse_unmarked(module)
    try:
        manager.register(module)
    except pluggy.PluginValidationError as error:
        raise _BrokenError(f"a hook has the wrong signature: {' '.join(str(error).split())}") from error
    _refuse_unknown(manager, module)
    for kind in KINDS.values():
        for component in _call(manager, kind):
            yield kind.name, _checked(kind, component)


def _refuse_unmarked(module: object) -> None:
    for name, value in _members(module):
        function = getattr(value, "__func__", value)  # Of a static or class method.
        unmarked = inspect.isroutine(value) and not hasattr(function, "amago_impl")
        if name.startswith("amago_") and unmarked:
            raise _BrokenError(f"{name} lacks @hookimpl")


def _members(module: object) -> Iterable[tuple[str, object]]:
    """Return names and values as they lie there: no property, no lazy export is called for them."""
    if isinstance(module, ModuleType):
        return tuple(vars(module).items())
    return inspect.getmembers_static(module)


def _refuse_unknown(manager: pluggy.PluginManager, module: object) -> None:
    for caller in manager.get_hookcallers(module) or ():
        optional = all(implementation.optionalhook for implementation in caller.get_hookimpls())
        if not caller.has_spec() and not optional:
            close = did_you_mean(caller.name, (kind.hook for kind in KINDS.values()))
            raise _BrokenError(f"there is no hook called {caller.name}.{close}")


def _call(manager: pluggy.PluginManager, kind: Kind) -> list[object]:
    try:
        results: list[Iterable[object]] = getattr(manager.hook, kind.hook)()
        return [component for result in results for component in result]
    except (Exception, SystemExit) as error:
        raise _BrokenError(f"{kind.hook} raised {reason(error)}") from error


def _checked(kind: Kind, component: object) -> Component:
    if not isinstance(component, Component):
        what = f"{component!r:.60} ({type(component).__name__})"
        raise _BrokenError(f"{kind.hook} returned {what}, which is no Component")
    flaw = _flaw(component)
    if flaw:
        raise _BrokenError(f"{kind.hook} returned a Component whose {flaw}")
    return component


def _flaw(component: Component) -> str | None:
    if not isinstance(component.name, str) or not _NAME.fullmatch(component.name):
        return f"name {component.name!r} is not in kebab-case, as in 'min-gru'"
    if not isinstance(component.target, str) or not _TARGET.fullmatch(component.target):
        return f"target {component.target!r} is not 'module:attribute'"
    if not isinstance(component.options, type) or not issubclass(component.options, Options):
        return f"options {component.options!r} are no subclass of amago_registry.Options"
    if not isinstance(component.summary, str) or len(component.summary.splitlines()) != 1:
        return f"summary {component.summary!r} is not one line"
    return None


def _refuse_repeats(offers: Sequence[tuple[str, Component]]) -> None:
    seen: set[tuple[str, str]] = set()
    for kind, component in offers:
        if (kind, component.name) in seen:
            raise _BrokenError(f"it offers the {kind} '{component.name}' twice")
        seen.add((kind, component.name))
