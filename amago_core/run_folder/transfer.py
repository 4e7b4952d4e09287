"""Transfer of weights from another run, where name and shape match (``init_from``)."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from amago_core.compose.build import Composition, compose
from amago_core.environments import MakeEnvironment
from amago_core.run_folder.checkpoints import STATE, CheckpointError
from amago_core.run_folder.run_dir import RunDir
from amago_core.run_folder.weights import Weights, checkpoint_at, read_weights_in, weights_of
from amago_core.spec import RunSpec
from amago_core.system.atomic_files import replace_file
from amago_registry.errors import AmagoError, did_you_mean

REPORT = "init_from.json"
"""File in the folder of the new run that lists which tensors were transferred."""

_MAX_SHOWN = 3

_LOW_SHARE = 0.1


class InitFromError(AmagoError):
    """Another run whose weights cannot be transferred."""


@dataclass(frozen=True)
class WeightTransfer:
    """The report of a weight transfer: which tensors were loaded, and which were not.

    Args:
        source: Path of the run or the checkpoint, as the spec names it.
        round: Training rounds of the source.
        update: Updates of the source.
        share: Fraction of the trained parameters (numbers, not tensors) that were loaded.
        matched: Names of the loaded tensors.
        fresh: Names of the tensors that keep their initial values, and why.
        unused: Names of the source's tensors that this agent does not have.
    """

    source: str
    round: int
    update: int
    share: float
    matched: tuple[str, ...]
    fresh: dict[str, str]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """Return the lines shown to the user: a total, and one for each part not loaded in full."""
        total = len(self.matched) + len(self.fresh)
        lines = [
            f"weights from {self.source} (round {self.round}): {len(self.matched)} of {total} tensors"
        ]
        if self.share < _LOW_SHARE:
            lines.append(
                f"  WARNING: only {self.share:.1%} of the trained parameters were transferred, nearly "
                "all of the agent is newly initialized; compare its spec.yaml with this one."
            )
        parts = list(dict.fromkeys(_part(name) for name in (*self.matched, *self.fresh)))
        complete = [part for part in parts if part not in map(_part, self.fresh)]
        if complete:
            lines.append(f"  complete: {', '.join(complete)}")
        lines += [self._part_line(part) for part in parts if part not in complete]
        if self.unused:
            lines.append(f"  not used: {_shorten(self.unused)}")
        return "\n".join(lines)

    def _part_line(self, part: str) -> str:
        fresh = [f"{name}: {why}" for name, why in self.fresh.items() if _part(name) == part]
        matched = sum(_part(name) == part for name in self.matched)
        return f"  {part}, {matched} of {matched + len(fresh)}; newly initialized: {_shorten(fresh)}"

    def write(self, run: Path) -> None:
        """Write the report into a run's folder, as ``init_from.json``."""
        replace_file(run / REPORT, json.dumps(asdict(self), indent=1).encode())


def read_weights(init_from: str) -> Weights:
    """Read the newest checkpoint of a run, or the checkpoint at a path, whatever its folder's name.

    Args:
        init_from: Its folder, which may be ``checkpoints/best`` of a run; a relative path begins in the
            working directory.

    Raises:
        InitFromError: If there is none; the message says what is there.
        CheckpointError: If the given checkpoint is damaged.
    """
    path = Path(init_from)
    run = RunDir(path)
    if run.spec.is_file():
        return replace(_newest_weights(run), source=init_from)
    checkpoint = checkpoint_at(path)
    if checkpoint is None:
        raise InitFromError(_not_a_run(path))
    return read_weights_in(checkpoint, init_from)


def compose_from(
    spec: RunSpec, environment: MakeEnvironment | None = None
) -> tuple[Composition, WeightTransfer | None]:
    """Build all parts of a spec, with the weights that ``init_from`` names.

    Args:
        spec: The resolved spec.
        environment: Makes a local environment, in place of the spec's.

    Returns:
        The parts and the report of the transfer, which is None without ``init_from``.

    Raises:
        AmagoError: If the weights cannot be read or do not fit, or the parts cannot be built.
    """
    if spec.init_from is None:
        return compose(spec, environment), None
    weights, transfers = read_weights(spec.init_from), list[WeightTransfer]()
    parts = compose(
        spec,
        environment,
        prepare=lambda agent: transfers.append(transfer_weights(agent, weights, spec.name)),
    )
    return parts, transfers[0]


def _newest_weights(run: RunDir) -> Weights:
    try:
        return weights_of(run)
    except CheckpointError as error:
        raise InitFromError(f"init_from: {error}") from None


