"""Hypothesis strategies: model repositories that are nearly right, and others."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.property.configs import broken_texts, configs

_NAMES = ("a", "b", "c")
_TENSORS = ("x", "y", "z", "")
_NUMBERS = st.sampled_from((-2, -1, 0, 1, 2, 3, 4, 8, 2**31 - 1))
_DIMS = st.lists(_NUMBERS, max_size=3).map(lambda dims: f"[ {', '.join(map(str, dims))} ]")
_TYPES = st.sampled_from(("TYPE_FP32", "TYPE_INT64", "TYPE_STRING", "TYPE_BOOL"))


@st.composite
def _tensor(draw):
    parts = [f'name: "{draw(st.sampled_from(_TENSORS))}"', f"data_type: {draw(_TYPES)}", f"dims: {draw(_DIMS)}"]
    parts += draw(
        st.lists(
            st.sampled_from(
                (
                    "reshape: { shape: [ 1 ] }",
                    "reshape: { }",
                    "is_shape_tensor: true",
                    "allow_ragged_batch: true",
                    "optional: true",
                    "format: FORMAT_NCHW",
                )
            ),
            max_size=2,
            unique=True,
        )
    )
    return "{ " + " ".join(draw(st.permutations(parts))) + " }"


def _tensors(side):
    return st.lists(_tensor(), max_size=3).map(lambda items: f"{side} [ {', '.join(items)} ]")


@st.composite
def _step(draw):
    maps = [
        f'{side}_map {{ key: "{draw(st.sampled_from(_TENSORS))}" value: "{draw(st.sampled_from(_TENSORS))}" }}'
        for side in draw(st.lists(st.sampled_from(("input", "output")), max_size=4))
    ]
    version = draw(st.sampled_from(("", "model_version: -1", "model_version: 1", "model_version: -7")))
    return f'{{ model_name: "{draw(st.sampled_from((*_NAMES, "", "nowhere")))}" {version} {" ".join(maps)} }}'


_SCHEDULERS = st.one_of(
    st.sampled_from(("", "dynamic_batching { }")),
    st.lists(_NUMBERS, max_size=3).map(lambda sizes: f"dynamic_batching {{ preferred_batch_size: {sizes} }}"),
    st.lists(_step(), max_size=4).map(lambda steps: f"ensemble_scheduling {{ step [ {', '.join(steps)} ] }}"),
    st.sampled_from(
        (
            'sequence_batching { control_input [ { name: "x" control [ { kind: CONTROL_SEQUENCE_START } ] } ] }',
            "sequence_batching { oldest { preferred_batch_size: [ 99 ] } }",
        )
    ),
)
_EXTRAS = st.lists(
    st.sampled_from(
        (
            'platform: "tensorrt_plan"',
            'platform: "onnxruntime_onnx"',
            'platform: "ensemble"',
            'backend: "python"',
            'backend: "Triton"',
            'instance_group [ { kind: KIND_GPU profile: [ "0", "x", "²" ] } ]',
            "instance_group [ { kind: KIND_CPU count: -3 gpus: [ -1 ] } ]",
            'model_warmup [ { batch_size: 2 inputs { key: "x" value { dims: [ -1 ] input_data_file: "../x" } } } ]',
            "optimization { cuda { graphs: true graph_spec [ { batch_size: 3 graph_lower_bound { } } ] } }",
            'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/../e" } }',
            "model_transaction_policy { decoupled: true }",
            "response_cache { enable: true }",
            "version_policy { specific { versions: [ 3 ] } }",
            "version_policy { latest { } }",
            'cc_model_filenames [ { key: "9.0" value: "../../m.plan" } ]',
            'default_model_filename: "/etc/passwd"',
        )
    ),
    max_size=4,
    unique=True,
)


@st.composite
def _likely(draw):
    """A configuration made of parts that real ones have."""
    parts = [draw(_tensors("input")), draw(_tensors("output")), draw(_SCHEDULERS), *draw(_EXTRAS)]
    parts += [f"max_batch_size: {draw(_NUMBERS)}"]
    return "\n".join(draw(st.permutations(parts)))


def _emitted():
    from repository_builder.repository import pbtxt

    return configs().map(pbtxt.emit)


_TEXTS = st.one_of(_likely(), _likely(), broken_texts(), _emitted(), st.text(max_size=40))
_PYTHON = st.sampled_from(
    (
        "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n",
        "class TritonPythonModel:\n    @staticmethod\n    def auto_complete_config(c):\n        c.add_input({'dims': [1]})\n",
        "class TritonPythonModel(Base): pass",
        "from . import gone\nimport torch\n",
        "def f(:",
        "\0",
        "x = " + "(" * 300,
        "",
    )
)
_ONNX = st.one_of(
    st.binary(max_size=60), st.just(b"\x08\x08:\x00"), st.just(b"\x08\x08:\x0a\x0a\x08\x0a\x01x\x12\x01y\x22\x04Relu")
)
_ENGINES = st.sampled_from(
    (
        b'{"inputs": [{"name": "x", "dtype": "FP32", "shape": ["n", 3]}], "outputs": [], "profiles": [{"shapes": {"x": '
        b'{"min": [1, 3], "opt": [2, 3], "max": [4, 3]}}}]}',
        b'{"inputs": [], "outputs": [], "profiles": [{"shapes": {}}, {"shapes": {"x": {"min": [], "opt": [], "max": []}}}]}',
        b'{"inputs": 3}',
        b"[]",
        b"{",
    )
)
_FOLDERS = st.sampled_from(("1", "2", "01", "v1", "3a", "configs", "99999999999999999999", "١"))


@st.composite
def trees(draw):
    """Path → content of the files of a repository."""
    files = {}
    for name in draw(st.lists(st.sampled_from((*_NAMES, ".git", "a b")), max_size=3, unique=True)):
        if draw(st.integers(0, 9)):
            files[f"{name}/config.pbtxt"] = draw(_TEXTS).encode("utf-8", "surrogatepass")
        for folder in draw(st.lists(_FOLDERS, max_size=2, unique=True)):
            kind = draw(st.sampled_from(("py", "py", "onnx", "plan", "none")))
            if kind == "py":
                files[f"{name}/{folder}/model.py"] = draw(_PYTHON).encode()
            elif kind == "onnx":
                files[f"{name}/{folder}/model.onnx"] = draw(_ONNX)
            elif kind == "plan":
                files[f"{name}/{folder}/model.plan"] = draw(st.sampled_from((b"", b"ftrt" + bytes(40), b"x")))
            else:
                files[f"{name}/{folder}/note.txt"] = b""
        if not draw(st.integers(0, 3)):
            files[f"{name}/engine.json"] = draw(_ENGINES)
    return files
