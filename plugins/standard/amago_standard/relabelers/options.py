"""Options of the relabelers."""

from __future__ import annotations

from amago_registry.options import Options


class NoRelabelerOptions(Options):
    """Options of ``use: none``: there are none."""
