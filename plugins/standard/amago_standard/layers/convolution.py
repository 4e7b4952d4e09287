"""Convolutional networks (Nature, IMPALA, grid) from images to feature maps.

Shape suffixes: N = rows, C = channels in, O = channels out, H, W = height and width; those of the
feature maps are smaller.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def nature(channels_in: int) -> nn.Sequential:
    """Return the Nature CNN (Mnih et al., 2015): filters of 8, 4 and 3 pixels, strides 4, 2 and 1.

    Made for images of 84 x 84; the smallest it takes is 36 x 36.
    """
    return nn.Sequential(
        nn.Conv2d(channels_in, 32, 8, stride=4),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
    )


def impala(channels_in: int, channels: Sequence[int]) -> nn.Sequential:
    """Return the IMPALA ResNet (Espeholt et al., 2018, arXiv:1802.01561).

    Every stage is a convolution, a pooling that halves the image, and two residual blocks.
    """
    layers: list[nn.Module] = []
    for width in channels:
        layers += [nn.Conv2d(channels_in, width, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)]
        layers += [ResidualBlock(width), ResidualBlock(width)]
        channels_in = width
    return nn.Sequential(*layers, nn.ReLU())


def grid(channels_in: int, channels: Sequence[int]) -> nn.Sequential:
    """Return 3 x 3 convolutions that keep the size: for grids where every cell means something."""
    layers: list[nn.Module] = []
    for width in channels:
        layers += [nn.Conv2d(channels_in, width, 3, padding=1), nn.ReLU()]
        channels_in = width
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Residual block ``x + conv(relu(conv(relu(x))))``; sizes stay as they are.

    Args:
        channels: C, which is also O.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return feature maps of the same shape."""
        y_NCHW: Tensor = x_NCHW + self.net(x_NCHW)
        return y_NCHW


def smallest_side(net: nn.Sequential) -> int:
    """Return the least height and width of an image that leaves at least one pixel at the end."""
    side = 1
    for layer in reversed(list(net.modules())):
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            kernel, stride, padding = (
                size if isinstance(size, int) else int(size[0])
                for size in (layer.kernel_size, layer.stride, layer.padding)
            )
            side = max(1, (side - 1) * stride + kernel - 2 * padding)
    return side


@torch.no_grad()
def flat_size(net: nn.Sequential, shape_CHW: tuple[int, int, int]) -> int:
    """Return how many features the network makes of one image."""
    return int(net(torch.zeros(1, *shape_CHW)).numel())
