"""The evaluator and its results, by task and by attempt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Listener, SpyAgent, Walk, policy, tiny

import amago_core
from amago_core.acting.episode_stats import EpisodeStats
from amago_core.acting.evaluation_result import Attempt, Evaluation, TaskResult, summarize
from amago_core.acting.evaluator import EVALUATION_STREAM, FRESH_STREAM, Evaluator
from amago_core.acting.task import Task
from amago_core.acting.task_seeds import task_seed
from amago_core.compose.tasks import compose_task
from amago_core.environments import (
    EnvironmentCrashed,
    EnvironmentFault,
    GymnasiumVectorEnvironments,
    SyncEnvironments,
    make_checked,
)
from amago_core.errors import AmagoError
from amago_core.run_folder.load_agent import load_agent
from amago_core.run_folder.run_dir import RunDir
from amago_core.spec import load_spec


def stats(total: float, *attempts: tuple[float, float], length: int = 4) -> EpisodeStats:
    successes, returns = ([attempt[side] for attempt in attempts] for side in (0, 1))
    return EpisodeStats(0, length, total, np.array(successes, float), np.array(returns, float))


def test_a_summary_has_means_over_tasks_and_their_standard_error() -> None:
    result = summarize([stats(1, length=2), stats(3), stats(5, length=6)])
    assert result.episodes == 3
    assert result.mean_return == 3
    assert result.standard_error == pytest.approx(2 / 3**0.5)
    assert result.length == 4
    assert result.success is None
    assert result.attempts == ()
    assert result.adaptation is None


def test_one_task_has_no_standard_error() -> None:
    assert summarize([stats(1)]).standard_error == 0


def test_attempts_are_averaged_over_the_tasks_that_reached_them() -> None:
    tasks = [stats(9, (0, 1), (1, 5)), stats(9, (1, 3)), stats(9, (1, 2), (0, 1), (1, 7))]
    first, second, third = summarize(tasks).attempts
    # Returns 1, 3, 2, then 5, 1, then 7; their standard deviations are 1 and the root of 8.
    assert (first.tasks, first.success, first.total) == (3, pytest.approx(2 / 3), 2)
    assert first.standard_error == pytest.approx(1 / 3**0.5)
    assert (second.tasks, second.success, second.total) == (2, 0.5, 3)
    assert second.standard_error == pytest.approx(2)
    assert third == Attempt(tasks=1, success=1, total=7, standard_error=0)


def test_success_is_the_mean_over_tasks_of_their_mean_over_attempts() -> None:
    assert summarize([stats(0, (1, 0), (0, 0)), stats(0, (1, 0)), stats(0)]).success == 0.75


def test_tasks_of_one_attempt_have_no_adaptation() -> None:
    result = summarize([stats(1, (1, 1)), stats(0, (0, 0))])
    assert result.success == 0.5
    assert result.attempts == ()


@pytest.mark.parametrize(
    ("attempts", "expected"), [(2, (0, 1)), (10, (0, 9)), (20, (0.5, 18.5)), (25, (0.5, 23.5))]
)
def test_adaptation_compares_the_first_tenth_of_the_attempts_with_the_last(
    attempts: int, expected: tuple[float, float]
) -> None:
    curve = tuple(Attempt(1, 0.0, float(number), 0.0) for number in range(attempts))
    assert Evaluation(1, 0.0, 0.0, None, 1.0, curve).adaptation == expected


def test_attempts_that_few_tasks_reached_do_not_count_for_adaptation() -> None:
    result = summarize([stats(3, (0, 1), (0, 1), (1, 1)), stats(2, (0, 0), (1, 1))])
    assert [attempt.tasks for attempt in result.attempts] == [2, 2, 1]
    assert result.shared_attempts == result.attempts[:2]
    assert result.adaptation == (0.5, 1)
    assert summarize([stats(2, (0, 1), (1, 1)), stats(0, (0, 0))]).adaptation is None
    nine = [stats(1, (0, 0), (1, 1))] * 9
    assert summarize([*nine, stats(0, (0, 0))]).adaptation == (0, 1)


def test_named_tasks_have_their_own_results() -> None:
    ones = [stats(1, (1, 1), length=2), stats(5, (0, 5), length=4), stats(7)]
    result = summarize([replace(one, task=task) for one, task in zip(ones, "aab", strict=True)])
    assert result.tasks == (
        TaskResult("a", episodes=2, mean_return=3, standard_error=2, success=0.5, length=3),
        TaskResult("b", episodes=1, mean_return=7, standard_error=0, success=None, length=4),
    )
    assert (result.episodes, result.mean_return) == (3, pytest.approx(13 / 3))
    assert summarize(ones).tasks == ()


def test_an_evaluation_survives_a_json_round_trip() -> None:
    ones = [replace(stats(2, (1, 1), (0, 1)), task=task) for task in "ab"]
    result = summarize(ones)
    assert len(result.attempts) == len(result.tasks) == 2
    assert Evaluation.from_stored(json.loads(json.dumps(asdict(result)))) == result


class Sampler(SpyAgent):
    """Draws one number per step from torch's global generator and acts on it."""

    def act(self, *args: Any, **settings: Any) -> Any:
        action, state = super().act(*args, **settings)
        return torch.randint(0, 3, action.shape), state


