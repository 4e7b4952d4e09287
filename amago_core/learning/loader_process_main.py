"""Main program of a loader process: draws and packs batches for the learner's process.

Started by :mod:`amago_core.learning.loader_process`; ends when the learner closes the connection or
ends. Batches are packed in :mod:`amago_core.learning.packing`. Imports no torch.
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
    """Serve requests for batches until the connection is closed.

    Args:
        descriptor: File descriptor of the connected socket.
    """
    connection = FramedSocket(socket.socket(fileno=descriptor))
    notes: list[str] = []
    config = connection.receive()
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, requests), daemon=True).start()
    source: BatchSource | None = None
    while True:
        update, limit = requests.get()
        try:
            source = source or _build_source(config, notes)
            answer: list[PackedArrays] | Exception = source.batches(update, limit)
        except Exception as error:
            answer = sendable(error)
        _send_answer(connection, answer, notes)


def _build_source(pickled: bytes, notes: list[str]) -> BatchSource:
    config: SourceConfig = pickle.loads(pickled)
    return config.make(notes.append)


def _listen(connection: FramedSocket, requests: queue.SimpleQueue[Request]) -> None:
    """Queue requests; exit when the connection is closed, even in the middle of a request."""
    try:
        while True:
            requests.put(connection.receive())
    except EOFError:
        os._exit(0)


def _send_answer(
    connection: FramedSocket, answer: list[PackedArrays] | Exception, notes: list[str]
) -> None:
    """Send an answer with the notes collected since the last one, and clear them."""
    new_notes, notes[:] = list(notes), []
    try:
        if isinstance(answer, Exception):
            connection.send((new_notes, answer))
        else:
            connection.send((new_notes, None))
            connection.send_arrays([batch.to_arrays() for batch in answer])
    except OSError:
        os._exit(0)


def sendable(error: Exception) -> Exception:
    """Return an error that can be pickled; an unexpected one gets its traceback as a note."""
    where = "".join(traceback.format_exception(error)).rstrip()
    if not isinstance(error, AmagoError):
        error.add_note(f"in a loader process:\n{where}")
    try:
        copy: Any = pickle.loads(pickle.dumps(error))
        equal = type(copy) is type(error) and str(copy) == str(error)
    except Exception:
        equal = False
    return error if equal else RuntimeError(f"{type(error).__name__}: {error}\n{where}")
