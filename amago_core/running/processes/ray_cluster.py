"""The Ray cluster that collectors run on; the only module that imports Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module, metadata
from typing import Any

from amago_core.errors import ClusterError
from amago_core.running.processes.messages import ProcessJob
from amago_core.running.processes.ray_collector import RemoteCollector

_POLL_SECONDS = 0.2


class LostActorError(Exception):
    """The process or the machine of a Ray actor is gone."""


class RayActorHandle:
    """Handle of a collector's Ray actor, on some machine of the cluster.

    Args:
        ray: The module.
        handle: Ray's own handle of the actor.
    """

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray, self._handle = ray, handle

    def call(self, method: str, *values: Any, check: Callable[[], None]) -> Any:
        """Call a method of the actor and return its result.

        Args:
            method: Name of the method.
            values: Its arguments.
            check: Called every ``_POLL_SECONDS`` until the result is there; may raise.

        Raises:
            LostActorError: If the actor is gone.
        """
        result = getattr(self._handle, method).remote(*values)
        try:
            while not self._ray.wait([result], timeout=_POLL_SECONDS)[0]:
                check()
            return self._ray.get(result)
        except self._ray.exceptions.RayTaskError:
            raise  # The actor is alive, and its method raised an error.
        except self._ray.exceptions.RayError as error:
            raise LostActorError(str(error)) from error

    def kill(self) -> None:
        """Kill the actor, if it has not ended yet."""
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(self._handle)


class Cluster:
    """A Ray cluster that this process has joined.

    Args:
        ray: The module.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        # SPREAD: over as many machines as possible. Ray ends the actors when this process ends.
        spread = ray.remote(num_cpus=1, num_gpus=0, scheduling_strategy="SPREAD", max_restarts=0)
        self._actor_class = spread(RemoteCollector)

    @property
    def machines(self) -> int:
        """Number of machines in the cluster, at least 1."""
        return max(1, len([node for node in self._ray.nodes() if node["Alive"]]))

    def put(self, value: Any) -> Any:
        """Put a value into the cluster's object store; return a reference to it."""
        return self._ray.put(value)

    def start_collector(self, job: ProcessJob, environment: bytes) -> RayActorHandle:
        """Start a collector where a CPU is free; Ray queues it until one is."""
        version = metadata.version("amago-core")
        actor = self._actor_class.remote(job.number, job.spec, environment, version)
        return RayActorHandle(self._ray, actor)


@contextmanager
def join_cluster(address: str | None) -> Iterator[Cluster]:
    """Join a Ray cluster, and leave it at the end unless the program had joined it before.

    Args:
        address: See ``running.ray_address``.

    Raises:
        ClusterError: If Ray is not installed, or there is no such cluster.
    """
    try:
        ray = import_module("ray")
    except ImportError as error:
        raise ClusterError(
            f"running.engine=ray needs Ray, which cannot be imported here ({error}): "
            "pip install 'amago-core[ray]'. Or write running.engine=local."
        ) from error
    if ray.is_initialized():
        yield Cluster(ray)
        return
    try:
        ray.init(
            address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    except Exception as error:  # Ray raises many classes of exceptions here.
        raise ClusterError(
            f"running.ray_address={address or 'null'}: this Ray cluster cannot be joined "
            f"({type(error).__name__}: {error}). Start one with `ray start --head`, or write "
            "running.engine=local."
        ) from error
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()
