"""Subprocess environments: same bits as sync ones, crashes, timeouts, restarts, no leftovers."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
import toys
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from toys import Broken, Choosy, Fragile, Walk

from amago_core.environments import (
    EnvironmentCrashed,
    EnvironmentFault,
    SubprocessEnvironments,
    make_environments,
)
from amago_core.environments.arrays import Column, attach, shared_file
from amago_core.environments.subprocess_envs import shares
from amago_core.system import sockets
from amago_registry.contexts import EnvironmentContext

# By value: an import of the module in subprocesses would import torch, which is slow.
cloudpickle.register_pickle_by_value(toys)

Make = Callable[[], gymnasium.Env[Any, Any]]
NOTHING, RAISE, HANG, EXIT, KILL, CRASH, SHAPE = range(len(Fragile.HARM))


@contextmanager
def running(make: Make, count: int, **words: Any) -> Iterator[SubprocessEnvironments]:
    environments = make_environments(make, "walk", count, "async", **words)
    assert isinstance(environments, SubprocessEnvironments)
    try:
        yield environments
    finally:
        environments.close()


def pids(environments: SubprocessEnvironments) -> list[int]:
    return [process.popen.pid for process in environments._processes]


def is_gone(pid: int, seconds: float = 0.0) -> bool:
    """Return whether a process has ended and been reaped; wait up to ``seconds`` for it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)


def shown(environments: Any) -> dict[str, Any]:
    names = ("reward_B", "terminated_B", "truncated_B", "success_B", "played_B", "began_B")
    arrays = {name: getattr(environments, name).copy() for name in names}
    return {**arrays, **{key: x.copy() for key, x in environments.obs.items()}}


def assert_same(one: Any, other: Any) -> None:
    found, expected = shown(one), shown(other)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key].dtype == values.dtype
        np.testing.assert_array_equal(found[key], values, key)
    assert one.task_B == other.task_B


def harm(*actions: int) -> np.ndarray:
    return np.array(actions, np.int64)


def keeping(space: spaces.Space[Any]) -> Make:
    """Return a factory of environments that keep their last action and pay for every change."""

    class Keeping(Walk):
        last: Any = None

        def step(self, action: Any) -> Any:
            obs, _, *others = super().step(action)
            change = 0 if self.last is None else np.abs(np.asarray(action, float) - self.last).sum()
            self.last = action
            return obs, float(change), *others

    return lambda: Keeping(action=space)


BOX = spaces.Box(-1, 2, (2, 2), np.float32)
CASES: dict[str, Make] = {
    "discrete": Walk,
    "named": lambda: Walk(named=True),
    "nested": lambda: Walk(nested=True),
    "truncated": lambda: Walk(truncates=True),
    "box": lambda: Walk(action=BOX),
    "from 5": lambda: Walk(action=spaces.Discrete(3, start=5)),
    "many": lambda: Walk(action=spaces.MultiDiscrete([2, 3])),
    "bits": lambda: Walk(action=spaces.MultiBinary(3)),
    "choosy": lambda: Choosy(spaces.Discrete(4)),
    "tasks with names": Fragile,
    "keeps a box": keeping(BOX),
    "keeps many": keeping(spaces.MultiDiscrete([2, 3])),
    "keeps bits": keeping(spaces.MultiBinary(3)),
}


def drawn(space: spaces.Space[Any], env_obs: dict[str, np.ndarray]) -> np.ndarray:
    """Return an allowed action for each environment."""
    if "action_mask" in env_obs:
        return env_obs["action_mask"].argmax(1)
    return np.stack([space.sample() for _ in range(5)])


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_results_equal_those_of_sync_environments_to_the_bit(make: Make) -> None:
    alone = make_environments(make, "walk", 5)
    rng, begun = np.random.default_rng(0), 5
    with running(make, 5, processes=2) as environments:
        assert environments.observation_space == alone.observation_space
        for side in (alone, environments):
            side.reset(range(1, 6))
        assert_same(environments, alone)
        environments.action_space.seed(0)
        space = Fragile().action_space if make is Fragile else environments.action_space
        for _ in range(200):
            action = (
                np.zeros(5, int) if make is Fragile else drawn(environments.action_space, alone.obs)
            )
            assert space.contains(action[0])
            ended_B = alone.terminated_B | alone.truncated_B
            if ended_B.any() or rng.random() < 0.05:
                ended_B |= rng.random(5) < 0.1
                seeds = [begun + index if over else None for index, over in enumerate(ended_B)]
                begun += 5
                for side in (alone, environments):
                    side.reset(seeds)
                    side.terminated_B[:] = side.truncated_B[:] = False
                assert_same(environments, alone)
                action = np.zeros(5, int) if make is Fragile else drawn(space, alone.obs)
            active_B = rng.random(5) < 0.8 if rng.random() < 0.3 else None
            for side in (alone, environments):
                side.step(action, active_B)
                if active_B is not None:  # The results of the others are unchanged.
                    side.terminated_B[~active_B] = side.truncated_B[~active_B] = False
            assert_same(environments, alone)
    alone.close()


