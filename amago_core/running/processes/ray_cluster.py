"""A Ray cluster that collectors work on; the one module that imports Ray."""

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
    """An actor whose process or machine is gone."""


class RayActorHandle:
    """A collector somewhere in the cluster.

    Args:
        ray: The module.
        handle: Ray's.
    """

    def __init__(self, ray: Any, handle: Any) -> None:
        self._ray, self._handle = ray, handle

    def ask(self, method: str, *values: Any, check: Callable[[], None]) -> Any:
        """Call a method of it and return the answer.

        Args:
            method: Its name.
            values: What it is called with.
            check: Called now and then while there is no answer; may raise.

        Raises:
            LostActorError: If there will be none.
        """
        answer = getattr(self._handle, method).remote(*values)
        try:
            while not self._ray.wait([answer], timeout=_POLL_SECONDS)[0]:
                check()
            return self._ray.get(answer)
        except self._ray.exceptions.RayTaskError:
            raise  # It lives, and has met an error of ours.
        except self._ray.exceptions.RayError as error:
            raise LostActorError(str(error)) from error

    def kill(self) -> None:
        """End it, if it has not ended yet."""
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(self._handle)


class Cluster:
    """A cluster that this process has joined.

    Args:
        ray: The module.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        # SPREAD: on as many machines as there are. An actor lives no longer than this process.
        spread = ray.remote(num_cpus=1, num_gpus=0, scheduling_strategy="SPREAD", max_restarts=0)
        self._kind = spread(RemoteCollector)

    @property
    def machines(self) -> int:
        """How many machines the cluster has, at least 1."""
        return max(1, len([node for node in self._ray.nodes() if node["Alive"]]))

    def put(self, value: Any) -> Any:
        """Put a value into the cluster's object store; return what refers to it."""
        return self._ray.put(value)

    def collector(self, job: ProcessJob, local: bytes) -> RayActorHandle:
        """Start a collector where a CPU is free, or as soon as one is."""
        version = metadata.version("amago-core")
        return RayActorHandle(self._ray, self._kind.remote(job.number, job.spec, local, version))


@contextmanager
def join_cluster(address: str | None) -> Iterator[Cluster]:
    """Join a Ray cluster, and leave it in the end; one that the program has joined is not left.

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
    except Exception as error:  # Of many classes, and none of them ours.
        raise ClusterError(
            f"running.ray_address={address or 'null'}: this Ray cluster cannot be joined "
            f"({type(error).__name__}: {error}). Start one with `ray start --head`, or write "
            "running.engine=local."
        ) from error
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()
