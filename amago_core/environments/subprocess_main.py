"""The main program of an environment subprocess: makes environments and steps them on command.

Started by :mod:`amago_core.environments.subprocess_envs`. Imports no torch, unless its environments do.

Shape suffixes: B = environments of this process.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from typing import Any

import numpy as np

from amago_core.environments.arrays import Column, attach
from amago_core.environments.checked import MakeEnvironment, make_checked
from amago_core.environments.environment_errors import EnvironmentFault
from amago_core.environments.sync import SyncEnvironments
from amago_core.system import sockets
from amago_registry.errors import AmagoError

STEP, STEP_SOME, RESET = b"s", b"p", b"r"
"""Commands: step all environments, those in ``active``, or reset those in ``fresh``."""

BLOCKED_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Signals that are blocked when the engine starts this process, until its handlers are installed."""

_ORPHAN_TIMEOUT_S = 5.0
"""Seconds that a step may still take after the parent process has ended."""


def main(connection: int, memory: int, trace: int, parent: int) -> None:
    """Make environments and execute commands until the connection is closed.

    Args:
        connection: Descriptor of the socket to the engine.
        memory: Descriptor of the shared arrays.
        trace: Descriptor of the file for tracebacks, written at a crash and on SIGUSR1.
        parent: The process that started this one.
    """
    for descriptor in (connection, memory, trace):
        # Else a program that an environment starts would keep the connection open after this process.
        os.set_inheritable(descriptor, False)
    _ignore_signals()
    faulthandler.enable(trace, all_threads=False)
    faulthandler.register(signal.SIGUSR1, trace, all_threads=False)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    with socket.socket(fileno=connection) as engine:
        try:
            _serve(engine, memory)
        except (EOFError, OSError):
            return  # The engine closed the connection.


def _serve(engine: socket.socket, memory: int) -> None:
    environments, arrays = _make_environments(engine, memory)
    if environments is None:
        return
    try:
        while command := engine.recv(1):
            try:
                answer = _execute(command, environments, arrays)
            except BaseException as error:
                answer = _describe_error(error, environments.envs[0].name)
            sockets.answer(engine, answer)
    finally:
        environments.close()


def _make_environments(
    engine: socket.socket, memory: int
) -> tuple[SyncEnvironments | None, dict[str, np.ndarray]]:
    config = json.loads(sockets.receive_bytes(engine))
    columns = {key: Column(tuple(shape), dtype) for key, (shape, dtype) in config["columns"].items()}
    share = slice(config["first"], config["last"] + 1)
    arrays = {key: array[share] for key, array in attach(memory, columns).items()}
    os.close(memory)
    pickled = sockets.receive_bytes(engine)
    try:
        envs = make_checked(
            _unpickled(pickled, config["name"]), config["name"], share.stop - share.start
        )
    except BaseException as error:
        # Not a crash: a restart would fail in the same way.
        sockets.answer(engine, {**_describe_error(error, config["name"]), "crashed": False})
        return None, arrays
    sockets.answer(engine)
    return SyncEnvironments(envs, arrays), arrays


def _unpickled(pickled: bytes, name: str) -> MakeEnvironment:
    try:
        # Not from a file: sent by the process that started this one.
        make: MakeEnvironment = pickle.loads(pickled)
    except Exception as error:
        raise EnvironmentFault(
            f"environment {name} cannot run in subprocesses: the function that makes it cannot be "
            f"unpickled there ({type(error).__name__}: {error}). Define it in a module that can be "
            "imported by its name, or write collector.vectorization=sync."
        ) from error
    return make


def _execute(
    command: bytes, environments: SyncEnvironments, arrays: dict[str, np.ndarray]
) -> dict[str, Any] | None:
    if command != RESET:
        # A copy, for environments that keep their last action: the next command overwrites the array.
        environments.step(arrays["action"].copy(), arrays["active"] if command == STEP_SOME else None)
        return None
    before = list(environments.task_B)
    seeds = zip(arrays["seed"].tolist(), arrays["fresh"].tolist(), strict=True)
    environments.reset([seed if fresh else None for seed, fresh in seeds])
    return None if environments.task_B == before else {"tasks": environments.task_B}


def _describe_error(error: BaseException, name: str) -> dict[str, Any]:
    """Serialize an error; ``crashed`` is true if the environment itself raised."""
    what = f"{type(error).__name__}: {error}"
    cause = error.__cause__ if isinstance(error, AmagoError) else error
    return {
        "fault": str(error) if isinstance(error, AmagoError) else f"environment {name}: {what}.",
        "crashed": cause is not None,
        "trace": "".join(traceback.format_exception(cause)) if cause is not None else "",
    }


def _ignore_signals() -> None:
    """Handle SIGINT and SIGTERM by doing nothing: the engine ends this process.

    Blocked or ignored signals would be inherited by every program that an environment starts, which
    could then not be terminated. In forks of this process the usual handlers are restored.
    """
    usual = {number: signal.signal(number, lambda *_: None) for number in BLOCKED_SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_SIGNALS)

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    os.register_at_fork(after_in_child=restore)


def _exit_with_parent(parent: int) -> None:
    """End this process after its parent has ended, also while a step does not return."""
    while os.getppid() == parent:
        time.sleep(1.0)
    time.sleep(_ORPHAN_TIMEOUT_S)
    os._exit(1)