@given(count=st.integers(1, 300), processes=st.integers(1, 300))
def test_every_environment_is_always_in_one_process_and_shares_are_even(
    count: int, processes: int
) -> None:
    found = shares(count, processes)
    assert [index for share in found for index in share] == list(range(count))
    assert len(found) == min(count, processes)
    sizes = {len(share) for share in found}
    assert max(sizes) - min(sizes) <= 1


def test_shared_arrays_share_memory_and_do_not_overlap() -> None:
    columns = {"a": Column((3, 2), "<f4"), "b": Column((3,), "|b1"), "empty": Column((3, 0), "<f8")}
    memory = shared_file(columns)
    one, other = attach(memory, columns), attach(memory, columns)
    os.close(memory)
    one["a"][:] = 7
    assert other["a"].tolist() == [[7, 7]] * 3
    assert not other["b"].any()
    one["b"][:] = True
    assert other["a"].tolist() == [[7, 7]] * 3
    assert other["empty"].shape == (3, 0)


@pytest.mark.parametrize(
    ("at", "how", "message"),
    [
        (2, "shape", "the observation 'observation' has shape (3,), its space (2,)."),
        (0, "shape", "the observation 'observation' has shape (3,), its space (2,)."),
        (1, "keys", "the observation has the keys ['seen'], its space ['cell', 'seen']."),
        (2, "reward none", "the reward is None instead of being one number."),
    ],
)
def test_an_invalid_value_in_a_subprocess_is_a_fault_and_not_a_crash(
    at: int, how: str, message: str
) -> None:
    with running(lambda: Broken(at, how), 2, processes=1) as environments:
        with pytest.raises(EnvironmentFault) as caught:
            play(environments, 5)
        assert not environments._processes
    assert str(caught.value) == f"environment walk, step {at} of its task: {message}"
    assert type(caught.value) is EnvironmentFault


def play(environments: Any, steps: int) -> None:
    environments.reset([1] * environments.count)
    for _ in range(steps):
        environments.step(np.zeros(environments.count, int))


@pytest.mark.parametrize(("at", "call"), [(3, "step"), (0, "reset")])
def test_an_exception_of_an_environment_is_a_crash_with_its_traceback(at: int, call: str) -> None:
    with (
        running(lambda: Broken(at, "raise"), 2, processes=1) as environments,
        pytest.raises(EnvironmentCrashed) as caught,
    ):
        play(environments, 5)
    assert str(caught.value) == (
        f"environment walk, step {at} of its task: {call} raised RuntimeError: the simulator is gone."
    )
    (note,) = caught.value.__notes__
    assert note.startswith("In the environment's process:\nTraceback (most recent call last):\n")
    assert f"in {call}\n" in note
    assert note.endswith("RuntimeError: the simulator is gone")


@pytest.mark.parametrize(
    ("action", "message", "note"),
    [
        (EXIT, "the process of environments 2 to 3 ended with exit code 3.", None),
        (KILL, "the process of environments 2 to 3 was killed by SIGKILL.", None),
        (CRASH, "the process of environments 2 to 3 was killed by SIGSEGV.", "Segmentation fault"),
    ],
)
def test_a_process_that_ends_is_a_crash_with_its_exit_code_or_signal(
    action: int, message: str, note: str
) -> None:
    with running(Fragile, 4, processes=2) as environments:
        environments.reset([1, 2, 3, 4])
        ended = pids(environments)
        with pytest.raises(EnvironmentCrashed) as caught:
            environments.step(harm(0, 0, 0, action))
        assert all(is_gone(pid) for pid in ended)
    assert str(caught.value) == f"environment walk: {message}"
    notes = getattr(caught.value, "__notes__", [])
    assert len(notes) == (note is not None)
    for text in notes:
        assert note in text
        assert "in step\n" in text


