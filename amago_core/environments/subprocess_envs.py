"""Environments in processes of their own.

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
from amago_core.environments.errors import EnvironmentCrashed, EnvironmentFault
from amago_core.environments.subprocess_main import BLOCKED_SIGNALS, RESET, STEP, STEP_SOME
from amago_core.system import sockets
from amago_core.system.processes import describe_exit, signals_blocked
from amago_core.system.threads import cores

if TYPE_CHECKING:
    from amago_core.environments.interface import VectorEnvironments


STARTING = 60.0
"""Seconds that a process has to start and to make its environments, where there is a time limit."""

_LOOK = 1.0
"""Seconds without an answer after which to see whether the process is there at all."""

_GRACE = 5.0
"""Seconds that a process has to close its environments."""

_Fault = TypeVar("_Fault", bound=EnvironmentFault)

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[5:]; from amago_core.environments.subprocess_main import main; "
    "main(*map(int, sys.argv[1:5]))"
)


class EnvironmentProcess:
    """One process, with its share of the environments.

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
            self.process = subprocess.Popen(
                # -P: nothing that happens to lie in the working directory is taken for a module.
                [sys.executable, "-P", "-c", _PROGRAM, *words],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                env={**os.environ, **_ONE_THREAD},
            )

    @property
    def who(self) -> str:
        """Its environments, in words."""
        first, last = self.share[0], self.share[-1]
        return f"environment {first}" if first == last else f"environments {first} to {last}"

    def begin(self, facts: Mapping[str, Any], factory: bytes) -> None:
        """Tell it what to make."""
        told = {**facts, "first": self.share[0], "last": self.share[-1]}
        sockets.send_bytes(self.connection, json.dumps(told).encode())
        sockets.send_bytes(self.connection, factory)

    def ask(self, command: bytes) -> None:
        """Send a command."""
        with suppress(ConnectionError):  # Found out, and explained, where the answer is awaited.
            self.connection.sendall(command)

    def answer(self, deadline: float | None) -> dict[str, Any] | None:
        """Return the answer to the last command.

        Args:
            deadline: When it is too late, by the monotonic clock.

        Raises:
            EOFError: If the process has gone.
            TimeoutError: If it does not answer.
        """
        self._await_answer(deadline)
        try:
            return sockets.receive_answer(self.connection)
        except ConnectionError:
            raise EOFError from None

    def _await_answer(self, deadline: float | None) -> None:
        while True:
            left = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
            if self._answers.poll(1000 * max(0.0, left)):
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError
            # The connection alone does not say: a process that an environment forked keeps it open.
            if self.process.poll() is not None and not self._answers.poll(0):
                raise EOFError

    def describe_exit(self) -> str:
        """Return how the process ended, in words."""
        try:
            code = self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "closed its connection"
        return describe_exit(code)

    def dump_traceback(self) -> str:
        """Return where the process is at this moment, as a traceback; empty if it does not say."""
        self.process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 0.5
        while not self.last_output() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.02)  # It is written line by line.
        return self.last_output()

    def last_output(self) -> str:
        """Return what the process said when it crashed."""
        size = os.fstat(self._trace.fileno()).st_size
        return os.pread(self._trace.fileno(), size, 0).decode(errors="replace")

    def close_connection(self) -> None:
        """Close the connection: the process closes its environments and ends by itself."""
        self.connection.close()

    def end(self, deadline: float) -> None:
        """Wait for the end of the process; after the deadline, kill it."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._trace.close()


class SubprocessEnvironments:
    """Steps environments in subprocesses; see :class:`VectorEnvironments`.

    Each process holds a contiguous share of the environments and steps them one after the other, with
    one thread. Results are the bits of :class:`~amago_core.environments.sync.SyncEnvironments`.

    Where one environment is lost, :meth:`restart` starts all processes anew: all tasks are dropped
    anyway, and the processes start side by side.

    Args:
        make: Makes one environment; also called once in this process, for the spaces.
        name: What users call the environment.
        count: B.
        processes: How many share the environments; ``auto`` for one per core.
        step_timeout: Seconds after which a process that does not answer is taken to hang; None waits.

    Raises:
        EnvironmentFault: If an environment cannot be constructed, or ``make`` cannot be sent.
        EnvironmentLost: If a process ends before its environments are made.
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
        self._factory = _packed(make, name)
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
        self._workers: list[EnvironmentProcess] = []
        # Also when the program ends: no process is left behind, and no warning of one.
        self._release = weakref.finalize(self, _release, self._workers, memory)
        self._start()

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Begin new tasks where there is a seed."""
        self._fresh_B[:] = [seed is not None for seed in seeds]
        self._seed_B[:] = [seed or 0 for seed in seeds]
        self.began_B[:] = self._fresh_B
        told = [
            worker
            for worker in self._running()
            if self._fresh_B[worker.share.start : worker.share.stop].any()
        ]
        self._call(RESET, told)

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        """Take one step."""
        self._action[...] = action
        self.began_B.fill(False)
        self.played_B[:] = True if active_B is None else active_B
        self._active_B[:] = self.played_B
        self._call(STEP if active_B is None else STEP_SOME, self._running())

    def restart(self) -> None:
        """End all processes that are left and start new ones."""
        assert self._release.alive, "restarted after they were closed"
        _end(self._workers)
        self._start()

    def close(self) -> None:
        """End all processes."""
        self._release()

    def _running(self) -> list[EnvironmentProcess]:
        assert self._workers, (
            "environments that are closed, or lost or interrupted and not restarted, were used"
        )
        return self._workers

    def _start(self) -> None:
        self.task_B[:] = [""] * self.count
        columns = {key: astuple(column) for key, column in self._columns.items()}
        with self._all_or_none():
            for share in self._shares:
                self._workers.append(EnvironmentProcess(share, self._memory))
            for worker in self._workers:
                with suppress(ConnectionError):
                    worker.begin({"name": self._name, "columns": columns}, self._factory)
            patience = None if self._timeout is None else STARTING
            self._gather(self._workers, patience, self._starting_late)

    def _call(self, command: bytes, workers: Sequence[EnvironmentProcess]) -> None:
        with self._all_or_none():
            for worker in workers:
                worker.ask(command)
            self._gather(workers, self._timeout, self._late)

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """End all processes where not all have answered, whatever the reason; an interruption is one.

        An answer that nobody has read would be taken for that to the next command.
        """
        try:
            yield
        except BaseException:
            _end(self._workers)
            raise

    def _gather(
        self,
        workers: Sequence[EnvironmentProcess],
        patience: float | None,
        late: Callable[[EnvironmentProcess], str],
    ) -> None:
        """Wait for all answers; raise where one is missing or bad."""
        deadline = None if patience is None else time.monotonic() + patience
        for worker in workers:
            try:
                told = worker.answer(deadline)
            except EOFError:
                how = f"the process of {worker.who} {worker.describe_exit()}."
                fault: EnvironmentFault = self._lost(how, worker.last_output())
            except TimeoutError:
                fault = self._lost(late(worker), worker.dump_traceback())
                worker.process.kill()
            else:
                if told is None:
                    continue
                if "tasks" in told:
                    self.task_B[worker.share.start : worker.share.stop] = told["tasks"]
                    continue
                fault = _with_trace(
                    EnvironmentCrashed(told["fault"])
                    if told["lost"]
                    else EnvironmentFault(told["fault"]),
                    told["trace"],
                )
            raise fault from None

    def _late(self, worker: EnvironmentProcess) -> str:
        return (
            f"the process of {worker.who} did not answer within {self._timeout:g} seconds "
            "(collector.step_timeout)."
        )

    def _starting_late(self, worker: EnvironmentProcess) -> str:
        return f"the process of {worker.who} did not make them within {STARTING:g} seconds."

    def _lost(self, how: str, trace: str) -> EnvironmentCrashed:
        return _with_trace(EnvironmentCrashed(f"environment {self._name}: {how}"), trace)


def shares(count: int, processes: int) -> list[range]:
    """Return which environments each process holds: contiguous, none empty, sizes at most one apart."""
    used = min(count, processes)
    edges = [number * count // used for number in range(used + 1)]
    return [range(first, last) for first, last in pairwise(edges)]


def _packed(make: MakeEnvironment, name: str) -> bytes:
    try:
        # Never written to a disk. It packs functions that plain pickle cannot name, such as local ones.
        packed: bytes = cloudpickle.dumps(make)
    except Exception as error:
        raise EnvironmentFault(
            f"environment {name} cannot run in processes of its own: the function that makes it cannot "
            f"be sent to them ({type(error).__name__}: {error}). Let it create inside itself whatever "
            "cannot be copied, such as open files, connections and locks, or write "
            "collector.vectorization=sync."
        ) from error
    return packed


def _with_trace(fault: _Fault, trace: str) -> _Fault:
    if trace:
        fault.add_note(f"In the environment's process:\n{trace.rstrip()}")
    return fault


def _end(workers: list[EnvironmentProcess]) -> None:
    """End processes; those that do not follow are killed."""
    for worker in workers:
        worker.close_connection()
    deadline = time.monotonic() + _GRACE
    while workers:
        workers.pop().end(deadline)


def _release(workers: list[EnvironmentProcess], memory: int) -> None:
    _end(workers)
    os.close(memory)


if TYPE_CHECKING:

    def _satisfies_the_protocol(environments: SubprocessEnvironments) -> VectorEnvironments:
        return environments
