"""Errors for people, on their way from one process to another."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from amago_core.errors import notes_of
from amago_registry.errors import AmagoError


def told(error: AmagoError) -> dict[str, Any]:
    """Return an error as JSON holds it; see `mistake`."""
    kind, text, notes = type(error), str(error), notes_of(error)
    return {"module": kind.__module__, "kind": kind.__qualname__, "text": text, "notes": notes}


def mistake(event: dict[str, Any]) -> AmagoError:
    """Return the error that another process has raised, of its own class where that can be found."""
    try:
        kind = getattr(import_module(event["module"]), event["kind"])
        error = kind(event["text"])
    except Exception:
        error = None
    if not isinstance(error, AmagoError):
        error = AmagoError(event["text"])
    for note in event["notes"]:
        error.add_note(note)
    return error
