"""Tables of text in aligned columns, for the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

_GAP = "  "

_MIN_WIDTH = 24


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = (), indent: str = "") -> str:
    """Return rows in aligned columns.

    On a terminal the last column is wrapped to the remaining width; in a pipe or a file every row is
    one line, for ``grep``.
    """
    rows = [header, *rows] if header else list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lead = len(indent) + sum(widths) + len(_GAP) * len(widths)
    lines: list[str] = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        first, *more = _wrap(row[-1], lead)
        lines.append((indent + _GAP.join([*cells, first])).rstrip())
        lines += [" " * lead + line for line in more]
    return "\n".join(lines)


def _wrap(text: str, lead: int) -> list[str]:
    if not sys.stdout.isatty():
        return [text]
    width = shutil.get_terminal_size().columns - lead
    return textwrap.wrap(text, max(width, _MIN_WIDTH)) or [""]
