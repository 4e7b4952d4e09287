"""What the engine and an environment process say to each other over a socket.

A command is one byte. So is an answer, unless there is something to tell: then a mapping in JSON
follows. Arrays are in shared memory and not sent.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from struct import Struct
from typing import Any

STEP, STEP_SOME, RESET = b"s", b"p", b"r"
DONE = b"."
_TOLD = b"!"
_LENGTH = Struct("<Q")


def send_bytes(connection: socket.socket, content: bytes) -> None:
    """Send bytes with their length in front."""
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive_bytes(connection: socket.socket) -> bytes:
    """Return what :func:`send_bytes` sent.

    Raises:
        EOFError: If the other side has gone.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return _exactly(connection, length)


def answer(connection: socket.socket, told: Mapping[str, Any] | None = None) -> None:
    """Answer a command."""
    if told is None:
        connection.sendall(DONE)
        return
    content = json.dumps(told).encode()
    connection.sendall(_TOLD + _LENGTH.pack(len(content)) + content)


def receive_answer(connection: socket.socket) -> dict[str, Any] | None:
    """Return what an answer tells, None where it is only that the command was carried out.

    Raises:
        EOFError: If the other side has gone.
    """
    if _exactly(connection, 1) == DONE:
        return None
    told: dict[str, Any] = json.loads(receive_bytes(connection))
    return told


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = connection.recv(count)
    if len(content) == count:
        return content
    whole = bytearray(count)
    filled = len(content)
    whole[:filled] = content
    while filled < count:
        more = connection.recv_into(memoryview(whole)[filled:])
        if not more:
            raise EOFError
        filled += more
    return bytes(whole)
