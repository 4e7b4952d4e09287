"""The files that a learner and its collectors share: weights and progress."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toys import tiny

from amago_core.acting.episode_stats import EpisodeTotals
from amago_core.compose.networks import compose_agent
from amago_core.compose.tasks import compose_task
from amago_core.running.processes.shared_files import CollectorProgress, SharedFiles, WeightFollower
from amago_core.spec import load_spec


@pytest.fixture
def shared(tmp_path: Path) -> SharedFiles:
    return SharedFiles(tmp_path)


def agent(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    spec = load_spec(tiny())
    return compose_agent(spec.agent, compose_task(spec.environment, 0))


def test_the_progress_of_each_collector_can_be_read_back(shared: SharedFiles) -> None:
    ended = {"ended": 1.0, "return": 2.0, "length": 9.0, "judged": 0.0, "success": 0.0}
    progress = CollectorProgress(pid=7, life=2, steps=30, begun=5, totals={"": ended})
    shared.write_progress("collector_3", progress)
    shared.write_progress("collector_10", CollectorProgress(steps=1))
    assert shared.read_progress("collector_3") == progress
    assert list(shared.read_all_progress()) == ["collector_10", "collector_3"]


def test_the_progress_that_an_earlier_version_wrote_is_read(shared: SharedFiles) -> None:
    """The keys of these files may not change: runs are resumed from them."""
    (shared.folder / "collector_0.json").write_text(
        '{"pid": 7, "life": 1, "steps": 48, "begun": 9, "started": 2, "dropped": 1, "restarts": 0, '
        '"cpu_seconds": 0.25, "totals": {"": {"ended": 4.0, "return": -3.0, "length": 20.0, '
        '"judged": 4.0, "success": 1.0}}}'
    )
    (shared.folder / "learner.json").write_text('{"pid": 8, "learned": 1.5, "update": 6}')
    progress = shared.read_progress("collector_0")
    assert progress is not None
    assert (progress.steps, progress.begun, progress.started, progress.dropped) == (48, 9, 2, 1)
    assert EpisodeTotals(progress.totals).metrics() == {"return": -0.75, "success": 0.25, "length": 5.0}
    assert shared.rounds_learned() == 1.5


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"lives": 9}',
        '{"steps": "x"}',
        '{"begun": -1}',
        '{"totals": {"": {"ended": 1}}}',
    ],
)
def test_a_damaged_progress_file_counts_as_missing(shared: SharedFiles, content: str) -> None:
    (shared.folder / "collector_0.json").write_text(content)
    (shared.folder / "collector_x.json").write_text("{}")
    assert shared.read_progress("collector_0") is None
    assert shared.read_all_progress() == {}
    assert shared.rounds_learned() == 0.0


def test_no_collector_name_leads_out_of_the_folder(shared: SharedFiles, tmp_path: Path) -> None:
    for name in (f"{tmp_path}/collector_0", "../collector_0", "collector_0/x", "learner", ""):
        with pytest.raises(ValueError, match="is not the name of a collector"):
            shared.write_progress(name, CollectorProgress())
    assert list(tmp_path.iterdir()) == []


def test_a_follower_loads_published_weights_only_when_they_are_new(shared: SharedFiles) -> None:
    first, second, acting = agent(1), agent(2), agent(3)
    shared.publish(first, 10)
    follower = WeightFollower(shared, acting)
    assert follower.refresh()
    assert not follower.refresh()
    assert all(torch.equal(mine, acting.state_dict()[k]) for k, mine in first.state_dict().items())
    shared.publish(second, 4)  # A restarted learner repeats earlier updates.
    assert follower.refresh()
    assert follower.update == 4
    assert all(torch.equal(mine, acting.state_dict()[k]) for k, mine in second.state_dict().items())
    assert {path.name for path in shared.folder.iterdir()} == {"weights.safetensors"}
