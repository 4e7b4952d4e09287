"""What the composer supplies to each kind of part, beside its options.

A part is built as ``Part(context, options)``. Contexts are keyword-only and may gain fields in later
versions; a part reads the fields it needs and never constructs one, except in tests.

Action spaces are *canonical*, whatever the environment declares: ``Discrete(n)`` and ``MultiDiscrete``
with one axis count from 0, ``MultiBinary`` has one axis, and a ``Box`` has one axis over [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from gymnasium import spaces

    from amago_registry.options import Part

Columns: TypeAlias = "Mapping[str, np.ndarray]"


@dataclass(frozen=True, kw_only=True)
class EnvironmentContext:
    """For environments.

    Args:
        seed: Seed of whatever is drawn once per run; tasks are seeded by ``reset(seed=...)``.
    """

    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EncoderContext:
    """For encoders.

    Args:
        observation_space: Always a ``Dict``; a bare observation has the key ``observation``.
        action_space: Canonical; see the top of this module.
    """

    observation_space: spaces.Dict
    action_space: spaces.Space[Any]


@dataclass(frozen=True, kw_only=True)
class BackboneContext:
    """For sequence backbones.

    Args:
        in_dim: Width of the encoder's vectors.
        context_length: Most transitions a training sequence has; the policy sees one timestep more.
        build: Builds a nested part: ``build(options.attention, AttentionContext(...))``.
    """

    in_dim: int
    context_length: int
    build: Callable[[Part[Any], Any], Any]


@dataclass(frozen=True, kw_only=True)
class AttentionContext:
    """For attention kernels.

    Args:
        heads: Query heads.
        kv_heads: Key and value heads; divides ``heads``.
        head_dim: Features per head.
        capacity: Most timesteps a cache remembers, the present one included, sinks apart.
        window: Most timesteps a query attends to, itself included; None for all.
        sinks: First timesteps of a sequence (acting: since the reset) that stay visible when the
            window, or a full cache, has left them behind.
    """

    heads: int
    kv_heads: int
    head_dim: int
    capacity: int
    window: int | None = None
    sinks: int = 0


@dataclass(frozen=True, kw_only=True)
class ActorContext:
    """For actors.

    Args:
        in_dim: Width of the state representation.
        action_space: Canonical; see the top of this module.
        discounts: One head per discount, the acting one last.
    """

    in_dim: int
    action_space: spaces.Space[Any]
    discounts: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CriticContext:
    """For critics; fields as in :class:`ActorContext`."""

    in_dim: int
    action_space: spaces.Space[Any]
    discounts: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ObjectiveContext:
    """For objectives.

    Args:
        in_dim: Width of the state representation.
        actor: The actor being trained; see :class:`amago_registry.protocols.Actor`.
        critic: The critic being trained; see :class:`amago_registry.protocols.Critic`.
        action_space: Canonical; see the top of this module.
        discounts: One per head, the acting one last.
    """

    in_dim: int
    actor: Any
    critic: Any
    action_space: spaces.Space[Any]
    discounts: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RelabelerContext:
    """For relabelers.

    Args:
        with_goals: ``with_goals(columns, goals)`` returns what the same actions would have been
            recorded as, had the environment asked for these goals; see
            :class:`amago_registry.protocols.Environment`. None where the environment cannot say.
        environment: What users call the environment; empty where there is none. For messages.
        columns: Names of what the environment shows (``obs.<key>``) and records, and the shape of one
            timestep; None where that is not known.
        build: Builds a nested relabeler: ``build(part, context)``.
    """

    with_goals: Callable[[Columns, Any], Columns] | None = None
    environment: str = ""
    columns: Mapping[str, tuple[int, ...]] | None = None
    build: Callable[[Part[Any], RelabelerContext], Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ExplorationContext:
    """For exploration.

    Args:
        action_space: Canonical; see the top of this module.
        environments: Number of environments acting side by side.
        horizon: Most steps a trajectory lasts, where the environment says so.
    """

    action_space: spaces.Space[Any]
    environments: int
    horizon: int | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetContext:
    """For datasets.

    Args:
        context_length: Most transitions that are learned from at a time.
        observation_space: Of the spec's environment, as it declares it; None where there is none.
        action_space: Of the spec's environment, as it declares it; None where there is none.
        build: Builds a nested dataset: ``build(part, context)``.
    """

    context_length: int
    observation_space: spaces.Space[Any] | None
    action_space: spaces.Space[Any] | None
    build: Callable[[Part[Any], Any], Any]


@dataclass(frozen=True, kw_only=True)
class TrackerContext:
    """For trackers.

    Args:
        run_dir: Folder of the run.
    """

    run_dir: Path
