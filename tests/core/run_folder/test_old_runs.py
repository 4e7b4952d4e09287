"""A run of an earlier version is loaded, evaluated and resumed.

``fixtures/run-of-old-keys`` is the run folder that ``amago train fixtures/old-keys.yaml`` wrote when
those keys were current: three rounds, three shards; plot and lock are left out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from toys import Listener

import amago_core
from amago_core.replay import verify
from amago_core.spec import load_spec

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / "run-of-old-keys", tmp_path / "run"))


def test_the_agent_of_an_old_run_acts(run: Path) -> None:
    for checkpoint in ("newest", "best"):
        agent = amago_core.load(run, checkpoint=checkpoint)
        agent.reset(batch=1)
        (action,) = agent.act(np.zeros((1, 2), np.float32))
        assert action in range(4)


def test_an_old_run_is_evaluated_with_old_and_new_keys(run: Path) -> None:
    for override in ("collector.piece_length=3", "collector.segment_length=3"):
        evaluation = amago_core.evaluate(run, ["evaluation.episodes=4", override])
        assert evaluation.mean_return == -1.0  # The last evaluation that version printed.


def test_the_replay_of_an_old_run_is_intact(run: Path) -> None:
    found = verify(run / "replay")
    assert (found.shards, found.problems) == (3, ())


def test_an_old_run_is_resumed_from_its_last_round(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amago_core.run_folder.plots.plot_run", lambda folder, evaluation: None)
    listener = Listener()
    old = FIXTURES / "old-keys.yaml"
    result = amago_core.train(old, ["training.rounds=5"], run=run, resume=True, reporter=listener)
    assert (result.updates, result.env_steps) == (10, 160)
    assert "resuming after round 3, update 6" in listener.notes
    assert not any("not bit-exact" in note for note in listener.notes)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2, 3, 4, 5]
    assert "segment_length: 3" in (run / "spec.yaml").read_text()
    assert load_spec(run / "spec.yaml").training.rounds == 5