def test_a_step_timeout_is_a_crash_with_the_current_traceback() -> None:
    with running(Fragile, 2, processes=2, step_timeout=30.0) as environments:
        environments.reset([1, 2])
        environments._timeout = 0.5  # Not before: a busy machine may be slow to start and to reset.
        ended = pids(environments)
        with pytest.raises(EnvironmentCrashed) as caught:
            environments.step(harm(HANG, NOTHING))
        assert all(is_gone(pid) for pid in ended)
    assert str(caught.value) == (
        "environment walk: the process of environment 0 did not answer within 0.5 seconds "
        "(collector.step_timeout)."
    )
    (note,) = caught.value.__notes__
    assert "in spin\n" in note


def test_a_process_killed_during_a_step_is_a_crash() -> None:
    with running(Fragile, 2, processes=2) as environments:
        environments.reset([1, 2])
        victim = pids(environments)[1]
        killing = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
        killing.start()
        with pytest.raises(EnvironmentCrashed) as caught:
            environments.step(harm(NOTHING, HANG))
        killing.join()
    assert str(caught.value) == "environment walk: the process of environment 1 was killed by SIGKILL."


def test_a_process_killed_between_steps_is_found_by_the_next_call() -> None:
    with running(Fragile, 2, processes=2) as environments:
        environments.reset([1, 2])
        os.kill(pids(environments)[0], signal.SIGKILL)
        environments._processes[0].popen.wait()
        with pytest.raises(EnvironmentCrashed, match="environment 0 was killed by SIGKILL"):
            environments.reset([3, 4])


def test_a_restart_makes_all_environments_again_in_the_same_arrays() -> None:
    alone = make_environments(Fragile, "walk", 3)
    with running(Fragile, 3, processes=2) as environments:
        environments.reset([1, 2, 3])
        before = {id(x) for x in (*environments.obs.values(), environments.reward_B)}
        with pytest.raises(EnvironmentCrashed):
            environments.step(harm(RAISE, 0, 0))
        environments.restart()
        assert environments.task_B == ["", "", ""]
        assert {id(x) for x in (*environments.obs.values(), environments.reward_B)} == before
        for side in (alone, environments):
            side.reset([4, 5, 6])
            side.step(harm(0, 0, 0))
        assert_same(environments, alone)


