"""Images as networks read them: pixels, order of axes, shifts and chunks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from amago_standard.layers.convolution import grid
from amago_standard.layers.images import ImageNetwork, channels_are_last, randomly_shifted, scaled


def network(shape: tuple[int, int, int] = (5, 6, 3), **given: object) -> ImageNetwork:
    torch.manual_seed(0)
    settings = {"channels_last": True, "convolutions": grid(3, (4,)), "out_dim": 7} | given
    return ImageNetwork(shape, **settings).double()


def images(rows: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (rows, 5, 6, 3), generator=generator, dtype=torch.uint8)


def test_bytes_are_spread_over_minus_one_to_one_and_floats_stay() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert scaled(pixels, 255, torch.float64).tolist() == pytest.approx([-1, -0.6, 1])
    symbols = torch.tensor([0, 5, 10], dtype=torch.uint8)
    assert scaled(symbols, 10, torch.float32).tolist() == [-1, 0, 1]
    assert scaled(torch.tensor([0.3, 9.0]), 255, torch.float64).tolist() == pytest.approx([0.3, 9])


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((84, 84, 3), True),
        ((3, 84, 84), False),
        ((7, 7, 1), True),
        ((4, 7, 9), False),
        ((3, 7, 3), None),
        ((7, 7, 20), None),
    ],
)
def test_the_end_that_is_short_is_that_of_the_channels(
    shape: tuple[int, ...], last: bool | None
) -> None:
    assert channels_are_last(shape) is last


def test_an_image_is_the_same_in_either_order_of_axes() -> None:
    last, first = network(), network((3, 5, 6), channels_last=False)
    torch.testing.assert_close(first(images().permute(0, 3, 1, 2)), last(images()))


def test_it_is_convolutions_and_one_linear_layer_over_scaled_pixels() -> None:
    module = network()
    pixels = images().permute(0, 3, 1, 2).double() / 127.5 - 1
    torch.testing.assert_close(module(images()), module.linear(module.convolutions(pixels).flatten(1)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9), st.integers(1, 10))
def test_chunks_never_change_a_vector(rows: int, chunk: int) -> None:
    chunked, whole = network(chunk=chunk), network(chunk=10)
    torch.testing.assert_close(chunked(images(rows)), whole(images(rows)), rtol=1e-12, atol=1e-12)


def crop(image_HWC: Tensor, most: int, down: int, right: int) -> Tensor:
    """Pad by repeating the border, then cut out: the slow way."""
    height, width, _ = image_HWC.shape
    padded = pad(image_HWC.permute(2, 0, 1)[None].double(), [most] * 4, mode="replicate")[0]
    top, left = most + down, most + right
    return padded[:, top : top + height, left : left + width].permute(1, 2, 0).to(image_HWC.dtype)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 4), st.integers(0, 1000))
def test_a_shift_is_always_a_crop_of_the_padded_image(most: int, seed: int) -> None:
    torch.manual_seed(seed)
    shifted = randomly_shifted(images(), most)
    span = range(-most, most + 1)
    for before, after in zip(images(), shifted, strict=True):
        assert any(
            torch.equal(after, crop(before, most, down, right)) for down in span for right in span
        )


def test_every_row_draws_one_of_all_shifts() -> None:
    torch.manual_seed(0)
    shifted = randomly_shifted(images(1).expand(400, -1, -1, -1), 1)
    (image,) = images(1)
    seen = [
        sum(torch.equal(row, crop(image, 1, down, right)) for row in shifted)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    assert sum(seen) == 400
    assert min(seen) > 20


def test_images_are_shifted_in_training_alone() -> None:
    module, still = network(shift=2), network()
    assert not torch.equal(module(images()), still(images()))
    torch.testing.assert_close(module.eval()(images()), still(images()))
