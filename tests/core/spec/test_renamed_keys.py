"""Renamed spec keys: the old name still works for one more version, and is logged once."""

from __future__ import annotations

from pathlib import Path

import pytest

from amago_core.errors import SpecError
from amago_core.spec import load_spec, renamed_keys

OLD = Path(__file__).parents[2] / "fixtures" / "old-keys.yaml"
RENAMED = {
    "exploration.slips": "exploration.random_actions",
    "collector.piece_length": "collector.segment_length",
    "collector.piece_jitter": "collector.segment_jitter",
    "sampling.ahead": "sampling.prefetch",
    "training.part_rates": "training.learning_rate_factors",
    "running.slack": "running.max_lag",
}


@pytest.fixture(autouse=True)
def _empty_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed_keys, "_logged", set())


def test_a_spec_with_old_keys_is_the_spec_with_the_new_ones(tmp_path: Path) -> None:
    text = OLD.read_text("utf-8")
    for old, new in RENAMED.items():
        text = text.replace(f"{old.partition('.')[2]}:", f"{new.partition('.')[2]}:")
    renewed = tmp_path / OLD.name
    renewed.write_text(text)
    assert load_spec(OLD) == load_spec(renewed)
    assert load_spec(OLD).collector.segment_length == 3


def test_each_old_key_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    load_spec(OLD)
    load_spec(OLD)
    assert caplog.messages == [
        f"the spec {OLD}: {old} is called {new} now; the old name still works for one more version."
        for old, new in RENAMED.items()
    ]


def test_the_stored_spec_of_an_old_run_is_read_without_a_log(caplog: pytest.LogCaptureFixture) -> None:
    load_spec(OLD, stored=True)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("override", "value"), [("running.slack=0.5", 0.5), ("running={slack: 0.25}", 0.25)]
)
def test_an_override_may_use_the_old_key(override: str, value: float) -> None:
    assert load_spec(OLD, [override]).running.max_lag == value


def test_an_option_of_a_part_chosen_in_an_earlier_layer_is_renamed() -> None:
    assert load_spec(OLD, ["exploration.slips=2.0"]).exploration.options.random_actions == 2.0


def test_an_old_key_beside_the_new_one_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        load_spec(OLD, ["running={slack: 1.0, max_lag: 2.0}"])
    assert str(caught.value) == (
        f"the spec {OLD} has 1 problem:\n  running.slack: is the old name of max_lag, which is set "
        "too: leave it out (from the override 'running={slack: 1.0, max_lag: 2.0}')"
    )


def test_a_value_may_refer_to_a_key_by_its_old_name() -> None:
    warmup = "training.warmup=${sampling.ahead}"
    assert load_spec(OLD, ["sampling.ahead=3", warmup]).training.warmup == 3
    rate = "training.final_rate=${training.part_rates.backbone}"
    assert load_spec(OLD, [rate]).training.final_rate == 0.5
    option = "training.final_rate=${exploration.slips}"
    assert load_spec(OLD, [option]).training.final_rate == 0.5


def test_a_wrong_value_of_an_old_key_is_a_problem_and_the_rename_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(SpecError) as caught:
        load_spec({"environment": "t-maze", "running": {"slack": -1.0}})
    assert str(caught.value).startswith(
        "the spec has 1 problem:\n  running.max_lag: -1.0 is not above 0"
    )
    assert [message.partition(":")[2] for message in caplog.messages] == [
        " running.slack is called running.max_lag now; the old name still works for one more version."
    ]


def test_an_override_of_a_stored_spec_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    load_spec(OLD, ["collector.piece_length=4"], stored=True)
    assert caplog.messages == [
        "the override 'collector.piece_length=4': collector.piece_length is called "
        "collector.segment_length now; the old name still works for one more version."
    ]
