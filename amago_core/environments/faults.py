"""What environments do wrong, said so that their author can find it.

Shape suffixes: B = environments.
"""

from __future__ import annotations

import numpy as np

from amago_registry.errors import AmagoError


class EnvironmentFault(AmagoError):
    """An environment that cannot be made, raises, or returns what it did not declare."""


class EnvironmentLost(EnvironmentFault):
    """Environments whose process crashed, hangs or met an exception; they can be started anew.

    What the process had to say, such as the environment's own traceback, is a note of the exception
    (``__notes__``). See :meth:`amago_core.environments.vector.Environments.restart`.
    """


def check_finite(name: str, step_B: np.ndarray, **fields: np.ndarray) -> None:
    """Refuse NaN and infinity in what environments returned.

    Args:
        name: What users call the environment.
        step_B: Steps since each environment's task began.
        fields: Arrays ``(B, ...)`` by the name of the field.

    Raises:
        EnvironmentFault: Naming the first field, environment and step.
    """
    for field, values in fields.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            finite_B = np.isfinite(values).reshape(len(values), -1).all(1)
            worst = int(np.flatnonzero(~finite_B)[0])
            raise EnvironmentFault(
                f"environment {name}, step {int(step_B[worst])} of its task: {field} is not finite: "
                f"{np.array2string(values[worst], threshold=8)}."
            )
