"""What runs in a process of environments; :mod:`amago_core.environments.subprocess_envs` starts it.

It imports no torch, unless its environments do.

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
from amago_core.environments.errors import EnvironmentFault
from amago_core.environments.sync import SyncEnvironments
from amago_core.system import sockets
from amago_registry.errors import AmagoError

STEP, STEP_SOME, RESET = b"s", b"p", b"r"
"""Commands: step all environments, those in ``active``, or reset those in ``fresh``."""

BLOCKED_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What the engine starts this process without, until it can take them."""

_ORPHAN_TIMEOUT_S = 5.0
"""Seconds that a step may still take once there is nobody to take it for."""


def main(connection: int, memory: int, trace: int, parent: int) -> None:
    """Make environments and step them as told, until there is nobody left to tell.

    Args:
        connection: Descriptor of the socket to the engine.
        memory: Descriptor of the shared arrays.
        trace: Descriptor of the file for what is said at a crash, or when asked by a signal.
        parent: The process that started this one.
    """
    for descriptor in (connection, memory, trace):
        # A program that an environment starts would keep the connection open when this process ends.
        os.set_inheritable(descriptor, False)
    _ignore_signals()
    faulthandler.enable(trace, all_threads=False)
    faulthandler.register(signal.SIGUSR1, trace, all_threads=False)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()
    with socket.socket(fileno=connection) as engine:
        try:
            _serve(engine, memory)
        except (EOFError, OSError):
            return  # The engine has gone.


def _serve(engine: socket.socket, memory: int) -> None:
    environments, arrays = _begin(engine, memory)
    if environments is None:
        return
    try:
        while command := engine.recv(1):
            try:
                told = _carry_out(command, environments, arrays)
            except BaseException as error:
                told = _fault(error, environments.envs[0].name)
            sockets.answer(engine, told)
    finally:
        environments.close()


def _begin(engine: socket.socket, memory: int) -> tuple[SyncEnvironments | None, dict[str, np.ndarray]]:
    facts = json.loads(sockets.receive_bytes(engine))
    columns = {key: Column(tuple(shape), dtype) for key, (shape, dtype) in facts["columns"].items()}
    share = slice(facts["first"], facts["last"] + 1)
    arrays = {key: array[share] for key, array in attach(memory, columns).items()}
    os.close(memory)
    packed = sockets.receive_bytes(engine)
    try:
        envs = make_checked(_unpacked(packed, facts["name"]), facts["name"], share.stop - share.start)
    except BaseException as error:
        # What cannot be made now cannot be made later.
        sockets.answer(engine, {**_fault(error, facts["name"]), "lost": False})
        return None, arrays
    sockets.answer(engine)
    return SyncEnvironments(envs, arrays), arrays


def _unpacked(packed: bytes, name: str) -> MakeEnvironment:
    try:
        # Not data from a disk: a function of the program that started this process, from its memory.
        make: MakeEnvironment = pickle.loads(packed)
    except Exception as error:
        raise EnvironmentFault(
            f"environment {name} cannot run in processes of its own: the function that makes it cannot "
            f"be received by them ({type(error).__name__}: {error}). Define it in a module that can be "
            "imported by its name, or write collector.vectorization=sync."
        ) from error
    return make


def _carry_out(
    command: bytes, environments: SyncEnvironments, arrays: dict[str, np.ndarray]
) -> dict[str, Any] | None:
    if command != RESET:
        # A copy, for environments that keep their last action: the next one is written over this.
        environments.step(arrays["action"].copy(), arrays["active"] if command == STEP_SOME else None)
        return None
    before = list(environments.task_B)
    seeds = zip(arrays["seed"].tolist(), arrays["fresh"].tolist(), strict=True)
    environments.reset([seed if fresh else None for seed, fresh in seeds])
    return None if environments.task_B == before else {"tasks": environments.task_B}


def _fault(error: BaseException, name: str) -> dict[str, Any]:
    """Return what went wrong; ``lost`` says whether the environment itself raised."""
    what = f"{type(error).__name__}: {error}"
    cause = error.__cause__ if isinstance(error, AmagoError) else error
    return {
        "fault": str(error) if isinstance(error, AmagoError) else f"environment {name}: {what}.",
        "lost": cause is not None,
        "trace": "".join(traceback.format_exception(cause)) if cause is not None else "",
    }


def _ignore_signals() -> None:
    """Take the signals that end programs, and do nothing: the engine decides what they mean.

    Blocked or ignored, they would be so in every program that an environment starts, which could then
    never be terminated. Where an environment forks this one, they mean what they always mean.
    """
    usual = {number: signal.signal(number, lambda *_: None) for number in BLOCKED_SIGNALS}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_SIGNALS)

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    os.register_at_fork(after_in_child=restore)


def _exit_with_parent(parent: int) -> None:
    """End this process when its parent has; a step that never returns would notice nothing."""
    while os.getppid() == parent:
        time.sleep(1.0)
    time.sleep(_ORPHAN_TIMEOUT_S)
    os._exit(1)
