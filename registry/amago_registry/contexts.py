"""Contexts: the constructor argument that the engine passes to each kind of part, beside its options.

A part is built as ``Part(context, options)``. Contexts are keyword-only and may gain fields in later
versions: read the fields you need, and construct a context only in tests.

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
    """Context of environments.

    Args:
        seed: Seed of random numbers drawn once per run; tasks are seeded by ``reset(seed=...)``.
    """

    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class EncoderContext:
    """Context of encoders.

    Args:
        observation_space: Always a ``Dict``; a bare observation has the key ``observation``.
        action_space: Canonical; see the top of this module.
    """

    observation_space: spaces.Dict
    action_space: spaces.Space[Any]


@dataclass(frozen=True, kw_only=True)
class BackboneContext:
    """Context of sequence backbones.

    Args:
        in_dim: Width of the encoder's vectors.
        context_length: Most transitions of a training sequence; the policy sees one more timestep.
        build: Builds a nested part: ``build(options.attention, AttentionContext(...))``.
    """

    in_dim: int
    context_length: int
    build: Callable[[Part[Any], Any], Any]


@dataclass(frozen=True, kw_only=True)
class AttentionContext:
    """Context of attention kernels.

    Args:
        heads: Query heads.
        kv_heads: Key and value heads; divides ``heads``.
        head_dim: Features per head.
        capacity: Most timesteps in the KV cache, including the current one, excluding sinks.
        window: Size of the sliding window: timesteps a query attends to, including its own; None for
            all.
        sinks: Attention sinks: the first timesteps of a sequence (acting: since the reset), which stay
            visible after they leave the window or a full cache.
    """

    heads: int
    kv_heads: int
    head_dim: int
    capacity: int
    window: int | None = None
    sinks: int = 0


@dataclass(frozen=True, kw_only=True)
class ActorContext:
    """Context of actors.

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
    """Context of critics; fields as in :class:`ActorContext`."""

    in_dim: int
    action_space: spaces.Space[Any]
    discounts: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ObjectiveContext:
    """Context of objectives.

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
    """Context of relabelers.

    Args:
        with_goals: The environment's ``with_goals(columns, goals)``: the trajectory that the same
            actions would have produced with these goals; see
            :class:`amago_registry.protocols.Environment`. None if the environment has none.
        environment: Name of the environment, for error messages; empty if there is none.
        columns: Names of the observation columns (``obs.<key>``) and recorded columns, with the shape
            of one timestep; None if unknown.
        build: Builds a nested relabeler: ``build(part, context)``.
    """

    with_goals: Callable[[Columns, Any], Columns] | None = None
    environment: str = ""
    columns: Mapping[str, tuple[int, ...]] | None = None
    build: Callable[[Part[Any], RelabelerContext], Any] | None = None


@dataclass(frozen=True, kw_only=True)
class ExplorationContext:
    """Context of exploration strategies.

    Args:
        action_space: Canonical; see the top of this module.
        environments: Number of parallel environments.
        horizon: Most steps of a trajectory; None if the environment does not declare it.
    """

    action_space: spaces.Space[Any]
    environments: int
    horizon: int | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetContext:
    """Context of datasets.

    Args:
        context_length: Most transitions of a training sequence.
        observation_space: That of the spec's environment, as declared; None without an environment.
        action_space: That of the spec's environment, as declared; None without an environment.
        build: Builds a nested dataset: ``build(part, context)``.
    """

    context_length: int
    observation_space: spaces.Space[Any] | None
    action_space: spaces.Space[Any] | None
    build: Callable[[Part[Any], Any], Any]


@dataclass(frozen=True, kw_only=True)
class TrackerContext:
    """Context of trackers.

    Args:
        run_dir: Folder of the run.
    """

    run_dir: Path