@pytest.mark.parametrize("crashes", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_random_crashes_are_survived_one_after_the_other(crashes: int) -> None:
    rng = np.random.default_rng(0)
    alone = make_environments(Fragile, "walk", 4)
    with running(Fragile, 4, processes=2, step_timeout=30.0) as environments:
        for number in range(crashes):
            seeds = [10 * number + index for index in range(4)]
            for side in (alone, environments):
                side.reset(seeds)
            for _ in range(rng.integers(1, 4)):
                for side in (alone, environments):
                    side.step(harm(0, 0, 0, 0))
            assert_same(environments, alone)
            action = harm(0, 0, 0, 0)
            action[rng.integers(4)] = rng.choice([RAISE, HANG, EXIT, KILL])
            ended = pids(environments)
            # Steps and starts before this one may take long on a busy machine.
            environments._timeout = 0.5 if HANG in action else 30.0
            with pytest.raises(EnvironmentCrashed):
                environments.step(action)
            environments._timeout = 30.0
            assert all(is_gone(pid) for pid in ended)
            environments.restart()


def test_a_process_that_ends_while_it_makes_its_environments_is_a_crash() -> None:
    parent = os.getpid()

    def make() -> gymnasium.Env[Any, Any]:
        if os.getpid() != parent:
            os._exit(7)
        return Walk()

    with pytest.raises(EnvironmentCrashed) as caught:
        make_environments(make, "walk", 2, "async", processes=1)
    assert str(caught.value) == (
        "environment walk: the process of environments 0 to 1 ended with exit code 7."
    )


def test_a_construction_error_in_a_subprocess_is_not_a_crash() -> None:
    parent = os.getpid()

    def make() -> gymnasium.Env[Any, Any]:
        if os.getpid() != parent:
            raise OSError("no display")
        return Walk()

    with pytest.raises(EnvironmentFault) as caught:
        make_environments(make, "walk", 2, "async")
    assert str(caught.value) == "environment walk could not be constructed: OSError: no display."
    assert type(caught.value) is EnvironmentFault
    assert "in make\n" in caught.value.__notes__[0]


def test_a_construction_error_is_found_before_a_process_starts() -> None:
    def make() -> gymnasium.Env[Any, Any]:
        raise OSError("no display")

    with pytest.raises(EnvironmentFault) as caught:
        make_environments(make, "doom", 2, "async")
    assert str(caught.value) == "environment doom could not be constructed: OSError: no display."
    assert not hasattr(caught.value, "__notes__")


def test_processes_that_do_not_start_in_time_are_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amago_core.environments.subprocess_envs.START_TIMEOUT_S", 0.5)
    parent = os.getpid()

    def make() -> gymnasium.Env[Any, Any]:
        while os.getpid() != parent:
            time.sleep(0.1)
        return Walk()

    with pytest.raises(EnvironmentCrashed) as caught:
        make_environments(make, "walk", 1, "async", step_timeout=0.1)
    assert str(caught.value) == (
        "environment walk: the process of environment 0 did not make its environments within "
        "0.5 seconds."
    )


def test_a_function_that_cannot_be_pickled_is_refused() -> None:
    lock = threading.Lock()

    def make() -> gymnasium.Env[Any, Any]:
        with lock:
            return Walk()

    with pytest.raises(EnvironmentFault) as caught:
        make_environments(make, "walk", 2, "async")
    assert str(caught.value) == (
        "environment walk cannot run in subprocesses: the function that makes it cannot be pickled "
        "(TypeError: cannot pickle '_thread.lock' object). Create what cannot be pickled, such as open "
        "files, connections and locks, inside the function, or write collector.vectorization=sync."
    )


class Unpicklable:
    def __call__(self) -> gymnasium.Env[Any, Any]:
        return Walk()

    def __reduce__(self) -> Any:
        return int, ("x",)


def test_a_function_that_cannot_be_unpickled_is_refused() -> None:
    with pytest.raises(EnvironmentFault) as caught:
        make_environments(Unpicklable(), "walk", 1, "async")
    assert str(caught.value) == (
        "environment walk cannot run in subprocesses: the function that makes it cannot be unpickled "
        "there (ValueError: invalid literal for int() with base 10: 'x'). Define it in a module that "
        "can be imported by its name, or write collector.vectorization=sync."
    )
    assert type(caught.value) is EnvironmentFault


def test_subprocesses_import_no_torch_and_use_one_thread() -> None:
    class Reporting(Walk):
        def step(self, action: Any) -> Any:
            threads = [os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
            reported = 10.0 * ("torch" in sys.modules) + 1.0 * (threads == ["1", "1"])
            return (super().step(action)[0], reported, False, False, {})

    with running(Reporting, 1) as environments:
        environments.reset([0])
        environments.step(harm(0))
        assert environments.reward_B.tolist() == [1.0]


@pytest.mark.parametrize(
    "environment",
    [{"use": "t-maze", "length": 3}, {"use": "gymnasium", "id": "CartPole-v1"}, ["t-maze", "bandit"]],
    ids=["own", "registered", "mixture"],
)
def test_registered_environments_run_in_subprocesses(environment: Any) -> None:
    from amago_core.spec import load_spec

    part = load_spec({"environment": environment}).environment
    assert part is not None
    make = part.build(EnvironmentContext()).make
    alone = make_environments(make, "part", 3)
    with running(make, 3) as environments:
        for side in (alone, environments):
            side.reset([1, 2, 3])
        for _ in range(3):
            for side in (alone, environments):
                side.step(harm(0, 1, 0))
            assert_same(environments, alone)
    alone.close()


def test_auto_starts_a_process_per_core_but_no_more_than_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("amago_core.environments.subprocess_envs.cores", lambda: 3)
    counts = {}
    for count in (2, 4):
        with running(Walk, count) as environments:
            counts[count] = len(pids(environments))
    assert counts == {2: 2, 4: 3}


def test_closing_ends_the_processes_and_may_be_done_twice() -> None:
    with running(Walk, 2) as environments:
        ended = pids(environments)
        environments.close()
        assert all(is_gone(pid) for pid in ended)
        environments.close()
        with pytest.raises(AssertionError):
            environments.step(harm(0, 0))


def test_closing_calls_close_of_each_environment(tmp_path: Path) -> None:
    class Tidy(Walk):
        def close(self) -> None:
            (tmp_path / str(os.getpid())).touch()

    with running(Tidy, 2, processes=2) as environments:
        ended = pids(environments)
    assert {path.name for path in tmp_path.iterdir()} == {str(pid) for pid in [*ended, os.getpid()]}


def test_garbage_collection_of_the_environments_ends_their_processes() -> None:
    environments = make_environments(Walk, "walk", 1, "async")
    assert isinstance(environments, SubprocessEnvironments)
    (pid,) = pids(environments)
    seen = weakref.ref(environments)
    del environments
    gc.collect()
    assert seen() is None
    assert is_gone(pid)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc, as on Linux")
def test_no_descriptor_stays_open_after_crashes_and_close() -> None:
    def opened() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = opened()
    with running(Fragile, 2, processes=2) as environments:
        for _ in range(3):
            environments.reset([1, 2])
            with pytest.raises(EnvironmentCrashed):
                environments.step(harm(NOTHING, EXIT))
            environments.restart()
    del environments
    assert opened() == before


def test_subprocesses_ignore_sigint_and_sigterm() -> None:
    with running(Walk, 2, processes=2) as environments:
        environments.reset([1, 2])
        for pid in pids(environments):
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)
        environments.step(harm(0, 0))


PROGRAM = """
import sys, time
import gymnasium
import numpy as np
from gymnasium import spaces
from amago_core.environments import make_environments

word, mark = sys.argv[1:]

class Slow(gymnasium.Env):
    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if action:
            open(mark, "x").close()
            time.sleep(100)
        return np.ones(1, np.float32), 1.0, False, False, {}

environments = make_environments(Slow, "slow", 2, "async", processes=2)
environments.reset([1, 2])
environments.step(np.array([0, 0]))
print(*[process.popen.pid for process in environments._processes], flush=True)
if word == "wait":
    time.sleep(100)
if word == "step":
    environments.step(np.array([0, 1]))
"""
# No `if __name__ == "__main__"`: subprocesses do not run the program again.


def program(folder: Path, word: str) -> tuple[subprocess.Popen[str], list[int]]:
    file = folder / "program.py"
    file.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(file), word, str(folder / "in the step")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    return process, [int(pid) for pid in line.split()]


def test_a_program_that_exits_without_close_leaves_no_process(tmp_path: Path) -> None:
    process, children = program(tmp_path, "end")
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "", "")
    assert len(children) == 2
    assert all(is_gone(pid, 1.0) for pid in children)


