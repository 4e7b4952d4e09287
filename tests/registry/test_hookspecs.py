import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amago_registry import KINDS, contexts, hookspecs

README = (Path(__file__).parents[2] / "registry" / "README.md").read_text("utf-8")


def hooks() -> dict[str, Callable[..., Any]]:
    functions = inspect.getmembers(hookspecs, inspect.isfunction)
    return {name: function for name, function in functions if name.startswith("amago_")}


def test_there_is_one_hook_per_kind() -> None:
    assert set(hooks()) == {kind.hook for kind in KINDS.values()}


def test_the_readme_has_a_heading_per_hook_with_its_exact_signature() -> None:
    headings = re.findall(r"^### `(amago_.*)`$", README, flags=re.MULTILINE)
    signatures = {name: str(inspect.signature(hook)).replace("'", "") for name, hook in hooks().items()}
    assert headings == [kind.hook + signatures[kind.hook] for kind in KINDS.values()]


def test_every_hook_names_the_context_of_its_kind_in_docstring_and_readme() -> None:
    for kind in KINDS.values():
        context = f"{kind.name.capitalize()}Context"
        assert hasattr(contexts, context)
        assert f"context: {context}" in (hooks()[kind.hook].__doc__ or "")
        assert f"| {kind.name} | `{context}` | {kind.summary} |" in README
        section = README.split(f"### `{kind.hook}()")[1].split("###")[0]
        assert f"target(context: {context}, options)" in section
