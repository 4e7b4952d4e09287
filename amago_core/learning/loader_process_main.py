"""A process that draws batches for another one, until that closes the connection or ends.

Started by :mod:`amago_core.learning.loader_process`; imports no torch.
"""

from __future__ import annotations

import os
import pickle
import queue
import socket
import threading
import traceback
from typing import Any

from amago_core.learning.batch_source import BatchSource, SourceConfig
from amago_core.learning.packing import PackedArrays
from amago_core.system.sockets import FramedSocket
from amago_registry.errors import AmagoError

Request = tuple[int, int | None]


def serve(descriptor: int) -> None:
    """Answer requests for the batches of updates.

    Args:
        descriptor: Of the connected socket.
    """
    channel = FramedSocket(socket.socket(fileno=descriptor))
    notes: list[str] = []
    recipe = channel.receive()
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(channel, requests), daemon=True).start()
    source: BatchSource | None = None
    while True:
        update, limit = requests.get()
        try:
            source = source or _make(recipe, notes)
            answer: list[PackedArrays] | Exception = source.streams(update, limit)
        except Exception as error:
            answer = sendable(error)
        _answer(channel, answer, notes)


def _make(recipe: bytes, notes: list[str]) -> BatchSource:
    made: SourceConfig = pickle.loads(recipe)
    return made.make(notes.append)


def _listen(channel: FramedSocket, requests: queue.SimpleQueue[Request]) -> None:
    """Take requests; end the process with the connection, whatever it is at."""
    try:
        while True:
            requests.put(channel.receive())
    except EOFError:
        os._exit(0)


def _answer(channel: FramedSocket, answer: list[PackedArrays] | Exception, notes: list[str]) -> None:
    told, notes[:] = list(notes), []
    try:
        if isinstance(answer, Exception):
            channel.send((told, answer))
        else:
            channel.send((told, None))
            channel.send_arrays([stream.to_arrays() for stream in answer])
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