def test_subprocesses_end_after_their_parent_is_killed(tmp_path: Path) -> None:
    process, children = program(tmp_path, "wait")
    with process:  # Its output is not read to the end: the subprocesses may still hold it open.
        process.kill()
    assert len(children) == 2
    try:
        assert all(is_gone(pid, 10.0) for pid in children)
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_subprocess_in_a_step_ends_soon_after_its_parent_is_killed(
    tmp_path: Path,
) -> None:
    process, children = program(tmp_path, "step")
    deadline = time.monotonic() + 60
    while not (tmp_path / "in the step").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with process:  # Its output is not read to the end: the subprocesses may still hold it open.
        process.kill()
    try:
        assert all(is_gone(pid, 20.0) for pid in children)
    finally:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_crash_is_noticed_although_a_fork_keeps_the_connection_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("amago_core.environments.subprocess_envs._PROCESS_CHECK_S", 0.1)

    class Forking(Walk):
        def step(self, action: Any) -> Any:
            if (child := os.fork()) == 0:
                time.sleep(60)
                os._exit(0)
            (tmp_path / "child").write_text(str(child))
            os.kill(os.getpid(), signal.SIGKILL)

    with running(Forking, 1) as environments:
        environments.reset([1])
        with pytest.raises(EnvironmentCrashed) as caught:
            environments.step(harm(0))
    assert str(caught.value) == "environment walk: the process of environment 0 was killed by SIGKILL."
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)  # It was still running.


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc, as on Linux")
def test_programs_started_by_an_environment_inherit_no_descriptor() -> None:
    class Counting(Walk):
        def step(self, action: Any) -> Any:
            inherited = 0
            for path in Path("/proc/self/fd").iterdir():
                with suppress(OSError):  # The descriptor of the listing is closed by now.
                    inherited += int(path.name) > 2 and os.get_inheritable(int(path.name))
            return super().step(action)[0], float(inherited), False, False, {}

    with running(Counting, 1) as environments:
        environments.reset([1])
        environments.step(harm(0))
        assert environments.reward_B.tolist() == [0]


