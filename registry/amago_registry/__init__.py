"""Plugin interface of amago-core: kinds, hooks, options models, protocols and conformance tests.

A plugin registers parts through hooks (:mod:`amago_registry.hookspecs`) and describes their options
with :class:`Options`; a part is built as ``Part(context, options)``. Importing this package imports
neither torch nor gymnasium; each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_registry.catalog import Catalog, Entry, installed
    from amago_registry.component import Component
    from amago_registry.contexts import (
        ActorContext,
        AttentionContext,
        BackboneContext,
        CriticContext,
        DatasetContext,
        EncoderContext,
        EnvironmentContext,
        ExplorationContext,
        ObjectiveContext,
        RelabelerContext,
        TrackerContext,
    )
    from amago_registry.discovery import Plugin
    from amago_registry.errors import (
        AmagoError,
        AmbiguousPartError,
        CatalogError,
        DatasetError,
        PartImportError,
        RecordingError,
        UnavailableError,
        UnknownPartError,
        UnsupportedSpaceError,
    )
    from amago_registry.hookspecs import hookimpl
    from amago_registry.kinds import KINDS, Kind
    from amago_registry.layout import SequenceLayout
    from amago_registry.options import Field, Floats, Ints, Options, Part, Widths
    from amago_registry.trajectories import Trajectory

__all__ = [
    "KINDS",
    "ActorContext",
    "AmagoError",
    "AmbiguousPartError",
    "AttentionContext",
    "BackboneContext",
    "Catalog",
    "CatalogError",
    "Component",
    "CriticContext",
    "DatasetContext",
    "DatasetError",
    "EncoderContext",
    "Entry",
    "EnvironmentContext",
    "ExplorationContext",
    "Field",
    "Floats",
    "Ints",
    "Kind",
    "ObjectiveContext",
    "Options",
    "Part",
    "PartImportError",
    "Plugin",
    "RecordingError",
    "RelabelerContext",
    "SequenceLayout",
    "TrackerContext",
    "Trajectory",
    "UnavailableError",
    "UnknownPartError",
    "UnsupportedSpaceError",
    "Widths",
    "hookimpl",
    "installed",
]


__getattr__ = lazy_exports(
    __name__,
    {
        "Catalog": "catalog",
        "Entry": "catalog",
        "installed": "catalog",
        "Component": "component",
        "ActorContext": "contexts",
        "AttentionContext": "contexts",
        "BackboneContext": "contexts",
        "CriticContext": "contexts",
        "DatasetContext": "contexts",
        "EncoderContext": "contexts",
        "EnvironmentContext": "contexts",
        "ExplorationContext": "contexts",
        "ObjectiveContext": "contexts",
        "RelabelerContext": "contexts",
        "TrackerContext": "contexts",
        "Plugin": "discovery",
        "AmagoError": "errors",
        "AmbiguousPartError": "errors",
        "CatalogError": "errors",
        "DatasetError": "errors",
        "PartImportError": "errors",
        "RecordingError": "errors",
        "UnavailableError": "errors",
        "UnknownPartError": "errors",
        "UnsupportedSpaceError": "errors",
        "hookimpl": "hookspecs",
        "KINDS": "kinds",
        "Kind": "kinds",
        "SequenceLayout": "layout",
        "Field": "options",
        "Floats": "options",
        "Ints": "options",
        "Options": "options",
        "Part": "options",
        "Widths": "options",
        "Trajectory": "trajectories",
    },
)


def __dir__() -> list[str]:
    return __all__
