"""A process that draws batches for another one, until that closes the connection or ends.

Started by :mod:`amago_core.loading.workers`; imports no torch.
"""

from __future__ import annotations

import os
import pickle
import queue
import socket
import threading
import traceback
from typing import Any

from amago_core.loading.channel import Channel
from amago_core.loading.source import Recipe, Source
from amago_core.streams import Stream
from amago_registry.errors import AmagoError

Request = tuple[int, int | None]


def serve(descriptor: int) -> None:
    """Answer requests for the batches of updates.

    Args:
        descriptor: Of the connected socket.
    """
    channel = Channel(socket.socket(fileno=descriptor))
    notes: list[str] = []
    recipe = channel.receive()
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(channel, requests), daemon=True).start()
    source: Source | None = None
    while True:
        update, limit = requests.get()
        try:
            source = source or _make(recipe, notes)
            answer: list[Stream] | Exception = source.streams(update, limit)
        except Exception as error:
            answer = sendable(error)
        _answer(channel, answer, notes)


def _make(recipe: bytes, notes: list[str]) -> Source:
    made: Recipe = pickle.loads(recipe)
    return made.make(notes.append)


def _listen(channel: Channel, requests: queue.SimpleQueue[Request]) -> None:
    """Take requests; end the process with the connection, whatever it is at."""
    try:
        while True:
            requests.put(channel.receive())
    except EOFError:
        os._exit(0)


def _answer(channel: Channel, answer: list[Stream] | Exception, notes: list[str]) -> None:
    told, notes[:] = list(notes), []
    try:
        if isinstance(answer, Exception):
            channel.send((told, answer))
        else:
            channel.send((told, None))
            channel.send_streams(answer)
    except OSError:
        os._exit(0)


def sendable(error: Exception) -> Exception:
    """Return an error as one that arrives as it was sent; a bug's has its traceback as a note."""
    where = "".join(traceback.format_exception(error)).rstrip()
    if not isinstance(error, AmagoError):
        error.add_note(f"in a loader process:\n{where}")
    try:
        same: Any = pickle.loads(pickle.dumps(error))
        faithful = type(same) is type(error) and str(same) == str(error)
    except Exception:
        faithful = False
    return error if faithful else RuntimeError(f"{type(error).__name__}: {error}\n{where}")
