"""The backbone without memory, against its formula."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import layer_norm, leaky_relu

from amago_registry import BackboneContext, SequenceLayout
from amago_standard.backbones import MLPBackbone
from amago_standard.backbones.options import MLPBackboneOptions

CONTEXT = BackboneContext(in_dim=3, context_length=5, build=lambda part, context: part.build(context))


def test_it_maps_every_row_alike() -> None:
    torch.manual_seed(0)
    model = MLPBackbone(CONTEXT, MLPBackboneOptions(layers=2, width=4)).double()
    nn.init.normal_(model.norm.weight)
    nn.init.normal_(model.norm.bias)
    layout = SequenceLayout.build([4, 1, 6])
    x_ND = torch.randn(layout.timesteps, 3, dtype=torch.float64)
    first, second, last = (layer for layer in model.net if isinstance(layer, nn.Linear))
    hidden_ND = [last(leaky_relu(second(leaky_relu(first(row))))) for row in x_ND]
    expected = [layer_norm(row, (4,), model.norm.weight, model.norm.bias) for row in hidden_ND]
    torch.testing.assert_close(model(x_ND, layout), torch.stack(expected), rtol=1e-9, atol=1e-9)