@pytest.mark.parametrize("how", ["program", "fork"])
def test_an_environment_can_terminate_processes_that_it_started(tmp_path: Path, how: str) -> None:
    parent = os.getpid()

    class Serving(Walk):
        def __init__(self) -> None:
            super().__init__()
            self.server = 0
            if os.getpid() != parent and how == "program":
                self.server = subprocess.Popen(["sleep", "60"]).pid
            elif os.getpid() != parent:
                self.server = os.fork()
                while self.server == 0:
                    (tmp_path / "ready").touch()
                    time.sleep(60)
                while not (tmp_path / "ready").exists():
                    time.sleep(0.01)

        def close(self) -> None:
            if self.server:
                os.kill(self.server, signal.SIGTERM)
                _, status = os.waitpid(self.server, 0)
                (tmp_path / "status").write_text(str(status))

    with running(Serving, 1):
        pass
    assert (tmp_path / "status").read_text() == str(int(signal.SIGTERM))


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="no real-time signals")
def test_a_signal_without_a_name_is_reported_by_its_number() -> None:
    number = signal.SIGRTMIN + 6

    class Signalled(Walk):
        def step(self, action: Any) -> Any:
            os.kill(os.getpid(), number)
            time.sleep(60)

    with running(Signalled, 1) as environments:
        environments.reset([1])
        with pytest.raises(EnvironmentCrashed) as caught:
            environments.step(harm(0))
    assert str(caught.value) == (
        f"environment walk: the process of environment 0 was killed by signal {number}."
    )


def test_a_base_exception_is_a_crash_with_its_traceback() -> None:
    class Panic(BaseException):
        pass

    class Panicking(Walk):
        def step(self, action: Any) -> Any:
            raise Panic("a library has given up")

    with running(Panicking, 1) as environments:
        environments.reset([1])
        with pytest.raises(EnvironmentCrashed) as caught:
            environments.step(harm(0))
    assert str(caught.value) == "environment walk: Panic: a library has given up."
    (note,) = caught.value.__notes__
    assert "in step\n" in note


def test_after_an_interruption_no_stale_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Walk, 2, processes=2) as environments:
        environments.reset([1, 2])
        ended = pids(environments)

        def interrupted(*_: Any) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(
                "amago_core.environments.subprocess_envs.EnvironmentProcess.receive", interrupted
            )
            with pytest.raises(KeyboardInterrupt):
                environments.step(harm(0, 0))
        assert all(is_gone(pid) for pid in ended)
        with pytest.raises(AssertionError):
            environments.step(harm(0, 0))
        environments.restart()
        environments.reset([1, 2])


def test_a_timeout_of_centuries_does_not_overflow() -> None:
    with running(Walk, 1, step_timeout=1e10) as environments:
        environments.reset([1])


def test_long_messages_arrive_whole_and_truncated_ones_raise_eof() -> None:
    ours, theirs = socket.socketpair()
    content = bytes(range(256)) * 8192
    with ours, theirs:
        sending = threading.Thread(target=sockets.send_bytes, args=(theirs, content))
        sending.start()
        assert sockets.receive_bytes(ours) == content
        sending.join()
        theirs.sendall(b"\x05\0\0\0\0\0\0\0abc")
        theirs.close()
        with pytest.raises(EOFError):
            sockets.receive_bytes(ours)
