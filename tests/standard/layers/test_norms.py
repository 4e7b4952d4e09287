"""Norms by name."""

from __future__ import annotations

import pytest
import torch

from amago_standard.layers.norms import NORMS, RMSNorm


def test_the_rms_norm_divides_by_the_root_mean_square_and_keeps_the_mean() -> None:
    norm = RMSNorm(2)
    torch.nn.init.constant_(norm.weight, 10.0)
    assert norm(torch.tensor([[1.0, 7.0]]))[0].tolist() == pytest.approx([2.0, 14.0], rel=1e-4)


def test_the_rms_norm_takes_half_precision_in_single_and_stays_there() -> None:
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(RMSNorm(8)(x), RMSNorm(8)(x.float()))


@pytest.mark.parametrize("name", NORMS)
def test_the_scale_of_the_input_does_not_matter(name: str) -> None:
    norm, x = NORMS[name](8), torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(1000 * x), norm(100 * x))
