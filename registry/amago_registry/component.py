"""Component: the description that a plugin returns for each part it registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amago_registry.options import Options


@dataclass(frozen=True)
class Component:
    """Description of a part: enough to list, explain and validate it without importing it.

    Args:
        name: Short name in kebab-case, unique within the plugin and kind, as in ``use: gru``.
        target: Where the part is, as ``"module:attribute"``. Imported only when the part is built,
            then called as ``target(context, options)``.
        options: The options model, a subclass of :class:`~amago_registry.Options`.
        summary: One line: what the part is and when to choose it.
    """

    name: str
    target: str
    options: type[Options]
    summary: str

    def load(self) -> Any:
        """Import and return the target.

        Raises:
            ImportError: If the module cannot be imported.
            AttributeError: If the module has no such attribute.
        """
        from importlib import import_module

        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)
