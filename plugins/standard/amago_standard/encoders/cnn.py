"""Convolutional encoders for one or several images beside vectors.

Shape suffixes: N = timesteps, A = action features, D = vector features, V = features of images or of
vectors, E = features out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from amago_registry.contexts import EncoderContext
from amago_registry.errors import UnsupportedSpaceError
from amago_standard.encoders.options import (
    GridCNNOptions,
    ImageEncoderOptions,
    ImpalaCNNOptions,
    NatureCNNOptions,
)
from amago_standard.encoders.vectors import VectorInputs
from amago_standard.layers.convolution import grid, impala, nature, smallest_side
from amago_standard.layers.images import ImageNetwork, channels_are_last
from amago_standard.layers.mlp import mlp
from amago_standard.layers.normalizer import RunningNormalizer


class ImageEncoder(nn.Module):
    """Base class of CNN encoders: convolutions per image, a layer for vectors, an MLP that fuses them.

    An image is a ``Box`` with three axes. Bytes are mapped to [-1, 1], other images are read as they
    are. Everything else is a vector; the previous reward and a continuous previous action enter as
    their symlog.

    Args:
        name: Name of the encoder in a spec; for error messages.
        context: Spaces; supplied by the composer.
        options: See :class:`ImageEncoderOptions`.
        convolutions: Returns a network for a number of channels; called once per image.

    Raises:
        UnsupportedSpaceError: If there is no image, if one is too small or its channel axis is
            ambiguous, or if another observation cannot become a vector.
    """

    def __init__(
        self,
        name: str,
        context: EncoderContext,
        options: ImageEncoderOptions,
        convolutions: Callable[[int], nn.Sequential],
    ) -> None:
        super().__init__()
        observations = dict(sorted(context.observation_space.spaces.items()))
        self.image_keys = [key for key, space in observations.items() if _is_image(space)]
        if not self.image_keys:
            raise UnsupportedSpaceError(_no_image(name, observations))
        # A list: keys of observations may have dots, which names of modules may not.
        self.images = nn.ModuleList(
            _image_network(name, key, observations.pop(key).shape or (), options, convolutions)
            for key in self.image_keys
        )
        self.inputs = VectorInputs(observations, context.action_space, options, squash=True)
        self.vectors = _vector_network(self.inputs.width, options)
        fused = len(self.image_keys) * options.image_dim + (options.vector_dim if self.vectors else 0)
        self.net = mlp(fused, options.hidden_dims, options.out_dim)
        self.norm = nn.LayerNorm(options.out_dim)
        self.out_dim = options.out_dim

    def forward(
        self, obs: Mapping[str, Tensor], prev_action_NA: Tensor, prev_reward_N: Tensor
    ) -> Tensor:
        """Return vectors ``(N, E)``."""
        parts = [image(obs[key]) for key, image in zip(self.image_keys, self.images, strict=True)]
        if self.vectors is not None:
            x_ND = self.inputs(obs, prev_action_NA, prev_reward_N)
            parts.append(self.vectors(x_ND.to(self.norm.weight.dtype)))
        fused_NV = leaky_relu(torch.cat(parts, dim=-1))
        y_NE: Tensor = self.norm(leaky_relu(self.net(fused_NV)))
        return y_NE


class NatureCNN(ImageEncoder):
    """Nature CNN encoder (Mnih et al., 2015, Nature 518): fast, for images of about 84 x 84.

    Args:
        context: Spaces; supplied by the composer.
        options: See :class:`NatureCNNOptions`.

    Raises:
        UnsupportedSpaceError: As :class:`ImageEncoder`.
    """

    def __init__(self, context: EncoderContext, options: NatureCNNOptions) -> None:
        super().__init__("nature-cnn", context, options, nature)


class ImpalaCNN(ImageEncoder):
    """IMPALA ResNet encoder (Espeholt et al., 2018): slower, and mostly better.

    Args:
        context: Spaces; supplied by the composer.
        options: See :class:`ImpalaCNNOptions`.

    Raises:
        UnsupportedSpaceError: As :class:`ImageEncoder`.
    """

    def __init__(self, context: EncoderContext, options: ImpalaCNNOptions) -> None:
        super().__init__("impala-cnn", context, options, lambda c: impala(c, options.channels))


class GridCNN(ImageEncoder):
    """CNN encoder without striding or pooling: for grids of about 7 x 7, symbols or pixels.

    Args:
        context: Spaces; supplied by the composer.
        options: See :class:`GridCNNOptions`.

    Raises:
        UnsupportedSpaceError: As :class:`ImageEncoder`.
    """

    def __init__(self, context: EncoderContext, options: GridCNNOptions) -> None:
        super().__init__("grid-cnn", context, options, lambda c: grid(c, options.channels))


def _is_image(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def _vector_network(width: int, options: ImageEncoderOptions) -> nn.Sequential | None:
    if not width:
        return None
    normalizer = [RunningNormalizer(width)] if options.normalize else []
    return nn.Sequential(*normalizer, nn.Linear(width, options.vector_dim))


def _image_network(
    name: str,
    key: str,
    shape: tuple[int, ...],
    options: ImageEncoderOptions,
    convolutions: Callable[[int], nn.Sequential],
) -> ImageNetwork:
    last = channels_are_last(shape) if options.image_axes == "auto" else None
    if options.image_axes != "auto":
        last = options.image_axes == "channels-last"
    if last is None:
        raise UnsupportedSpaceError(
            f"the encoder {name} cannot tell which axis of the image {key!r} of shape {shape} holds "
            "the channels. Set its image_axes to channels-first or channels-last."
        )
    (height, width), channels = (shape[:2], shape[2]) if last else (shape[1:], shape[0])
    net = convolutions(channels)
    smallest = smallest_side(net)
    if min(height, width) < smallest:
        raise UnsupportedSpaceError(
            f"the image {key!r} of {height} x {width} pixels is too small for the encoder {name}, "
            f"which needs at least {smallest} x {smallest}. Use grid-cnn or impala-cnn, or, if the "
            f"{channels} channels are none, set image_axes."
        )
    return ImageNetwork(
        (shape[0], shape[1], shape[2]),
        channels_last=last,
        convolutions=net,
        out_dim=options.image_dim,
        pixel_max=options.pixel_max,
        shift=options.shift,
        chunk=options.chunk,
    )


def _no_image(name: str, observations: Mapping[str, spaces.Space[Any]]) -> str:
    seen = ", ".join(f"{key} {space.shape}" for key, space in observations.items()) or "none"
    return (
        f"the encoder {name} finds no image among the observations ({seen}): an image is a Box with "
        "three axes, one of them for the channels. Use mlp for vectors."
    )
