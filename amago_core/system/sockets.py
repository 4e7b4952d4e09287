"""Objects and large arrays between two processes, over a socket that no one else can open.

A message is an object, pickled, and the bytes of arrays behind it: an array goes from the memory of one
process into that of the other as it is.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
from collections.abc import Mapping, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SIZE = struct.Struct(">Q")

_Headers = list[dict[str, tuple[str, tuple[int, ...]]]]
"""Type and shape of each array of each dictionary."""


class FramedSocket:
    """One end of a connection.

    Args:
        connection: A connected stream socket; the channel closes it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def close(self) -> None:
        """Close this end; the other one gets an EOFError."""
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
