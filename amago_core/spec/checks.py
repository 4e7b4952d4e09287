"""What a run learns from: what it collects, a dataset, or both; and what contradicts itself there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_core.spec.schema import SamplingSpec
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.spec import RunSpec


_SHARE = SamplingSpec().dataset_share


def check_learning_data(spec: RunSpec, *, acts: bool) -> None:
    """Refuse a run that would learn from nothing, or never look at what it collects or was given.

    Args:
        spec: The resolved spec.
        acts: Whether there is an environment to train in, the spec's or a local one.

    Raises:
        AmagoError: Saying what to change.
    """
    if spec.dataset is None:
        _check_without_dataset(spec)
    elif spec.training.steps_per_round:
        _check_both(spec, spec.dataset.use, acts=acts)
    else:
        _check_dataset_alone(spec, spec.dataset.use, acts=acts)


def data_notes(spec: RunSpec) -> list[str]:
    """Return what to tell users whose run does not do all that its spec seems to say."""
    sampling, training = spec.sampling, spec.training
    notes = []
    updates = training.rounds * training.updates_per_round
    moves = sampling.final_dataset_share not in (None, sampling.dataset_share)
    both = spec.dataset is not None and training.steps_per_round > 0
    if not both and (moves or sampling.dataset_share != _SHARE):
        lacking = "there is no dataset" if spec.dataset is None else "training.steps_per_round is 0"
        notes.append(f"sampling.dataset_share has no effect: {lacking}.")
    if both and moves and sampling.anneal_updates > updates:
        notes.append(
            f"sampling.anneal_updates is {sampling.anneal_updates:,}, and the run takes {updates:,} "
            f"updates: the dataset's share does not get to {sampling.final_dataset_share:g}."
        )
    if spec.dataset is not None and not evaluates(spec) and spec.environment is None:
        notes.append(
            "nothing is evaluated: there is no environment. To see how well the agent does, write "
            "evaluation.environment={use: some-name}."
        )
    return notes


def evaluates(spec: RunSpec) -> bool:
    """Return whether the spec names an environment to evaluate in."""
    return spec.environment is not None or spec.evaluation.environment is not None


def _check_without_dataset(spec: RunSpec) -> None:
    if not spec.training.steps_per_round:
        raise AmagoError(
            "training.steps_per_round is 0, and there is no dataset: there is nothing to learn from. "
            "Write dataset: {use: some-name} (`amago components dataset` lists them), or more steps."
        )


def _check_both(spec: RunSpec, use: str, *, acts: bool) -> None:
    if not acts:
        raise AmagoError(
            f"training.steps_per_round is {spec.training.steps_per_round}, and this spec has no "
            "environment to take steps in: write training.steps_per_round=0 to learn from the dataset "
            f"{use} alone, or environment: {{use: some-name}}."
        )
    if not spec.training.updates_per_round:
        raise AmagoError(
            f"training.updates_per_round is 0: nothing is learned from the dataset {use}. Write how "
            "often to learn in a round, or dataset=null."
        )
    first, final = spec.sampling.dataset_share, spec.sampling.final_dataset_share
    shares = {first, first if final is None else final}
    if shares == {0.0}:
        raise AmagoError(
            f"sampling.dataset_share is 0: the dataset {use} is never drawn from. Write a share "
            "above 0, or dataset=null."
        )
    if shares == {1.0}:
        raise AmagoError(
            "sampling.dataset_share is 1: nothing is learned from the steps that are collected. Write "
            "a share below 1, or training.steps_per_round=0."
        )


def _check_dataset_alone(spec: RunSpec, use: str, *, acts: bool) -> None:
    if not spec.training.updates_per_round:
        raise AmagoError(
            "training.steps_per_round and training.updates_per_round are both 0: nothing would happen. "
            f"Write how often to learn from the dataset {use} in a round."
        )
    if spec.running.mode == "async":
        raise AmagoError(
            "running.mode is async, and training.steps_per_round is 0: there is nothing to collect "
            "beside the learner. Write running.mode=interleaved."
        )
    stop = spec.training.stop.return_
    if stop is not None and not (acts or evaluates(spec)):
        raise AmagoError(
            f"training.stop.return is {stop:g}, and there is no environment to evaluate in: write "
            "evaluation.environment={use: some-name}, or training.stop.return=null."
        )


def spec_notes(spec: RunSpec) -> list[str]:
    """Return a sentence for each option that has no effect beside the others, or less than it says."""
    return [*data_notes(spec), *_idle(spec)]


def _idle(spec: RunSpec) -> list[str]:
    collector, running, length = spec.collector, spec.running, spec.agent.context_length
    notes = []
    if running.mode != "async" and running.collectors > 1:
        notes.append(
            f"running.collectors={running.collectors} has no effect: running.mode is {running.mode}. "
            "Write running.mode=async for collectors beside the learner."
        )
    for name, idle in (
        ("step_timeout", collector.step_timeout is None),
        ("processes", collector.processes == "auto"),
    ):
        if not idle and collector.vectorization != "async":
            notes.append(
                f"collector.{name}={getattr(collector, name)} has no effect: collector.vectorization "
                f"is {collector.vectorization}. Write collector.vectorization=async for environments "
                "in processes."
            )
    if collector.segment_length is not None and collector.segment_length < length:
        notes.append(
            f"collector.segment_length={collector.segment_length} is below "
            f"agent.context_length={length}: what is learned from is no longer than a segment."
        )
    return notes
