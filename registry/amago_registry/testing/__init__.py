"""Laws: conformance tests of parts, for plugin authors to run. One law is one test.

A plugin tests its backbone in two lines of pytest::

    @pytest.mark.parametrize("law", BACKBONE_LAWS, ids=lambda law: law.__name__)
    def test_my_backbone_obeys(law: Law) -> None:
        law(MY_COMPONENT)

A law builds the part from its :class:`~amago_registry.Component` with the default options
(:func:`with_options` sets others) and raises ``AssertionError`` with one sentence about what is wrong.
By default, laws run on the CPU in float64; change this with ``law(component, device="cuda",
dtype=torch.float32)``. Laws of environments, explorations, relabelers and datasets, which have no
tensors, ignore both. Laws need torch, safetensors and gymnasium; importing this package loads none of
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amago_registry.lazy import lazy_exports

if TYPE_CHECKING:
    from amago_registry.testing.actors import ACTOR_LAWS
    from amago_registry.testing.attentions import ATTENTION_LAWS
    from amago_registry.testing.backbones import BACKBONE_LAWS
    from amago_registry.testing.building import Law, with_options
    from amago_registry.testing.critics import CRITIC_LAWS
    from amago_registry.testing.datasets import DATASET_LAWS, DatasetLaw
    from amago_registry.testing.encoders import ENCODER_LAWS
    from amago_registry.testing.environments import ENVIRONMENT_LAWS
    from amago_registry.testing.explorations import EXPLORATION_LAWS
    from amago_registry.testing.relabelers import RELABELER_LAWS, RelabelerLaw

__all__ = [
    "ACTOR_LAWS",
    "ATTENTION_LAWS",
    "BACKBONE_LAWS",
    "CRITIC_LAWS",
    "DATASET_LAWS",
    "ENCODER_LAWS",
    "ENVIRONMENT_LAWS",
    "EXPLORATION_LAWS",
    "RELABELER_LAWS",
    "DatasetLaw",
    "Law",
    "RelabelerLaw",
    "with_options",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "ACTOR_LAWS": "actors",
        "ATTENTION_LAWS": "attentions",
        "BACKBONE_LAWS": "backbones",
        "CRITIC_LAWS": "critics",
        "DATASET_LAWS": "datasets",
        "ENCODER_LAWS": "encoders",
        "ENVIRONMENT_LAWS": "environments",
        "EXPLORATION_LAWS": "explorations",
        "RELABELER_LAWS": "relabelers",
        "DatasetLaw": "datasets",
        "Law": "building",
        "RelabelerLaw": "relabelers",
        "with_options": "building",
    },
)
