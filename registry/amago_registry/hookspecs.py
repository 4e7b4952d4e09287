"""The hooks of a plugin: one per kind of part.

Every hook is called once, when the catalog is built, in every ``amago`` command: a module with hooks
returns descriptions and imports nothing heavy. A plugin implements the hooks it has parts for.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from amago_registry.component import Component

hookspec = pluggy.HookspecMarker("amago")
hookimpl = pluggy.HookimplMarker("amago")
"""Marks a plugin's function as the implementation of the hook it is named after."""


@hookspec
def amago_register_environments() -> Iterable[Component]:
    """Offer environments: the tasks an agent is trained and evaluated on.

    Returns:
        Components whose target is called as ``target(context: EnvironmentContext, options)`` and then
        as ``.make()`` once for every copy that runs side by side.
    """
    return ()


@hookspec
def amago_register_encoders() -> Iterable[Component]:
    """Offer encoders: one timestep's observation, action and reward to one vector.

    Returns:
        Components whose target is called as ``target(context: EncoderContext, options)``.
    """
    return ()


@hookspec
def amago_register_backbones() -> Iterable[Component]:
    """Offer backbones: causal sequence models over timestep vectors.

    Returns:
        Components whose target is called as ``target(context: BackboneContext, options)``.
    """
    return ()


@hookspec
def amago_register_attentions() -> Iterable[Component]:
    """Offer attentions: the kernels behind a Transformer's attention, each with its own cache.

    Returns:
        Components whose target is called as ``target(context: AttentionContext, options)``.
    """
    return ()


@hookspec
def amago_register_actors() -> Iterable[Component]:
    """Offer actors: state representations to distributions over actions.

    Returns:
        Components whose target is called as ``target(context: ActorContext, options)``.
    """
    return ()


@hookspec
def amago_register_critics() -> Iterable[Component]:
    """Offer critics: estimates of return from state representations and actions.

    Returns:
        Components whose target is called as ``target(context: CriticContext, options)``.
    """
    return ()


@hookspec
def amago_register_objectives() -> Iterable[Component]:
    """Offer objectives: the losses that train all of an agent's networks.

    Returns:
        Components whose target is called as ``target(context: ObjectiveContext, options)``.
    """
    return ()


@hookspec
def amago_register_relabelers() -> Iterable[Component]:
    """Offer relabelers: they rewrite a sampled trajectory in hindsight.

    Returns:
        Components whose target is called as ``target(context: RelabelerContext, options)``.
    """
    return ()


@hookspec
def amago_register_explorations() -> Iterable[Component]:
    """Offer explorations: they change the policy's actions while collecting.

    Returns:
        Components whose target is called as ``target(context: ExplorationContext, options)``.
    """
    return ()


@hookspec
def amago_register_datasets() -> Iterable[Component]:
    """Offer datasets: trajectories recorded elsewhere, to learn from.

    Returns:
        Components whose target is called as ``target(context: DatasetContext, options)``.
    """
    return ()


@hookspec
def amago_register_trackers() -> Iterable[Component]:
    """Offer trackers: they record what happens during a run.

    Only trackers that the spec names are built and called.

    Returns:
        Components whose target is called as ``target(context: TrackerContext, options)``.
    """
    return ()
