"""Entry point of a learner or collector process; torch is imported after the pipes are connected."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback

from amago_core.running.processes.messages import CommandPipe, EventPipe, error_to_event
from amago_core.system.stopping import HaltedError, OrphanedError
from amago_registry.errors import AmagoError

USER_ERROR, CRASH = 2, 1


def main() -> None:
    """Read the job from standard input, run it, and send events to standard output."""
    _ignore_signals()
    try:
        commands, events = _connect()
        sys.path[:] = commands.job.sys_path
        code = _run_job(commands, events)
    except OrphanedError:
        code = CRASH
    sys.stderr.flush()
    # Not sys.exit: threads that read a pipe, or that an environment left, would keep the process.
    os._exit(code)


def _ignore_signals() -> None:
    """Ignore Ctrl-C, which reaches every process of a terminal: only the supervisor handles it.

    A handler and not SIG_IGN, which child processes would inherit.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # The parent blocked them, so that none arrived before the handler was set.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    faulthandler.enable()


def _connect() -> tuple[CommandPipe, EventPipe]:
    """Take both pipes; other readers of standard input get nothing, and ``print`` goes to stderr."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return CommandPipe(source), EventPipe(target)


def _run_job(commands: CommandPipe, events: EventPipe) -> int:
    commands.watch()
    try:
        _run_role(commands, events)
    except OrphanedError:
        raise
    except HaltedError:
        return 0
    except AmagoError as error:
        events.send("error", **error_to_event(error))
        return USER_ERROR
    except BaseException:
        events.send("crash", text=traceback.format_exc())
        return CRASH
    return 0


def _run_role(commands: CommandPipe, events: EventPipe) -> None:
    if commands.job.name == "learner":
        from amago_core.running.processes.learner_process import run_learner

        run_learner(commands, events)
    else:
        from amago_core.running.processes.collector_process import run_collector

        run_collector(commands, events)
