import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from amago_registry.discovery import read_plugin

README = (Path(__file__).parents[2] / "registry" / "README.md").read_text("utf-8")


def test_the_plugin_of_the_readme_works(monkeypatch: pytest.MonkeyPatch) -> None:
    options, hooks, laws = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    for name, code in (("", ""), (".options", options), (".hooks", hooks)):
        module = ModuleType(f"amago_memory_zoo{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(code, module.__dict__)
    plugin = read_plugin("amago-memory-zoo", "0.1.0", [lambda: sys.modules["amago_memory_zoo.hooks"]])
    assert plugin.broken is None
    assert [(kind, part.name) for kind, part in plugin.offers] == [("backbone", "ffm")]
    exec(laws, {"__name__": "test_ffm"})