def evaluate(agent: SpyAgent, episodes: int, environments: int, longest: int = 9) -> Evaluation:
    make = lambda: Walk(longest)  # noqa: E731
    task = Task("walk", make, make().observation_space, make().action_space, None)
    evaluator = Evaluator(task, episodes=episodes, environments=environments, sample=False, seed=3)
    result = evaluator(agent)  # type: ignore[arg-type]
    assert evaluator(agent) == result  # type: ignore[arg-type]
    return result


def slow_total(number: int, longest: int) -> float:
    """Return of the policy on one evaluation task."""
    env = Walk(longest)
    env.reset(seed=task_seed(3, 1, number))
    prev_action, prev_reward, total, done = np.zeros(3, np.float32), 0.0, 0.0, False
    while not done:
        action = int(policy(env.time, prev_action, float(np.float32(prev_reward)), 0))
        _, prev_reward, done, _, _ = env.step(action)
        prev_action = np.eye(3, dtype=np.float32)[action]
        total += prev_reward
    return total


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.sampled_from([1, 4, 40]))
def test_an_evaluation_always_counts_the_first_tasks_and_no_others(
    episodes: int, environments: int, longest: int
) -> None:
    """Counting whatever ends first would favour short tasks."""
    result = evaluate(SpyAgent(), episodes, environments, longest)
    assert result.episodes == episodes
    expected = np.mean([slow_total(number, longest) for number in range(episodes)])
    assert result.mean_return == pytest.approx(expected, abs=1e-4)


class Crashing(SyncEnvironments):
    """Walks that crash at some calls of ``step``, counted from 1."""

    def __init__(self, count: int, crashes_at: Sequence[int]) -> None:
        super().__init__(make_checked(lambda: Walk(9), "walk", count))
        self._crashes_at, self._steps = crashes_at, 0

    def step(self, action: np.ndarray, active_B: np.ndarray | None = None) -> None:
        self._steps += 1
        if self._steps in self._crashes_at:
            raise EnvironmentCrashed(f"environment walk: crashed in step {self._steps}.")
        super().step(action, active_B)

    def restart(self) -> None:
        pass


def crashing(crashes_at: Sequence[int], max_restarts: int) -> tuple[Evaluator, list[str]]:
    task, notes = Task("walk", Walk, Walk().observation_space, Walk().action_space, None), list[str]()
    evaluator = Evaluator(
        task,
        episodes=8,
        environments=2,
        sample=False,
        seed=3,
        make_many=lambda count: Crashing(count, crashes_at),
        max_restarts=max_restarts,
        note=notes.append,
    )
    return evaluator, notes


def test_an_evaluation_with_crashes_counts_the_same_tasks() -> None:
    evaluator, notes = crashing(crashes_at=[1, 4, 11, 17], max_restarts=4)
    assert evaluator(SpyAgent()) == evaluate(SpyAgent(), 8, 2)  # type: ignore[arg-type]
    assert len(notes) == 4


