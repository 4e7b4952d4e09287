"""Peak memory of the process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from amago_core.system.memory import peak_memory


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the peak excludes the parent only on Linux"
)
def test_the_peak_of_a_process_excludes_that_of_its_parent() -> None:
    held = np.ones(40 * 2**20)
    assert peak_memory() > held.nbytes
    code = "from amago_core.system.memory import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**20 < int(child.stdout) < 100 * 2**20
