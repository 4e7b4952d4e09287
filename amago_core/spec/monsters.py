"""YAML that is small as written and has no end once it is read."""

from __future__ import annotations

from pathlib import Path

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

_MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000
_DEEPEST = 100
# What OmegaConf reads with: another parser may take for a harmless text what this one does not.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def refuse_monster(path: Path) -> None:
    """Refuse a file that no person wrote as a spec: huge, deep, or grown by aliases of aliases.

    Raises:
        ValueError: Saying what is too large.
        yaml.YAMLError: If it is no YAML.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes; a spec has at most {_MOST_BYTES:,}")
    _measure(path.read_text("utf-8"))


def _measure(text: str) -> int:
    """Return how many values a text has once every alias stands for a copy."""
    begun: list[tuple[str | None, int]] = []  # Anchor and values before, of each collection not ended.
    sizes: dict[str, int] = {}
    values = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, AliasEvent):
            # What is not yet ended has no size: it would hold itself.
            values += sizes.get(str(event.anchor), _MOST_VALUES)
        elif isinstance(event, CollectionStartEvent):
            begun.append((event.anchor, values))
            sizes.pop(str(event.anchor), None)
            values += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = begun.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, NodeEvent):
            values += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        # The parser itself knows no limit: it would run out of stack, and the process would end.
        if len(begun) > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        if values > _MOST_VALUES:
            raise ValueError(f"with its aliases it has more than {_MOST_VALUES:,} values")
    return values
