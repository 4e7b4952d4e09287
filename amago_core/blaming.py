"""Errors of parts, as sentences that name the part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from amago_registry.errors import AmagoError, reason


@contextmanager
def blaming(kind: str, use: str, doing: str) -> Iterator[None]:
    """Turn whatever a part's own code raises into one sentence that names the part.

    Args:
        kind: Its kind.
        use: Its full name.
        doing: What was tried, before the word ``raised``.

    Raises:
        AmagoError: In place of any other exception; those that are AmagoErrors already pass.
    """
    try:
        yield
    except AmagoError:
        raise
    except Exception as error:
        raise AmagoError(f"the {kind} {use} cannot be used: {doing} raised {reason(error)}") from error
