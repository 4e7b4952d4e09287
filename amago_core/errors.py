"""What can go wrong in the engine, as one tree.

AmagoError                   base of all, shared with plugins: catch this
|-- CatalogError             something about parts and plugins; see amago_registry.errors for its kin
|-- SpecError                a spec that cannot be used; lists every problem at once
|-- EnvironmentFault         an environment that breaks the rules of environments
|   `-- EnvironmentCrashed   its process crashed, hangs or met an exception; it can be started anew
|-- DivergedError            a loss or a gradient that stopped being finite
|-- InitFromError            another run whose weights cannot be taken over
|-- RunDirError              a folder that cannot be used as that of a run
|-- LostProcessError         a learner or collector process that died too often
|-- ClusterError             a Ray cluster that cannot be joined, or on which collectors cannot work
|-- CheckpointError          a checkpoint that cannot be read or written
|-- MissingPluginError       a run's part whose plugin is not installed here
|-- WrongWeightsError        weights that are not those of the agent a run's spec describes
|-- LoaderError              a process that draws batches ended, or cannot be given its work
`-- ReplayError              something about stored trajectories
    |-- TrajectoryError      what was handed over cannot be stored
    |-- DamagedShardError    a file is not what was written
    |-- TrajectoryGoneError  it was stored once, and is no longer there or no longer whole
    `-- NothingStoredError   there is nothing to sample

Plugins add their own below AmagoError. Each class lives beside what raises it.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from amago_registry.errors import AmagoError, CatalogError, reason


class SpecError(AmagoError):
    """A spec that cannot be used; its text lists every problem."""


__all__ = ["AmagoError", "CatalogError", "SpecError"]


def notes_of(error: AmagoError) -> list[str]:
    """Return what is shown below an error's sentence: its notes, or where a user's code raised."""
    notes = list(getattr(error, "__notes__", ()))
    cause = error.__cause__
    if notes or cause is None or not getattr(error, "shows_cause", False):
        return notes
    # Without the frame of the engine that called what is not its own.
    inner = cause.__traceback__ and (cause.__traceback__.tb_next or cause.__traceback__)
    return ["".join(traceback.format_exception(type(cause), cause, inner)).rstrip()]


@contextmanager
def part_errors(kind: str, use: str, doing: str) -> Iterator[None]:
    """Turn whatever a part's own code raises into one sentence that names the part.

    Args:
        kind: Its kind.
        use: Its full name.
        doing: What was tried, before the word ``raised``.

    Raises:
        AmagoError: In place of any other exception; those that are AmagoErrors already pass.
    """
    try:
        yield
    except AmagoError:
        raise
    except Exception as error:
        raise AmagoError(f"the {kind} {use} cannot be used: {doing} raised {reason(error)}") from error


class LoaderError(AmagoError):
    """A process that draws batches ended, or cannot be given its work."""


class RunDirError(AmagoError):
    """A folder that is taken, or is no run."""


class LostProcessError(AmagoError):
    """A learner or collector process that died, and is not started again."""


class ClusterError(AmagoError):
    """A Ray cluster that cannot be joined, or on which collectors cannot work."""
