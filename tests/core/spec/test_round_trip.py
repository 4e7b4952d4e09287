import tempfile
from pathlib import Path
from typing import Any

from fake_catalog import CATALOG
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_core.spec import dump_spec, load_spec, spec_yaml

texts = st.text(max_size=20).filter(lambda text: "${" not in text and text != "???")
names = texts.filter(lambda text: text and not text.startswith(".") and not set(text) & {"/", "\\"})
kernels = st.fixed_dictionaries(
    {"use": st.sampled_from(["auto", "standard/sdpa"])},
    optional={"window": st.none() | st.integers(1, 9)},
)
backbones = st.one_of(
    st.sampled_from(["gru", "transformer"]),
    st.fixed_dictionaries({"use": st.just("gru")}, optional={"hidden_dim": st.integers(1, 9)}),
    st.fixed_dictionaries({}, optional={"layers": st.integers(1, 9), "attention": kernels}),
)
environments = st.one_of(
    st.fixed_dictionaries({"use": st.just("gymnasium"), "id": texts}),
    st.fixed_dictionaries({"use": st.just("t-maze"), "rooms": st.lists(st.integers(0, 9))}),
)
stops = st.fixed_dictionaries(
    {}, optional={"seconds": st.none() | st.floats(1e-9, 1e9), "return": st.floats(-1e9, 1e9)}
)
specs = st.fixed_dictionaries(
    {"environment": environments},
    optional={
        "name": names,
        "seed": st.integers(0, 2**63 - 1),
        "agent": st.fixed_dictionaries({"backbone": backbones}),
        "training": st.fixed_dictionaries({"stop": stops, "learning_rate": st.floats(1e-12, 1.0)}),
        "evaluation": st.fixed_dictionaries({"environment": st.none() | environments}),
        "running": st.fixed_dictionaries({"threads": st.just("auto") | st.integers(1, 99)}),
        "trackers": st.lists(st.sampled_from(["csv", "standard/jsonl"]), max_size=3),
    },
)


@given(specs)
@settings(max_examples=40, deadline=None)
def test_a_dumped_spec_always_loads_as_an_equal_spec(written: dict[str, Any]) -> None:
    spec = load_spec(written, catalog=CATALOG)
    assert load_spec(dump_spec(spec), catalog=CATALOG) == spec
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spec.yaml"
        file.write_text(spec_yaml(spec), encoding="utf-8")
        assert load_spec(file, catalog=CATALOG) == spec


@given(specs, specs)
@settings(max_examples=10, deadline=None)
def test_a_dump_always_has_every_key(written: dict[str, Any], other: dict[str, Any]) -> None:
    """A dump does not depend on defaults: any two have the same sections."""
    first, second = (dump_spec(load_spec(each, catalog=CATALOG)) for each in (written, other))
    assert list(first) == list(second)
    assert first["training"].keys() == second["training"].keys()
