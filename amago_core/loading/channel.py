"""Objects and large arrays between two processes, over a socket that no one else can open.

A message is an object, pickled, and the bytes of arrays behind it: an array goes from the memory of one
process into that of the other as it is.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from amago_core.streams import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIZE = struct.Struct(">Q")
_Described = tuple[dict[str, tuple[str, tuple[int, ...]]], "NDArray[np.int64]", "NDArray[np.int64]"]


class Channel:
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

    def send_streams(self, streams: Sequence[Stream]) -> None:
        """Send streams; the other end calls `receive_streams`.

        Raises:
            OSError: If the other end is closed.
        """
        self.send([_describe(stream) for stream in streams])
        for stream in streams:
            for column in stream.columns.values():
                self._socket.sendall(_bytes(column))

    def receive_streams(self) -> list[Stream]:
        """Wait for streams.

        Raises:
            EOFError: If the other end is closed.
        """
        described: list[_Described] = self.receive()
        streams = []
        for forms, lengths_S, times_S in described:
            columns = {name: np.empty(shape, dtype) for name, (dtype, shape) in forms.items()}
            for column in columns.values():
                self._fill(_bytes(column))
            streams.append(Stream(columns, lengths_S, times_S))
        return streams

    def _fill(self, memory: memoryview) -> None:
        while memory:
            try:
                count = self._socket.recv_into(memory)
            except ConnectionError:
                count = 0
            if not count:
                raise EOFError
            memory = memory[count:]


def _describe(stream: Stream) -> _Described:
    forms = {name: (column.dtype.str, column.shape) for name, column in stream.columns.items()}
    return forms, stream.lengths_S, stream.times_S


def _bytes(column: NDArray[Any]) -> memoryview:
    return column.reshape(-1).view(np.uint8).data
