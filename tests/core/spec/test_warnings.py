"""Warnings about options that have no effect."""

from __future__ import annotations

import pytest
from toys import tiny

from amago_core.spec import load_spec
from amago_core.spec.checks import spec_notes


@pytest.mark.parametrize(
    ("overrides", "notes"),
    [
        ([], []),
        (["running.mode=async", "running.collectors=2"], []),
        (["collector.vectorization=async", "collector.step_timeout=5", "collector.processes=2"], []),
        (["collector.segment_length=8"], []),
        (
            ["running.collectors=2"],
            [
                "running.collectors=2 has no effect: running.mode is interleaved. Write "
                "running.mode=async to use several collector processes."
            ],
        ),
        (
            ["collector.step_timeout=5", "collector.processes=2"],
            [
                "collector.step_timeout=5.0 has no effect: collector.vectorization is sync. Write "
                "collector.vectorization=async to run environments in subprocesses.",
                "collector.processes=2 has no effect: collector.vectorization is sync. Write "
                "collector.vectorization=async to run environments in subprocesses.",
            ],
        ),
        (
            ["collector.segment_length=7"],
            [
                "collector.segment_length=7 is below agent.context_length=8: training sequences are no "
                "longer than a segment."
            ],
        ),
        (
            ["sampling.dataset_share=0.25"],
            ["sampling.dataset_share has no effect: there is no dataset."],
        ),
    ],
    ids=lambda value: " ".join(value) if value and "=" in value[0][:30] else "",
)
def test_an_option_without_effect_is_reported(overrides: list[str], notes: list[str]) -> None:
    assert spec_notes(load_spec(tiny(), overrides)) == notes
