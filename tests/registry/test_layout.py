"""How four sequences of 3, 1, 1 and 4 timesteps lie in one stream, checked by hand."""

from __future__ import annotations

import pytest
import torch

from amago_registry import SequenceLayout

LENGTHS = (3, 1, 1, 4)


def test_rows_know_their_sequence_and_their_time() -> None:
    layout = SequenceLayout.build(LENGTHS)
    assert (layout.timesteps, layout.sequences, layout.lengths) == (9, 4, LENGTHS)
    assert layout.offsets.tolist() == [0, 3, 4, 5, 9]
    assert layout.sequence_N.tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 3]
    assert layout.time_N.tolist() == [0, 1, 2, 0, 0, 0, 1, 2, 3]


def test_time_may_count_from_before_the_slice() -> None:
    time_N = torch.tensor([7, 8, 9, 0, 2, 4, 5, 6, 7])
    assert SequenceLayout.build(LENGTHS, time_N).time_N.tolist() == time_N.tolist()


def test_adjacent_sequences_of_equal_length_are_one_run() -> None:
    assert SequenceLayout.build(LENGTHS).runs == ((0, 1, 3), (3, 2, 1), (5, 1, 4))


def test_time_major_order_is_by_position_with_longest_sequences_first() -> None:
    layout = SequenceLayout.build(LENGTHS)
    assert layout.time_major_N.tolist() == [5, 0, 3, 4, 6, 1, 7, 2, 8]
    assert layout.from_time_major_N.tolist() == [1, 5, 7, 2, 3, 0, 4, 6, 8]
    assert layout.batch_sizes.tolist() == [4, 2, 2, 1]


@pytest.mark.parametrize("lengths", [(), (3, 0, 1)])
def test_a_sequence_without_timesteps_raises(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        SequenceLayout.build(lengths)
    assert str(caught.value) == f"every sequence needs at least one timestep, not {lengths}"


def test_times_for_the_wrong_number_of_rows_raise() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        SequenceLayout.build(LENGTHS, torch.arange(8))
    assert str(caught.value) == "time has shape (8,), the lengths add up to 9"


def test_layouts_are_equal_only_if_they_are_the_same() -> None:
    first, second = SequenceLayout.build(LENGTHS), SequenceLayout.build(LENGTHS)
    assert first == first
    assert first != second
    assert len({first, second}) == 2


def test_a_layout_first_used_in_inference_mode_works_in_training() -> None:
    layout = SequenceLayout.build([2, 3])
    with torch.inference_mode():
        assert not layout.time_major_N.is_inference()
        assert not layout.from_time_major_N.is_inference()
        assert not layout.batch_sizes.is_inference()
