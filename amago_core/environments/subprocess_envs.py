"""Vectorized environments in subprocesses, stepped in parallel.

Shape suffixes: B = environments.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import cloudpickle
import numpy as np

from amago_core.environments.arrays import (
    attach,
    command_columns,
    observations,
    recordings,
    result_columns,
    shared_file,
)
from amago_core.environments.checked import MakeEnvironment, make_checked
from amago_core.environments.environment_errors import EnvironmentCrashed, EnvironmentFault
from amago_core.environments.subprocess_main import BLOCKED_SIGNALS, RESET, STEP, STEP_SOME
from amago_core.system import sockets
from amago_core.system.processes import describe_exit, signals_blocked
from amago_core.system.threads import cores

if TYPE_CHECKING:
    from amago_core.environments.interface import VectorEnvironments


START_TIMEOUT_S = 60.0
"""Seconds that a process has to start and to make its environments, if there is a step timeout."""

_PROCESS_CHECK_S = 1.0
"""Seconds between checks that the process is alive, while its answer is awaited."""

_CLOSE_TIMEOUT_S = 5.0
"""Seconds that a process has to close its environments."""

_Fault = TypeVar("_Fault", bound=EnvironmentFault)

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[5:]; from amago_core.environments.subprocess_main import main; "
    "main(*map(int, sys.argv[1:5]))"
)


class EnvironmentProcess:
    """One subprocess and the connection to it, with its share of the environments.

    Args:
        share: Indices of its environments, without gaps.
        memory: Descriptor of the shared arrays.
    """

    def __init__(self, share: range, memory: int) -> None:
        self.share = share
        self.connection, theirs = socket.socketpair()
        self._answers = select.poll()
        self._answers.register(self.connection, select.POLLIN)
        self._trace = tempfile.TemporaryFile()  # noqa: SIM115  (open until the end)
        passed = (theirs.fileno(), memory, self._trace.fileno())
        words = [*map(str, (*passed, os.getpid())), *map(str, sys.path)]
        with theirs, signals_blocked(*BLOCKED_SIGNALS):
            self.popen = subprocess.Popen(
                # -P: modules are not imported from the working directory.
                [sys.executable, "-P", "-c", _PROGRAM, *words],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env={**os.environ, **_ONE_THREAD},
            )

    @property
    def name(self) -> str:
        """Its environments, for messages."""
        first, last = self.share[0], self.share[-1]
        return f"environment {first}" if first == last else f"environments {first} to {last}"

    def configure(self, config: Mapping[str, Any], factory: bytes) -> None:
        """Send the configuration and the pickled function that makes one environment."""
        config = {**config, "first": self.share[0], "last": self.share[-1]}
        sockets.send_bytes(self.connection, json.dumps(config).encode())
        sockets.send_bytes(self.connection, factory)

    def send(self, command: bytes) -> None:
        """Send a command."""
        with suppress(ConnectionError):  # Reported when the answer is received.
            self.connection.sendall(command)

    def receive(self, deadline: float | None) -> dict[str, Any] | None:
        """Receive the answer to the last command.

        Args:
            deadline: Time of the monotonic clock until which to wait; None waits forever.

        Raises:
            EOFError: If the process has ended.
            TimeoutError: If it does not answer before the deadline.
        """
        self._await_answer(deadline)
        try:
            return sockets.receive_answer(self.connection)
        except ConnectionError:
            raise EOFError from None

    def _await_answer(self, deadline: float | None) -> None:
        while True:
            wait_s = _PROCESS_CHECK_S
            if deadline is not None:
                wait_s = min(wait_s, deadline - time.monotonic())
            if self._answers.poll(1000 * max(0.0, wait_s)):
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError
            # The connection may still be open: a process that the environment forked inherited it.
            if self.popen.poll() is not None and not self._answers.poll(0):
                raise EOFError

    def describe_exit(self) -> str:
        """Return how the process ended, such as its exit code or signal."""
        try:
            code = self.popen.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return describe_exit(code)

    def dump_traceback(self) -> str:
        """Return the traceback of the running process; empty if it writes none."""
        self.popen.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 0.5
        while not self.last_output() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.02)  # It is written line by line.
        return self.last_output()

    def last_output(self) -> str:
        """Return the traceback that the process wrote when it crashed."""
        size = os.fstat(self._trace.fileno()).st_size
        return os.pread(self._trace.fileno(), size, 0).decode(errors="replace")

    def close_connection(self) -> None:
        """Close the connection; the process then closes its environments and exits."""
        self.connection.close()

    def stop(self, deadline: float) -> None:
        """Wait until the process has ended; kill it after the deadline."""
        try:
            self.popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self._trace.close()


class SubprocessEnvironments:
    """Steps environments in subprocesses; see :class:`VectorEnvironments`.

    Each process holds a contiguous share of the environments and steps them one after the other, with
    one thread. Results are the bits of :class:`~amago_core.environments.sync.SyncEnvironments`.

    If one environment crashes, :meth:`restart` restarts all processes: all unfinished trajectories are
    discarded anyway, and the processes start in parallel.

    Args:
        make: Makes one environment; also called once in this process, for the spaces.
        name: Name of the environment, for errors.
        count: B.
        processes: Number of processes; ``auto`` for one per core.
        step_timeout: Seconds after which a process that does not answer counts as hanging; None waits
            forever.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, or ``make`` cannot be pickled.
        EnvironmentCrashed: If a process ends before its environments are made.
    """

    reproducible = seeded = True

    def __init__(
        self,
        make: MakeEnvironment,
        name: str,
        count: int,
        *,
        processes: Literal["auto"] | int = "auto",
        step_timeout: float | None = None,
    ) -> None:
        self.count, self._name, self._timeout = count, name, step_timeout
        (one,) = make_checked(make, name, 1)
        self.observation_space, self.action_space = one.observation_space, one.action_space
        self.recorded_space = one.recorded_space
        one.close()
        self._factory = _pickled(make, name)
        self._columns = result_columns(self.observation_space, count, self.recorded_space)
        self._columns |= command_columns(self.action_space, count)
        memory = shared_file(self._columns)
        arrays = attach(memory, self._columns)
        self.obs, self.recorded = observations(arrays), recordings(arrays)
        self.reward_B = arrays["reward"]
        self.terminated_B, self.truncated_B = arrays["terminated"], arrays["truncated"]
        self.success_B = arrays["success"]
        self._action, self._active_B = arrays["action"], arrays["active"]
        self._fresh_B, self._seed_B = arrays["fresh"], arrays["seed"]
        self.task_B = [""] * count
        self.played_B = np.ones(count, bool)
        self.began_B = np.zeros(count, bool)
        self._shares = shares(count, cores() if processes == "auto" else processes)
        self._memory = memory
        self._processes: list[EnvironmentProcess] = []
        # Also runs when the program exits, so that no process stays behind.
        self._release = weakref.finalize(self, _release, self._processes, memory)
        self._start()

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Begin new tasks where there is a seed."""
        self._fresh_B[:] = [seed is not None for seed in seeds]
        self._seed_B[:] = [seed or 0 for seed in seeds]
        self.began_B[:] = self._fresh_B
        resetting = [
            process
            for process in self._running()
            if self._fresh_B[process.share.start : process.share.stop].any()
        ]
        self._call(RESET, resetting)

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        """Take one step."""
        self._action[...] = action
        self.began_B.fill(False)
        self.played_B[:] = True if active_B is None else active_B
        self._active_B[:] = self.played_B
        self._call(STEP if active_B is None else STEP_SOME, self._running())

    def restart(self) -> None:
        """End the remaining processes and start new ones."""
        assert self._release.alive, "closed environments cannot be restarted"
        _stop(self._processes)
        self._start()

    def close(self) -> None:
        """End all processes."""
        self._release()

    def _running(self) -> list[EnvironmentProcess]:
        assert self._processes, (
            "the environments are closed, or crashed or were interrupted and not restarted"
        )
        return self._processes

    def _start(self) -> None:
        self.task_B[:] = [""] * self.count
        columns = {key: astuple(column) for key, column in self._columns.items()}
        with self._stop_all_on_error():
            for share in self._shares:
                self._processes.append(EnvironmentProcess(share, self._memory))
            for process in self._processes:
                with suppress(ConnectionError):
                    process.configure({"name": self._name, "columns": columns}, self._factory)
            timeout = None if self._timeout is None else START_TIMEOUT_S
            self._receive_all(self._processes, timeout, self._start_timed_out)

    def _call(self, command: bytes, processes: Sequence[EnvironmentProcess]) -> None:
        with self._stop_all_on_error():
            for process in processes:
                process.send(command)
            self._receive_all(processes, self._timeout, self._step_timed_out)

    @contextmanager
    def _stop_all_on_error(self) -> Iterator[None]:
        """End all processes if any error or interruption occurs before all answers are received.

        An unread answer would be mistaken for that to the next command.
        """
        try:
            yield
        except BaseException:
            _stop(self._processes)
            raise

    def _receive_all(
        self,
        processes: Sequence[EnvironmentProcess],
        timeout: float | None,
        timed_out: Callable[[EnvironmentProcess], str],
    ) -> None:
        """Receive all answers; raise if one is missing or an error."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for process in processes:
            try:
                answer = process.receive(deadline)
            except EOFError:
                exited = f"the process of {process.name} {process.describe_exit()}."
                fault: EnvironmentFault = self._crashed(exited, process.last_output())
            except TimeoutError:
                fault = self._crashed(timed_out(process), process.dump_traceback())
                process.popen.kill()
            else:
                if answer is None:
                    continue
                if "tasks" in answer:
                    self.task_B[process.share.start : process.share.stop] = answer["tasks"]
                    continue
                fault = _with_trace(
                    EnvironmentCrashed(answer["fault"])
                    if answer["crashed"]
                    else EnvironmentFault(answer["fault"]),
                    answer["trace"],
                )
            raise fault from None

    def _step_timed_out(self, process: EnvironmentProcess) -> str:
        return (
            f"the process of {process.name} did not answer within {self._timeout:g} seconds "
            "(collector.step_timeout)."
        )

    def _start_timed_out(self, process: EnvironmentProcess) -> str:
        return (
            f"the process of {process.name} did not make its environments within "
            f"{START_TIMEOUT_S:g} seconds."
        )

    def _crashed(self, reason: str, trace: str) -> EnvironmentCrashed:
        return _with_trace(EnvironmentCrashed(f"environment {self._name}: {reason}"), trace)


def shares(count: int, processes: int) -> list[range]:
    """Split environments among processes: contiguous, none empty, sizes differ by at most one."""
    used = min(count, processes)
    edges = [number * count // used for number in range(used + 1)]
    return [range(first, last) for first, last in pairwise(edges)]


def _pickled(make: MakeEnvironment, name: str) -> bytes:
    try:
        # Never written to disk. Unlike pickle, cloudpickle supports local functions.
        pickled: bytes = cloudpickle.dumps(make)
    except Exception as error:
        raise EnvironmentFault(
            f"environment {name} cannot run in subprocesses: the function that makes it cannot be "
            f"pickled ({type(error).__name__}: {error}). Create what cannot be pickled, such as open "
            "files, connections and locks, inside the function, or write collector.vectorization=sync."
        ) from error
    return pickled


def _with_trace(fault: _Fault, trace: str) -> _Fault:
    if trace:
        fault.add_note(f"In the environment's process:\n{trace.rstrip()}")
    return fault


def _stop(processes: list[EnvironmentProcess]) -> None:
    """Stop processes; those that do not exit in time are killed."""
    for process in processes:
        process.close_connection()
    deadline = time.monotonic() + _CLOSE_TIMEOUT_S
    while processes:
        processes.pop().stop(deadline)


def _release(processes: list[EnvironmentProcess], memory: int) -> None:
    _stop(processes)
    os.close(memory)


if TYPE_CHECKING:

    def _satisfies_the_protocol(environments: SubprocessEnvironments) -> VectorEnvironments:
        return environments
