"""Hook specifications (pluggy) for plugins: one hook per kind of part.

Every ``amago`` command builds the catalog, which calls each hook once. Return descriptions only, and
keep heavy imports out of the module that holds the hooks. A plugin implements the hooks of the kinds it
has parts for.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from amago_registry.component import Component

hookspec = pluggy.HookspecMarker("amago")
hookimpl = pluggy.HookimplMarker("amago")
"""Decorator that marks a plugin's function as the implementation of the hook of the same name."""


@hookspec
def amago_register_environments() -> Iterable[Component]:
    """Register environments: the tasks an agent is trained and evaluated on.

    Returns:
        Components whose target is called as ``target(context: EnvironmentContext, options)`` and then
        as ``.make()`` once per parallel environment.
    """
    return ()


@hookspec
def amago_register_encoders() -> Iterable[Component]:
    """Register encoders: networks from one timestep's observation, action and reward to one vector.

    Returns:
        Components whose target is called as ``target(context: EncoderContext, options)``.
    """
    return ()


@hookspec
def amago_register_backbones() -> Iterable[Component]:
    """Register backbones: causal sequence models over timestep vectors.

    Returns:
        Components whose target is called as ``target(context: BackboneContext, options)``.
    """
    return ()


@hookspec
def amago_register_attentions() -> Iterable[Component]:
    """Register attention kernels of Transformers, each with its own KV cache.

    Returns:
        Components whose target is called as ``target(context: AttentionContext, options)``.
    """
    return ()


@hookspec
def amago_register_actors() -> Iterable[Component]:
    """Register actors: policy heads from state representations to distributions over actions.

    Returns:
        Components whose target is called as ``target(context: ActorContext, options)``.
    """
    return ()


@hookspec
def amago_register_critics() -> Iterable[Component]:
    """Register critics: estimates of return from state representations and actions.

    Returns:
        Components whose target is called as ``target(context: CriticContext, options)``.
    """
    return ()


@hookspec
def amago_register_objectives() -> Iterable[Component]:
    """Register objectives: the losses that train all of an agent's networks.

    Returns:
        Components whose target is called as ``target(context: ObjectiveContext, options)``.
    """
    return ()


@hookspec
def amago_register_relabelers() -> Iterable[Component]:
    """Register relabelers: hindsight relabeling of sampled trajectories.

    Returns:
        Components whose target is called as ``target(context: RelabelerContext, options)``.
    """
    return ()


@hookspec
def amago_register_explorations() -> Iterable[Component]:
    """Register exploration strategies: they change the policy's actions during collection.

    Returns:
        Components whose target is called as ``target(context: ExplorationContext, options)``.
    """
    return ()


@hookspec
def amago_register_datasets() -> Iterable[Component]:
    """Register datasets: recorded trajectories for offline training.

    Returns:
        Components whose target is called as ``target(context: DatasetContext, options)``.
    """
    return ()


@hookspec
def amago_register_trackers() -> Iterable[Component]:
    """Register trackers: they log the metrics of a run.

    Only trackers named in the spec are built and called.

    Returns:
        Components whose target is called as ``target(context: TrackerContext, options)``.
    """
    return ()
