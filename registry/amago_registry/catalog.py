"""Catalog of the parts of all plugins, found by ``plugin/name`` or by a unique short name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from amago_registry.component import Component
from amago_registry.discovery import Plugin, discover
from amago_registry.errors import (
    AmbiguousPartError,
    PartImportError,
    UnknownPartError,
    did_you_mean,
    reason,
)
from amago_registry.first_party import not_installed, offered_by
from amago_registry.kinds import KINDS

FEW = 3
"""Most parts to suggest for a word in their summaries."""


@dataclass(frozen=True)
class Entry:
    """One part in the catalog.

    Args:
        kind: Name of the kind.
        plugin: Name of the plugin that registers it.
        component: The part's description.
    """

    kind: str
    plugin: str
    component: Component

    @property
    def name(self) -> str:
        """The full name, ``plugin/name``."""
        return f"{self.plugin}/{self.component.name}"

    def load(self) -> Any:
        """Import and return the part's target: a class or function that builds the part.

        Raises:
            PartImportError: If the module cannot be imported or lacks the attribute.
        """
        try:
            return self.component.load()
        # A broken binary raises OSError, a version check RuntimeError: report any exception.
        except Exception as error:
            raise PartImportError(
                f"the {self.kind} {self.name} cannot be used: "
                f"importing {self.component.target} raised {reason(error)}"
            ) from error


class Catalog:
    """The parts of some plugins.

    Args:
        plugins: The plugins, broken ones included.
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._entries = tuple(
            Entry(kind, plugin.name, component)
            for plugin in self.plugins
            for kind, component in plugin.offers
        )

    @property
    def broken(self) -> tuple[Plugin, ...]:
        """The plugins that could not be loaded."""
        return tuple(plugin for plugin in self.plugins if plugin.broken is not None)

    def entries(self, kind: str | None = None) -> tuple[Entry, ...]:
        """Return all parts, or those of one kind, sorted by kind, name and plugin.

        Raises:
            UnknownPartError: If there is no such kind.
        """
        order = list(KINDS)
        if kind is not None:
            _refuse_unknown_kind(kind)
        chosen = [entry for entry in self._entries if kind in (None, entry.kind)]
        return tuple(
            sorted(chosen, key=lambda e: (order.index(e.kind), e.component.name, e.plugin)),
        )

    def find(self, kind: str, use: str) -> Entry:
        """Return the part that ``use`` names in a spec.

        Args:
            kind: Name of the kind.
            use: ``plugin/name``, or a short name that one plugin has.

        Raises:
            UnknownPartError: If no plugin has it.
            AmbiguousPartError: If several plugins have that short name.
        """
        candidates = self.entries(kind)
        found = [entry for entry in candidates if use in (entry.name, entry.component.name)]
        if len(found) == 1:
            return found[0]
        if found:
            names = " and ".join(f"'{entry.name}'" for entry in found)
            raise AmbiguousPartError(
                f"several plugins offer the {kind} '{use}'. Write which one: {names}."
            )
        plugin, slash, name = use.partition("/")
        if slash:
            raise UnknownPartError(self._unknown_in_plugin(kind, plugin, name, candidates))
        raise UnknownPartError(self._unknown(kind, use, candidates))

    def short_name(self, entry: Entry) -> str:
        """Return the shortest name by which :meth:`find` finds the entry."""
        name = entry.component.name
        unique = sum(other.component.name == name for other in self.entries(entry.kind)) == 1
        return name if unique else entry.name

    def not_installed(self, kind: str) -> tuple[str, ...]:
        """Return the names of parts of a kind from plugins of this project that are not installed."""
        return not_installed(kind, {plugin.name for plugin in self.plugins})

    def _unknown(self, kind: str, use: str, candidates: tuple[Entry, ...]) -> str:
        names = [self.short_name(entry) for entry in candidates]
        known = [*names, *self.not_installed(kind)]
        advice = (
            self._install_hint(kind, use)
            or did_you_mean(use, known)
            or self._described(use, candidates)
        )
        return (
            f"no {kind} is called '{use}'.{advice} "
            f"Installed: {', '.join(names) or 'none'}.{self._broken_note()}"
        )

    def _unknown_in_plugin(
        self, kind: str, plugin: str, name: str, candidates: tuple[Entry, ...]
    ) -> str:
        known = {other.name: other for other in self.plugins}
        if plugin not in known:
            advice = self._install_hint(kind, f"{plugin}/{name}") or did_you_mean(plugin, known)
            return (
                f"no plugin is called '{plugin}', so there is no {kind} '{plugin}/{name}'.{advice} "
                f"Installed: {', '.join(known) or 'none'}.{self._broken_note()}"
            )
        if known[plugin].broken is not None:
            return (
                f"the {kind} '{plugin}/{name}' cannot be used, "
                f"because the plugin {plugin} is broken: {known[plugin].broken}"
            )
        names = [entry.component.name for entry in candidates if entry.plugin == plugin]
        return (
            f"the plugin {plugin} has no {kind} called '{name}'.{did_you_mean(name, names)} "
            f"It has: {', '.join(names) or 'none'}."
        )

    def _described(self, use: str, candidates: tuple[Entry, ...]) -> str:
        """Return suggestions: the parts whose name or summary contains the word; empty if many do."""
        found = [
            f"'{self.short_name(entry)}'"
            for entry in candidates
            if use.lower() in re.findall(r"\w+", f"{entry.name} {entry.component.summary}".lower())
        ]
        return f" Did you mean {' or '.join(found)}?" if 0 < len(found) <= FEW else ""

    def _install_hint(self, kind: str, use: str) -> str:
        return offered_by(kind, use, {plugin.name for plugin in self.plugins})

    def _broken_note(self) -> str:
        if not self.broken:
            return ""
        reasons = "; ".join(f"{plugin.name} ({plugin.broken})" for plugin in self.broken)
        return f" Broken plugins, which may offer it: {reasons}."


def _refuse_unknown_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UnknownPartError(
            f"there is no kind of part called '{kind}'.{did_you_mean(kind, KINDS)} "
            f"Kinds: {', '.join(KINDS)}."
        )


@cache
def installed() -> Catalog:
    """Return the catalog of all installed plugins, built once per process."""
    return Catalog(discover())
