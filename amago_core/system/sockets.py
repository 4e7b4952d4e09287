"""Message framing on sockets between a process and its children, for loader and environment processes.

Two framings, each on a socket pair that only the two processes can open:

* :class:`FramedSocket`, between the learner and its loader processes: pickled objects with their length
  in front, and arrays, whose bytes are sent from the memory of one process into that of the other
  without a copy.
* :func:`send_bytes`, :func:`answer` and :func:`receive_answer`, between the engine and its environment
  processes, which need few bytes per step: a command is one byte, its answer one byte, or one byte and
  JSON with its length in front.
"""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SIZE = Struct(">Q")
"""Length in front of a pickled object."""

_Headers = list[dict[str, tuple[str, tuple[int, ...]]]]
"""Dtype and shape of each array of each dictionary."""


class FramedSocket:
    """Socket that sends and receives pickled objects and arrays.

    Args:
        connection: A connected stream socket; :meth:`close` closes it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def close(self) -> None:
        """Close this end; the other end gets an EOFError."""
        self._socket.close()

    def send(self, message: Any) -> None:
        """Send an object.

        Raises:
            OSError: If the other end is closed.
        """
        data = pickle.dumps(message)
        self._socket.sendall(_SIZE.pack(len(data)) + data)

    def receive(self) -> Any:
        """Wait for an object.

        Raises:
            EOFError: If the other end is closed.
        """
        size = bytearray(_SIZE.size)
        self._fill(memoryview(size))
        data = bytearray(_SIZE.unpack(size)[0])
        self._fill(memoryview(data))
        return pickle.loads(data)

    def send_arrays(self, dictionaries: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        """Send dictionaries of arrays; the other end calls `receive_arrays`.

        Raises:
            OSError: If the other end is closed.
        """
        self.send([_header(arrays) for arrays in dictionaries])
        for arrays in dictionaries:
            for array in arrays.values():
                self._socket.sendall(_bytes(array))

    def receive_arrays(self) -> list[dict[str, NDArray[Any]]]:
        """Wait for dictionaries of arrays.

        Raises:
            EOFError: If the other end is closed.
        """
        headers: _Headers = self.receive()
        dictionaries = []
        for header in headers:
            arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in header.items()}
            for array in arrays.values():
                self._fill(_bytes(array))
            dictionaries.append(arrays)
        return dictionaries

    def _fill(self, memory: memoryview) -> None:
        while memory:
            try:
                count = self._socket.recv_into(memory)
            except ConnectionError:
                count = 0
            if not count:
                raise EOFError
            memory = memory[count:]


def _header(arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (array.dtype.str, array.shape) for name, array in arrays.items()}


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


DONE = b"."
"""Answer to a command that was carried out and returns nothing."""

_JSON = b"!"
"""First byte of an answer with JSON."""

_LENGTH = Struct("<Q")
"""Length in front of bytes."""


def send_bytes(connection: socket.socket, content: bytes) -> None:
    """Send bytes with their length in front."""
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive_bytes(connection: socket.socket) -> bytes:
    """Return what :func:`send_bytes` sent.

    Raises:
        EOFError: If the other end is closed.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return _exactly(connection, length)


def answer(connection: socket.socket, content: Mapping[str, Any] | None = None) -> None:
    """Answer a command, with JSON if there is content."""
    if content is None:
        connection.sendall(DONE)
        return
    data = json.dumps(content).encode()
    connection.sendall(_JSON + _LENGTH.pack(len(data)) + data)


def receive_answer(connection: socket.socket) -> dict[str, Any] | None:
    """Wait for an answer; return its content, None if it is :data:`DONE`.

    Raises:
        EOFError: If the other end is closed.
    """
    if _exactly(connection, 1) == DONE:
        return None
    content: dict[str, Any] = json.loads(receive_bytes(connection))
    return content


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
