"""Exception classes of amago, as one tree.

AmagoError                    base class of all: catch this
|-- CatalogError              a part or plugin cannot be found or loaded
|   |-- UnknownPartError      no plugin has a part of this name
|   |-- AmbiguousPartError    several plugins have a part of this short name
|   `-- PartImportError       a listed part cannot be imported
|-- UnsupportedSpaceError     a part does not support an observation or action space
|-- DatasetError              a dataset cannot be opened, or does not match the spec
|-- RecordingError            a recording does not match its spaces
`-- UnavailableError          a part that a spec names cannot run on this machine
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AmagoError(Exception):
    """Base class of every error that a user can cause; the message is a full sentence for that user."""


class CatalogError(AmagoError):
    """A part or plugin cannot be found or loaded."""


class UnknownPartError(CatalogError):
    """A spec or a command names a part that no plugin has."""


class AmbiguousPartError(CatalogError):
    """Several plugins have a part of this short name."""


class PartImportError(CatalogError):
    """A listed part cannot be imported."""


class UnsupportedSpaceError(AmagoError):
    """A part does not support an observation or action space."""


class DatasetError(AmagoError):
    """A dataset cannot be opened, or does not match the spec."""


class RecordingError(AmagoError):
    """A recording does not match its spaces."""


class UnavailableError(AmagoError):
    """A part that a spec names cannot run on this machine."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a space and ``Did you mean 'gru'?`` for the closest known word; empty if none is close."""
    close = get_close_matches(word, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def reason(error: BaseException) -> str:
    """Return an exception as one line: its class and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
