"""The tree of exception classes that the engine raises.

AmagoError                   base of all, shared with plugins: catch this
|-- CatalogError             parts and plugins; its subclasses are drawn in amago_registry.errors
|-- SpecError                a spec that cannot be used; lists every problem at once
|-- EnvironmentFault         an environment that breaks the rules of environments
|   `-- EnvironmentCrashed   its process crashed, hung or raised an exception; it can be restarted
|-- DivergedError            a loss or a gradient that stopped being finite
|-- InitFromError            another run whose weights cannot be transferred
|-- RunDirError              a folder that cannot be used as a run folder
|-- LostProcessError         a learner or collector process that crashed too often
|-- ClusterError             a Ray cluster that cannot be joined, or on which collectors cannot run
|-- CheckpointError          a checkpoint that cannot be read or written
|-- MissingPluginError       a run's part whose plugin is not installed here
|-- WrongWeightsError        weights that do not fit the agent that a run's spec describes
|-- LoaderError              a loader process that ended early or cannot be started
`-- ReplayError              stored trajectories
    |-- TrajectoryError      a trajectory that cannot be stored
    |-- DamagedShardError    a shard file that is not what was written
    |-- TrajectoryGoneError  a trajectory that was evicted, deleted or damaged since it was stored
    `-- NothingStoredError   a replay without a trajectory to sample

Plugins add their own subclasses of AmagoError. SpecError, LoaderError, RunDirError, LostProcessError
and ClusterError are defined in this file, because several packages raise or catch them. The others are
defined in the package that raises them: EnvironmentFault and EnvironmentCrashed in
``environments/environment_errors.py``, ReplayError and its subclasses in ``replay/replay_errors.py``,
DivergedError in ``learning/learner.py``, and CheckpointError, InitFromError, MissingPluginError and
WrongWeightsError in ``run_folder/``.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from amago_registry.errors import AmagoError, CatalogError, reason

__all__ = [
    "AmagoError",
    "CatalogError",
    "ClusterError",
    "LoaderError",
    "LostProcessError",
    "RunDirError",
    "SpecError",
    "notes_of",
    "part_errors",
]


class SpecError(AmagoError):
    """A spec that cannot be used; its text lists every problem."""


def notes_of(error: AmagoError) -> list[str]:
    """Return the lines printed below an error's message: its notes, or the traceback of its cause.

    The traceback is printed where the cause was raised by code of the user, such as an environment
    (``shows_cause``).
    """
    notes = list(getattr(error, "__notes__", ()))
    cause = error.__cause__
    if notes or cause is None or not getattr(error, "shows_cause", False):
        return notes
    # Skip the engine's frame that called the user's code.
    inner = cause.__traceback__ and (cause.__traceback__.tb_next or cause.__traceback__)
    return ["".join(traceback.format_exception(type(cause), cause, inner)).rstrip()]


@contextmanager
def part_errors(kind: str, use: str, doing: str) -> Iterator[None]:
    """Convert exceptions of a part's code into an AmagoError whose message names the part.

    This is where an error message gets the name of its part ("the backbone standard/gru cannot be used:
    building it raised ..."): the engine wraps its calls into a part's code in it.

    Args:
        kind: The part's kind, such as ``backbone``.
        use: Its full name, such as ``standard/gru``.
        doing: What the engine was doing; the message continues with "raised".

    Raises:
        AmagoError: In place of any other exception; an AmagoError is passed on unchanged.
    """
    try:
        yield
    except AmagoError:
        raise
    except Exception as error:
        raise AmagoError(f"the {kind} {use} cannot be used: {doing} raised {reason(error)}") from error


class LoaderError(AmagoError):
    """A loader process that ended early, or cannot be started."""


class RunDirError(AmagoError):
    """A folder that cannot be used as a run folder: in use, not writable, or without a run."""


class LostProcessError(AmagoError):
    """A learner or collector process that crashed and is not restarted."""


class ClusterError(AmagoError):
    """A Ray cluster that cannot be joined, or on which collectors cannot run."""
