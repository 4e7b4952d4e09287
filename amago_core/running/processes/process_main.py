"""What runs in a process of its own: connected first, and torch imported only by its role."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from typing import Any

from amago_core.running.processes.messages import CommandPipe, EventPipe, error_to_event
from amago_core.system.stopping import HaltedError, OrphanedError
from amago_registry.errors import AmagoError

USER_ERROR, CRASH = 2, 1


def main() -> None:
    """Do the job that comes over standard input; say over standard output what happens."""
    _ignore_signals()
    try:
        commands, events = _connect()
        sys.path[:] = commands.job.path
        code = _work(commands, events)
    except OrphanedError:
        code = CRASH
    sys.stderr.flush()
    # Threads that wait for a pipe, and what an environment left running, must not keep the process.
    os._exit(code)


def _ignore_signals() -> None:
    """Ctrl-C reaches every process of a terminal; what to do about it, one of them decides.

    A handler and not SIG_IGN, because processes that are started from here would inherit that.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # Blocked by the parent, so that none could arrive before this.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    faulthandler.enable()


def _connect() -> tuple[CommandPipe, EventPipe]:
    """Take both pipes; whatever else reads or prints in this process gets nothing, and stderr."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return CommandPipe(source), EventPipe(target)


def _work(commands: CommandPipe, events: EventPipe) -> int:
    commands.watch()
    try:
        _role(commands, events)
    except OrphanedError:
        raise
    except HaltedError:
        return 0
    except AmagoError as error:
        events.send("mistake", **error_to_event(error))
        return USER_ERROR
    except BaseException:
        events.send("crash", text=traceback.format_exc())
        return CRASH
    return 0


def _role(commands: CommandPipe, events: EventPipe) -> Any:
    if commands.job.name == "learner":
        from amago_core.running.processes.learner_process import run_learner

        run_learner(commands, events)
    else:
        from amago_core.running.processes.collector_process import run_collector

        run_collector(commands, events)
