"""Laws of the spec loader: whatever is in the file, the answer is a spec or a SpecError; layout and key order do not matter."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repository_builder.errors import SpecError
from repository_builder.spec.load import load

KEYS = st.sampled_from(
    [
        "models",
        "a",
        "source",
        "onnx",
        "pytorch",
        "target",
        "profiles",
        "preprocess",
        "image_decode",
        "size",
        "golden",
        "x",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("m.onnx"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def outcome(text: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "m.onnx").touch()
        file = Path(folder, "deploy.yaml")
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            spec = load(file)
        except SpecError as error:
            assert all(problem.what and problem.where for problem in error.problems)  # noqa: PT017
            return "refused"
        return spec.model_dump(mode="json", exclude={"models": {"__all__": {"source"}}})


@QUICK
@given(VALUES)
def test_any_values_are_a_spec_or_refused(value: Any) -> None:
    outcome(yaml.safe_dump(value, allow_unicode=True))


@QUICK
@given(st.text(alphabet="models: a{}[]&*!-|>'\"\n\t#,0x%@`", max_size=60))
def test_any_text_is_a_spec_or_refused(text: str) -> None:
    outcome(text)


@QUICK
@given(
    st.permutations(["source", "target", "max_batch_size", "version"]),
    st.integers(0, 64),
    st.booleans(),
)
def test_order_and_layout_do_not_matter(order: list[str], size: int, flow: bool) -> None:
    values = {"source": {"onnx": "m.onnx"}, "target": "onnxruntime_onnx", "max_batch_size": size, "version": 2}
    straight = yaml.safe_dump({"models": {"a": values}}, sort_keys=False)
    shuffled = yaml.safe_dump(
        {"models": {"a": {key: values[key] for key in order}}}, sort_keys=False, default_flow_style=flow
    )
    assert outcome(shuffled) == outcome(straight) != "refused"
