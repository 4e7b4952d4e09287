"""Files in which the processes of a run tell each other how far they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toys import tiny

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


def test_what_a_collector_told_is_read_by_all(shared: SharedFiles) -> None:
    ended = {"ended": 1.0, "return": 2.0, "length": 9.0, "judged": 0.0, "success": 0.0}
    known = CollectorProgress(pid=7, life=2, steps=30, begun=5, totals={"": ended})
    shared.write_progress("collector_3", known)
    shared.write_progress("collector_10", CollectorProgress(steps=1))
    assert shared.collector("collector_3") == known
    assert list(shared.collectors()) == ["collector_10", "collector_3"]


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
def test_a_file_that_says_nothing_is_as_if_it_were_not_there(shared: SharedFiles, content: str) -> None:
    (shared.folder / "collector_0.json").write_text(content)
    (shared.folder / "collector_x.json").write_text("{}")
    assert shared.collector("collector_0") is None
    assert shared.collectors() == {}
    assert shared.learned() == 0.0


def test_no_name_leads_out_of_the_folder(shared: SharedFiles, tmp_path: Path) -> None:
    for name in (f"{tmp_path}/collector_0", "../collector_0", "collector_0/x", "learner", ""):
        with pytest.raises(ValueError, match="is no name of a collector"):
            shared.write_progress(name, CollectorProgress())
    assert list(tmp_path.iterdir()) == []


def test_a_follower_takes_over_what_is_published_and_only_what_is_new(shared: SharedFiles) -> None:
    first, second, acting = agent(1), agent(2), agent(3)
    shared.publish(first, 10)
    follower = WeightFollower(shared, acting)
    assert follower.follow()
    assert not follower.follow()
    assert all(torch.equal(mine, acting.state_dict()[k]) for k, mine in first.state_dict().items())
    shared.publish(second, 4)  # A learner that was killed has gone back.
    assert follower.follow()
    assert follower.update == 4
    assert all(torch.equal(mine, acting.state_dict()[k]) for k, mine in second.state_dict().items())
    assert {path.name for path in shared.folder.iterdir()} == {"weights.safetensors"}
