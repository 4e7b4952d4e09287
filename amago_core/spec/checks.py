"""Warnings about options that have no effect, and refusals of contradictions between options.

Most contradictions are between what a run learns from: its own experience, a dataset, or both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_core.spec.schema import SamplingSpec
from amago_registry.errors import AmagoError

if TYPE_CHECKING:
    from amago_core.spec import RunSpec


_DEFAULT_SHARE = SamplingSpec().dataset_share


def check_learning_data(spec: RunSpec, *, acts: bool) -> None:
    """Refuse a spec without learning data, or one that never samples its experience or its dataset.

    Args:
        spec: The resolved spec.
        acts: Whether there is a training environment, the spec's or one passed by a program.

    Raises:
        AmagoError: If the options contradict each other; the text says what to change.
    """
    if spec.dataset is None:
        _check_without_dataset(spec)
    elif spec.training.steps_per_round:
        _check_both(spec, spec.dataset.use, acts=acts)
    else:
        _check_dataset_alone(spec, spec.dataset.use, acts=acts)


def data_notes(spec: RunSpec) -> list[str]:
    """Return warnings about dataset and evaluation options that have no effect, or not the full one."""
    sampling, training = spec.sampling, spec.training
    notes = []
    updates = training.rounds * training.updates_per_round
    annealed = sampling.final_dataset_share not in (None, sampling.dataset_share)
    both = spec.dataset is not None and training.steps_per_round > 0
    if not both and (annealed or sampling.dataset_share != _DEFAULT_SHARE):
        reason = "there is no dataset" if spec.dataset is None else "training.steps_per_round is 0"
        notes.append(f"sampling.dataset_share has no effect: {reason}.")
    if both and annealed and sampling.anneal_updates > updates:
        notes.append(
            f"sampling.anneal_updates is {sampling.anneal_updates:,}, but the run has only {updates:,} "
            f"updates: the dataset's share does not reach {sampling.final_dataset_share:g}."
        )
    if spec.dataset is not None and not evaluates(spec) and spec.environment is None:
        notes.append(
            "the agent is never evaluated: there is no environment. To evaluate it, write "
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
            "Write dataset: {use: some-name} (`amago components dataset` lists them), or set "
            "training.steps_per_round."
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
            f"training.updates_per_round is 0: nothing is learned from the dataset {use}. Set "
            "the updates of a round, or write dataset=null."
        )
    first, final = spec.sampling.dataset_share, spec.sampling.final_dataset_share
    shares = {first, first if final is None else final}
    if shares == {0.0}:
        raise AmagoError(
            f"sampling.dataset_share is 0: the dataset {use} is never sampled. Write a share "
            "above 0, or dataset=null."
        )
    if shares == {1.0}:
        raise AmagoError(
            "sampling.dataset_share is 1: the collected experience is never sampled. Write a "
            "share below 1, or training.steps_per_round=0."
        )


def _check_dataset_alone(spec: RunSpec, use: str, *, acts: bool) -> None:
    if not spec.training.updates_per_round:
        raise AmagoError(
            "training.steps_per_round and training.updates_per_round are both 0: the run would do "
            f"nothing. Set training.updates_per_round to learn from the dataset {use}."
        )
    if spec.running.mode == "async":
        raise AmagoError(
            "running.mode is async, and training.steps_per_round is 0: its collector processes would "
            "have no steps to take. Write running.mode=interleaved."
        )
    stop = spec.training.stop.return_
    if stop is not None and not (acts or evaluates(spec)):
        raise AmagoError(
            f"training.stop.return is {stop:g}, and there is no environment to evaluate in: write "
            "evaluation.environment={use: some-name}, or training.stop.return=null."
        )


def spec_notes(spec: RunSpec) -> list[str]:
    """Return a warning for each option that has no effect given the others, or not the full one."""
    return [*data_notes(spec), *_collection_notes(spec)]


def _collection_notes(spec: RunSpec) -> list[str]:
    collector, running, length = spec.collector, spec.running, spec.agent.context_length
    notes = []
    if running.mode != "async" and running.collectors > 1:
        notes.append(
            f"running.collectors={running.collectors} has no effect: running.mode is {running.mode}. "
            "Write running.mode=async to use several collector processes."
        )
    for name, is_default in (
        ("step_timeout", collector.step_timeout is None),
        ("processes", collector.processes == "auto"),
    ):
        if not is_default and collector.vectorization != "async":
            notes.append(
                f"collector.{name}={getattr(collector, name)} has no effect: collector.vectorization "
                f"is {collector.vectorization}. Write collector.vectorization=async to run "
                "environments in subprocesses."
            )
    if collector.segment_length is not None and collector.segment_length < length:
        notes.append(
            f"collector.segment_length={collector.segment_length} is below "
            f"agent.context_length={length}: training sequences are no longer than a segment."
        )
    return notes
