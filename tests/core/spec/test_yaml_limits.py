"""Limits on YAML size, depth and alias expansion."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_core.errors import SpecError
from amago_core.spec import load_spec
from amago_core.spec.yaml_files import _count_values

LAUGHS = "a0: &a0 [1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "it has more than 100,000 values after alias expansion"),
        ("a: &a [*a]\n", "it has more than 100,000 values after alias expansion"),
        ("a: &a {b: &b [1]}\nc: &b [*b]\n", "it has more than 100,000 values after alias expansion"),
        ("a: " + "[" * 200 + "]" * 200 + "\n", "it is nested more than 100 levels deep"),
        ("a: " + "[" * 100_000 + "\n", "it is nested more than 100 levels deep"),
        ("#" * 1_100_000, "it has 1,100,000 bytes; a spec has at most 1,048,576"),
    ],
    ids=["billion laughs", "recursive", "redefined", "deep", "unclosed", "large"],
)
def test_a_file_beyond_a_limit_is_refused_at_once(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value) == f"the spec {path} has 1 problem:\n  {why}"
    assert time.process_time() - began < 2


def test_an_alias_counts_as_a_copy() -> None:
    # The mapping, two keys, a list of 3, and again a list of 3.
    assert _count_values("a: &x [1, 2, 3]\nb: *x\n") == 1 + 2 + 4 + 4
    assert _count_values("a: &x 5\nb: [*x, *x]\n") == 1 + 2 + 1 + 1 + 2


SCALARS = st.integers(0, 9).map(str)
TEXTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_without_aliases_the_count_is_always_that_of_the_text(text: str) -> None:
    assert _count_values(text) == text.count("[") + sum(letter.isdigit() for letter in text)