def test_restarts_are_counted_over_all_evaluations() -> None:
    evaluator, notes = crashing(crashes_at=[1, 101], max_restarts=1)

    def evaluate_often() -> None:
        for _ in range(30):
            evaluator(SpyAgent())  # type: ignore[arg-type]

    with pytest.raises(EnvironmentCrashed) as caught:
        evaluate_often()
    assert str(caught.value) == "environment walk: crashed in step 101."
    assert len(notes) == 1


def test_a_task_longer_than_a_segment_is_counted_whole(monkeypatch: Any) -> None:
    whole = evaluate(SpyAgent(), 3, 2, longest=200)
    monkeypatch.setattr("amago_core.acting.evaluator._SEGMENT_LENGTH", 16)
    assert evaluate(SpyAgent(), 3, 2, longest=200) == whole
    assert whole.length > 100


class Endless(Walk):
    """Pays 1 per step and never ends."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), 1.0, False, False, {}


def endless(limit: int | None, horizon: int | None = None) -> Evaluator:
    space = Endless().observation_space
    task = Task("endless", Endless, space, Endless().action_space, horizon)
    return Evaluator(task, episodes=5, environments=2, sample=False, seed=3, step_limit=limit)


def test_a_trajectory_is_cut_at_the_step_limit_and_counted() -> None:
    result = endless(limit=7)(SpyAgent())  # type: ignore[arg-type]
    assert (result.episodes, result.mean_return, result.length) == (5, 7, 7)


def test_a_step_limit_does_not_change_shorter_tasks() -> None:
    make = lambda: Walk(9)  # noqa: E731
    task = Task("walk", make, make().observation_space, make().action_space, None)
    cut, whole = (
        Evaluator(task, episodes=9, environments=2, sample=False, seed=3, step_limit=limit)
        for limit in (9, None)
    )
    assert cut(SpyAgent()) == whole(SpyAgent())  # type: ignore[arg-type]


@pytest.mark.parametrize(("horizon", "max_steps"), [(None, 40), (30, 40), (64, 64)])
def test_an_endless_task_is_an_error_that_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, horizon: int | None, max_steps: int
) -> None:
    monkeypatch.setattr("amago_core.acting.evaluator.MAX_TASK_STEPS", 40)
    with pytest.raises(EnvironmentFault) as caught:
        endless(None, horizon)(SpyAgent())  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"environment endless: a task has not ended after {max_steps} steps of an evaluation. "
        "Set evaluation.step_limit=<steps> to cut trajectories there, or give the environment a time "
        "limit."
    )


def test_an_evaluation_is_reproducible_and_restores_the_random_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = evaluate(Sampler(), 6, 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert evaluate(Sampler(), 6, 2) == first


def test_a_run_can_be_evaluated_repeatedly(tmp_path: Path) -> None:
    run = tmp_path / "run"
    amago_core.train(tiny(), run=run, reporter=Listener())
    of_training = (run / "evaluation.json").read_bytes()
    assert amago_core.evaluate(run) == amago_core.evaluate(run)
    more = amago_core.evaluate(run, ["evaluation.episodes=5"])
    results = run / "evaluations"
    assert sorted(path.name for path in results.iterdir()) == [
        "001.json", "001.png", "002.json", "002.png", "003.json", "003.png",
    ]  # fmt: skip
    stored = json.loads((results / "003.json").read_text())
    assert stored["checkpoint"] == str(run / "checkpoints" / "round-00000004")
    assert (stored["round"], stored["update"]) == (4, 8)
    assert (stored["environment"], stored["overrides"]) == (
        "standard/bandit", ["evaluation.episodes=5"],
    )  # fmt: skip
    result = stored["evaluation"]
    assert (result["episodes"], result["mean_return"]) == (5, more.mean_return)
    assert len(result["attempts"]) == 10
    assert (run / "evaluation.json").read_bytes() == of_training


def test_a_folder_that_is_not_a_run_cannot_be_evaluated(tmp_path: Path) -> None:
    with pytest.raises(AmagoError) as caught:
        amago_core.evaluate(tmp_path / "nothing")
    assert str(caught.value) == f"{tmp_path / 'nothing'} is not a run: it does not exist."
    with pytest.raises(AmagoError) as caught:
        amago_core.evaluate(tmp_path)
    assert str(caught.value) == f"{tmp_path} is not a run: it holds no spec.yaml."


def test_a_run_without_a_checkpoint_cannot_be_evaluated(tmp_path: Path) -> None:
    import shutil

    run = tmp_path / "run"
    amago_core.train(tiny(), ["training.rounds=1"], run=run, reporter=Listener())
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(AmagoError) as caught:
        amago_core.evaluate(run)
    assert str(caught.value) == f"{run} holds no checkpoint."


def test_amago_evaluate_uses_tasks_that_training_did_not_evaluate_on(tmp_path: Path) -> None:
    spec, run = tiny(), tmp_path / "run"
    trained = amago_core.train(spec, run=run, reporter=Listener())
    task = compose_task(load_spec(spec).environment, 0)
    resolved = load_spec(spec)
    agent = load_agent(RunDir(run))
    results = [
        Evaluator(
            task,
            episodes=resolved.evaluation.episodes,
            environments=resolved.collector.environments,
            sample=resolved.evaluation.sample,
            seed=resolved.seed,
            stream=stream,
        )(agent)
        for stream in (EVALUATION_STREAM, FRESH_STREAM)
    ]
    assert results == [trained.evaluation, amago_core.evaluate(run)]
    assert results[0] != results[1]


def test_an_evaluation_cannot_change_the_agent(tmp_path: Path) -> None:
    run = tmp_path / "run"
    amago_core.train(tiny(), ["training.rounds=1"], run=run, reporter=Listener())
    with pytest.raises(AmagoError) as caught:
        amago_core.evaluate(run, ["agent.discount=0.5", "evaluation.episodes=2"])
    assert str(caught.value) == (
        f"{run} is trained; an evaluation cannot change\n  agent.discount: 0.999 -> 0.5\n"
        "It can change environment, evaluation, collector, running, seed."
    )


def test_an_environment_with_other_spaces_than_the_agent_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    amago_core.train(tiny(), ["training.rounds=1"], run=run, reporter=Listener())
    with pytest.raises(AmagoError) as caught:
        amago_core.evaluate(run, ["environment.arms=7"])
    assert str(caught.value) == (
        "the agent cannot be evaluated on environment standard/bandit: its actions are Discrete(7), "
        "those of the environment it was trained on are Discrete(3)."
    )


class ActionLength(Walk):
    """A walk whose length depends on the actions."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, *_, info = super().step(action)
        self.length = 99
        return obs, reward, self.time == 3 + 4 * int(action), False, info

    def reset(self, **words: Any) -> tuple[Any, dict[str, Any]]:
        obs, _ = super().reset(**words)
        return obs, {"task": f"{self.np_random.integers(10**9)}"}


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_an_evaluation_has_the_same_tasks_in_every_autoreset_mode(
    mode: AutoresetMode,
) -> None:
    made: list[Any] = []

    def many(count: int) -> GymnasiumVectorEnvironments:
        vector = SyncVectorEnv([ActionLength] * count, autoreset_mode=mode)
        made.append(GymnasiumVectorEnvironments(vector, "walk"))
        return made[-1]

    task = Task(
        "walk", ActionLength, ActionLength().observation_space, ActionLength().action_space, None
    )
    evaluator = Evaluator(task, episodes=6, environments=2, sample=False, seed=3, make_many=many)
    names = []
    for action in (0, 1):
        agent: Any = Constant(action)
        names.append([one.name for one in evaluator(agent).tasks])
    assert len(names[0]) == 6
    assert names[0] == names[1]
    expected = [ActionLength().reset(seed=task_seed(3, 1, number))[1]["task"] for number in range(6)]
    assert names[0] == sorted(expected)


class Constant(SpyAgent):
    """Always takes one action."""

    def __init__(self, action: int) -> None:
        super().__init__()
        self.action = action

    def act(self, *args: Any, **settings: Any) -> Any:
        action, state = super().act(*args, **settings)
        return torch.full_like(action, self.action), state
