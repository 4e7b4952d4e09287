"""Discovery of installed plugins through entry points; one broken plugin does not affect the others.

A plugin is a distribution with entry points in the group ``amago``. Each is loaded separately and its
hooks are called separately. Any exception on the way becomes the reason why that one plugin is broken.
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
    """An installed plugin and the parts it registers.

    Args:
        name: The distribution's name without ``amago-``; the first half of ``plugin/name``.
        distribution: The distribution's name.
        version: The distribution's version.
        offers: Each part with the name of its kind; empty if the plugin is broken.
        broken: The reason why the plugin cannot be used; None if it works.
    """

    name: str
    distribution: str
    version: str
    offers: tuple[tuple[str, Component], ...] = ()
    broken: str | None = None


class _BrokenError(Exception):
    """A plugin is broken; the message is the reason."""


def discover() -> tuple[Plugin, ...]:
    """Return every installed plugin, sorted by name."""
    loaders: dict[tuple[str, str], list[Callable[[], object]]] = {}
    for point in metadata.entry_points(group=GROUP):
        if point.dist is not None:
            key = (_normal(point.dist.name), point.dist.version)
            loaders.setdefault(key, []).append(_loader(point))
    plugins = [
        read_plugin(distribution, version, loaders[distribution, version])
        for distribution, version in sorted(loaders)
    ]
    return tuple(sorted(_without_name_clashes(plugins), key=lambda plugin: plugin.name))


def read_plugin(distribution: str, version: str, loaders: Sequence[Callable[[], object]]) -> Plugin:
    """Load one plugin and list the parts it registers.

    Args:
        distribution: Name of the distribution, as in ``amago-memory-zoo``.
        version: Version of the distribution.
        loaders: Each imports one entry point and returns the module (or object) with the hooks.

    Returns:
        The plugin, marked as broken if anything about it is wrong.
    """
    name = distribution.removeprefix("amago-")
    try:
        offers = tuple(offer for load in loaders for offer in _offers(load()))
        _refuse_duplicates(offers)
    except _BrokenError as broken:
        return Plugin(name, distribution, version, broken=str(broken))
    # Reading attributes runs the plugin's code too, from __dir__ to __repr__.
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


def _without_name_clashes(plugins: Sequence[Plugin]) -> Iterator[Plugin]:
    """Yield the plugins, with those broken whose distributions shorten to the same plugin name."""
    for plugin in plugins:
        same_name = [other.distribution for other in plugins if other.name == plugin.name]
        if len(same_name) > 1:
            why = f"the distributions {' and '.join(same_name)} are both called {plugin.name}"
            yield Plugin(plugin.distribution, plugin.distribution, plugin.version, broken=why)
        else:
            yield plugin


def _offers(module: object) -> Iterator[tuple[str, Component]]:
    """Yield the parts that one module's hooks return, each with its kind."""
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
        function = getattr(value, "__func__", value)  # Unwraps a static or class method.
        unmarked = inspect.isroutine(value) and not hasattr(function, "amago_impl")
        if name.startswith("amago_") and unmarked:
            raise _BrokenError(f"{name} lacks @hookimpl")


def _members(module: object) -> Iterable[tuple[str, object]]:
    """Return names and values without evaluating properties or lazy exports."""
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
        raise _BrokenError(f"{kind.hook} returned {what}, which is not a Component")
    error = _component_error(component)
    if error:
        raise _BrokenError(f"{kind.hook} returned a Component whose {error}")
    return component


def _component_error(component: Component) -> str | None:
    if not isinstance(component.name, str) or not _NAME.fullmatch(component.name):
        return f"name {component.name!r} is not in kebab-case, as in 'min-gru'"
    if not isinstance(component.target, str) or not _TARGET.fullmatch(component.target):
        return f"target {component.target!r} is not 'module:attribute'"
    if not isinstance(component.options, type) or not issubclass(component.options, Options):
        return f"options {component.options!r} are not a subclass of amago_registry.Options"
    if not isinstance(component.summary, str) or len(component.summary.splitlines()) != 1:
        return f"summary {component.summary!r} is not one line"
    return None


def _refuse_duplicates(offers: Sequence[tuple[str, Component]]) -> None:
    seen: set[tuple[str, str]] = set()
    for kind, component in offers:
        if (kind, component.name) in seen:
            raise _BrokenError(f"it offers the {kind} '{component.name}' twice")
        seen.add((kind, component.name))
