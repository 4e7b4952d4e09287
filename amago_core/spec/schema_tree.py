"""Nodes of the schema: which part, section or value belongs at a key of the spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from amago_registry.catalog import Catalog
from amago_registry.errors import CatalogError
from amago_registry.options import Options, part_kind


@dataclass(frozen=True)
class SchemaNode:
    """A node of the schema: the type and the default of one key.

    Args:
        annotation: Type of the value.
        default: Default of the value; None also where a value is required.
    """

    annotation: Any
    default: Any = None

    @property
    def kind(self) -> str | None:
        """Kind of the part at this node; None if it is not a part."""
        return part_kind(self.annotation)

    @property
    def section(self) -> type[Options] | None:
        """Model of the section at this node; None if it is not a section."""
        (annotation, *others) = self.alternatives
        is_model = isinstance(annotation, type) and issubclass(annotation, Options)
        return annotation if is_model and not others else None

    @property
    def alternatives(self) -> tuple[Any, ...]:
        """The types allowed at this node, without None."""
        plain = _plain(self.annotation)
        if get_origin(plain) not in (Union, UnionType):
            return (plain,)
        return tuple(_plain(member) for member in get_args(plain) if member is not type(None))

    @property
    def items(self) -> SchemaNode | None:
        """Node of each item of a list; None if this node is not a list."""
        (annotation, *others) = self.alternatives
        if others or get_origin(annotation) not in (list, tuple):
            return None
        return SchemaNode(_plain(get_args(annotation)[0]))

    def use(self, written: object) -> str | None:
        """Return the name of the part that ``written``, the value at this node, chooses."""
        if isinstance(written, str):
            return written
        named = written.get("use") if isinstance(written, Mapping) else None
        named = self.default if named is None else named
        return named if isinstance(named, str) else None

    def model(self, written: object, catalog: Catalog) -> type[Options] | None:
        """Return the model of the keys below this node, given the value ``written`` at it."""
        if self.kind is None:
            return self.section
        use = self.use(written)
        try:
            return None if use is None else catalog.find(self.kind, use).component.options
        except CatalogError:
            return None

    def below(self, key: object, written: object, catalog: Catalog) -> SchemaNode | None:
        """Return the node of ``key`` below this one; None if the schema has none."""
        if self.items is not None:
            return self.items
        model = self.model(written, catalog)
        return None if model is None else schema_nodes(model).get(str(key))


def schema_nodes(model: type[Options]) -> dict[str, SchemaNode]:
    """Return the nodes of a section or of a part's options, by the key that a spec uses."""
    return {
        field.alias or name: SchemaNode(
            field.annotation, None if field.is_required() else field.default
        )
        for name, field in model.model_fields.items()
    }


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
