"""Value targets, against loops over transitions, critics and discounts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from amago_standard.layers.targets import (
    frozen,
    move_towards,
    n_step_target,
    reduce_ensemble,
    target_copy,
)

few = settings(max_examples=20, deadline=None)


@few
@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    steps=st.integers(1, 8),
)
def test_n_step_targets_stop_at_n_steps_a_termination_or_the_sequences_end(
    seed: int, lengths: list[int], steps: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    transitions = sum(lengths)
    reward = torch.randn(transitions, generator=generator, dtype=torch.float64)
    terminated = torch.rand(transitions, generator=generator) < 0.3
    value = torch.randn(transitions, 2, generator=generator, dtype=torch.float64)
    discount = torch.tensor([0.5, 0.9], dtype=torch.float64)
    ends = torch.tensor(lengths).cumsum(0) - 1
    continues = ~torch.isin(torch.arange(transitions), ends)
    target = n_step_target(reward, terminated, value, discount, steps=steps, continues_M=continues)
    for m in range(transitions):
        last = min(m + steps - 1, next(int(end) for end in ends if end >= m))
        for g, gamma in enumerate((0.5, 0.9)):
            wanted, weight = 0.0, 1.0
            for step in range(m, last + 1):
                wanted += weight * float(reward[step])
                weight *= gamma
                if terminated[step]:
                    break
            else:
                wanted += weight * float(value[last, g])
            assert float(target[m, g]) == pytest.approx(wanted, abs=1e-9)


def test_exactly_two_different_critics_are_reduced_to_their_mean() -> None:
    value = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 4, 1).expand(200, 4, 3)
    drawn = reduce_ensemble(value, 2, pessimistic=False)
    assert set(drawn.flatten().tolist()) == {1.5, 2.5, 4.5, 3.0, 5.0, 6.0}


def test_exactly_two_different_critics_are_reduced_to_their_minimum() -> None:
    value = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 4, 1).expand(200, 4, 3)
    drawn = reduce_ensemble(value, 2, pessimistic=True)
    assert set(drawn.flatten().tolist()) == {1.0, 2.0, 4.0}


def test_every_pair_of_critics_is_equally_likely_and_redrawn_for_every_entry() -> None:
    torch.manual_seed(0)
    value = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 4, 1).expand(6000, 4, 2)
    pairs = reduce_ensemble(value, 2, pessimistic=False)
    for pair in (1.5, 2.5, 4.5, 3.0, 5.0, 6.0):
        assert float((pairs == pair).float().mean()) == pytest.approx(1 / 6, abs=0.015)
    assert float((pairs[:, 0] == pairs[:, 1]).float().mean()) == pytest.approx(1 / 6, abs=0.015)


@pytest.mark.parametrize("members", [3, 4, 9])
def test_all_critics_are_reduced_where_there_are_no_more(members: int) -> None:
    value = torch.tensor([3.0, 9.0, 6.0]).view(1, 3, 1)
    assert reduce_ensemble(value, members, pessimistic=False).item() == 6.0
    assert reduce_ensemble(value, members, pessimistic=True).item() == 3.0


def test_targets_move_the_share_tau_of_the_way() -> None:
    online, target = nn.Linear(1, 1), nn.Linear(1, 1)
    for module, value in ((online, 8.0), (target, 4.0)):
        for parameter in module.parameters():
            nn.init.constant_(parameter, value)
    move_towards(target, online, 0.25)
    assert [p.item() for p in target.parameters()] == [5.0, 5.0]
    assert [p.item() for p in online.parameters()] == [8.0, 8.0]


def test_a_target_copy_starts_equal_shares_nothing_and_is_not_trained() -> None:
    online = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).train()
    target = target_copy(online)
    assert not target.training
    assert online.training
    for mine, yours in zip(target.parameters(), online.parameters(), strict=True):
        assert torch.equal(mine, yours)
        assert mine.data_ptr() != yours.data_ptr()
        assert not mine.requires_grad
        assert yours.requires_grad


def test_a_frozen_module_passes_gradients_to_its_input_only() -> None:
    module, x = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with frozen(module):
        module(x).sum().backward()
    assert torch.equal(x.grad, module.weight)
    assert module.weight.grad is None


def test_a_frozen_module_is_trained_again_afterwards_also_after_an_error() -> None:
    module = nn.Linear(2, 1)
    module.bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(module):
        raise ZeroDivisionError
    assert module.weight.requires_grad
    assert not module.bias.requires_grad
