"""What can go wrong, as one tree.

AmagoError                    base of all: catch this
|-- CatalogError              something about parts and plugins
|   |-- UnknownPartError      a name nobody offers
|   |-- AmbiguousPartError    a short name that several plugins offer
|   `-- PartImportError       a part that is listed and cannot be imported
|-- UnsupportedSpaceError     an observation or action space that a part cannot take
|-- DatasetError              a dataset that cannot be opened, or does not fit what it is used with
|-- RecordingError            a recording that does not fit its spaces
`-- UnavailableError          a part that was asked for by name and cannot run on this machine
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class AmagoError(Exception):
    """Base of every error that a user can cause; its text is a full sentence for that user."""


class CatalogError(AmagoError):
    """Something about parts and plugins."""


class UnknownPartError(CatalogError):
    """A spec or a command named a part that no plugin offers."""


class AmbiguousPartError(CatalogError):
    """A short name that several plugins offer."""


class PartImportError(CatalogError):
    """A part that is listed and cannot be imported."""


class UnsupportedSpaceError(AmagoError):
    """An observation or action space that a part cannot take."""


class DatasetError(AmagoError):
    """A dataset that cannot be opened, or does not fit what it is used with."""


class RecordingError(AmagoError):
    """A recording that does not fit its spaces."""


class UnavailableError(AmagoError):
    """A part that was asked for by name and cannot run on this machine."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a space and ``Did you mean 'gru'?`` for the closest known word; empty if none is close."""
    close = get_close_matches(word, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def reason(error: BaseException) -> str:
    """Return an exception as one line: its class and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
