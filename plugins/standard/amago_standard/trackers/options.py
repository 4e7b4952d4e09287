"""Options of the trackers."""

from __future__ import annotations

from amago_registry.options import Options


class JsonlOptions(Options):
    """Options of ``use: jsonl``: there are none."""