def transfer_weights(agent: nn.Module, weights: Weights, name: str) -> WeightTransfer:
    """Load another agent's tensors where name and shape match, and report which did.

    Statistics (a module's own buffers) are only valid together: a step count without the mean it
    belongs to would freeze the mean. A module's buffers are loaded if all of them match, else none is.

    Args:
        agent: The agent to load into; unchanged where nothing matches.
        weights: The weights to load.
        name: Name of the new run, for the message.

    Raises:
        InitFromError: If no trained tensor matches, or one that does is not finite.
    """
    here, there = agent.state_dict(), weights.tensors
    fresh = {key: _mismatch(tensor, there.get(key)) for key, tensor in here.items()}
    fresh = {key: why for key, why in fresh.items() if why}
    fresh |= _partial_buffers(agent, here.keys(), fresh)
    matched = tuple(key for key in here if key not in fresh)
    trained = dict(agent.named_parameters())
    if not trained.keys() & set(matched):
        raise InitFromError(
            f"init_from: no weight of {weights.source} (round {weights.round}) fits the agent of run "
            f"'{name}'. {_closest(trained, there)} Compare the agent in its spec.yaml with this one, "
            "or write init_from=null to train from scratch."
        )
    _refuse_infinite({name: there[name] for name in matched if name in trained}, weights.source)
    agent.load_state_dict(here | {key: there[key] for key in matched})
    return WeightTransfer(
        weights.source,
        weights.round,
        weights.update,
        share=_size(trained[name] for name in matched if name in trained) / _size(trained.values()),
        matched=matched,
        fresh=dict(sorted(fresh.items())),
        unused=tuple(sorted(there.keys() - here.keys())),
    )


def _size(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _refuse_infinite(weights: Mapping[str, Tensor], source: str) -> None:
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InitFromError(f"init_from is {source}, whose {name} is not finite.")


def _mismatch(here: Tensor, there: Tensor | None) -> str:
    if there is None:
        return "not in the source"
    if here.shape != there.shape:
        return _shapes(here, there)
    fits = here.dtype == there.dtype or (here.is_floating_point() and there.is_floating_point())
    return "" if fits else f"{there.dtype} in the source, {here.dtype} here"


def _shapes(here: Tensor, there: Tensor) -> str:
    return f"{tuple(there.shape)} in the source, {tuple(here.shape)} here"


def _partial_buffers(
    agent: nn.Module, stored: Collection[str], fresh: Mapping[str, str]
) -> dict[str, str]:
    """Return the buffers that match where another buffer of the same module does not, and why."""
    partial: dict[str, str] = {}
    for path, module in agent.named_modules():
        names = [name for name, _ in module.named_buffers(path, recurse=False) if name in stored]
        mismatched = [name for name in names if name in fresh]
        if mismatched:
            why = f"belongs to {mismatched[0].rpartition('.')[2]}"
            partial |= {name: why for name in names if name not in fresh}
    return partial


def _closest(here: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> str:
    """Return a sentence about the tensor that is closest to fitting."""
    shared = [name for name in here if name in there]
    if not shared:
        return f"They share no tensor name: the source has {min(there)}, this agent {min(here)}."

    def distance(name: str) -> tuple[bool, float]:
        new, old = here[name], there[name]
        sizes = max(1, new.numel()), max(1, old.numel())
        return new.dim() != old.dim(), abs(math.log(sizes[0] / sizes[1]))

    nearest = min(shared, key=distance)
    return f"The closest is {nearest}: {_shapes(here[nearest], there[nearest])}."


def _not_a_run(path: Path) -> str:
    """Return why a path is not a run, and what is close to it."""
    if path.exists():
        runs = sorted(spec.parent.name for spec in path.glob("*/spec.yaml"))
        inside = f" Runs in it: {_shorten(runs)}." if runs else ""
        return (
            f"init_from is {path}, which is neither a run (it holds no spec.yaml) nor a checkpoint "
            f"(it holds no {STATE}).{inside}"
        )
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    close = did_you_mean(str(path), [str(other) for other in beside if other.is_dir()])
    where = (
        "" if path.is_absolute() else f" A relative path begins in the working directory, {Path.cwd()}."
    )
    return f"init_from is {path}, which does not exist.{close}{where}"


def _part(name: str) -> str:
    return name.partition(".")[0]


def _shorten(items: Sequence[str]) -> str:
    """Return the first few items, and how many more there are."""
    more = len(items) - _MAX_SHOWN
    shown: Iterable[str] = [*items[:_MAX_SHOWN], f"and {more} more"] if more > 0 else items
    return "; ".join(shown)
