"""The TensorRT shells: compiled against every version of the headers at hand, driven without TensorRT, and loaded into
the real plugin registry of TensorRT for RTX."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from repository_builder.plugins import operators
from repository_builder.plugins.compile import Compiled, compile_plugin
from repository_builder.plugins.headers import Headers
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import find_nvcc
from tests import plugin_kit as kit

pytestmark = pytest.mark.slow
ALL = operators.shipped()
VERSIONS = kit.headers_at_hand()


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_REPO_CACHE", kit.shared_cache(tmp_path_factory))
        yield


def compiled(operator: Operator, headers: Headers | None) -> Compiled:
    return compile_plugin(operator, find_nvcc(), ["75"], headers)


@pytest.mark.parametrize("operator", ALL, ids=lambda o: o.key)
def test_kernels_compile_without_tensorrt(operator: Operator) -> None:
    library = compiled(operator, None).library
    table = (library.parent / "usage.md").read_text()
    assert table.count("| 75 |") >= 3
    symbols = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in symbols.splitlines()} <= {
        "trb_describe", "trb_run_device", "trb_workspace", "trb_" + operator.key, f"trb_{operator.key}_workspace",
    }  # fmt: skip


@pytest.fixture(scope="module", params=VERSIONS or [None], ids=lambda h: h.version if h else "none")
def headers(request: pytest.FixtureRequest) -> Headers:
    if request.param is None:
        pytest.skip(kit.WITHOUT)
    return request.param


@pytest.fixture(scope="module")
def harness(headers: Headers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.compile_harness(headers, tmp_path_factory.mktemp("harness"))


@pytest.mark.parametrize("operator", ALL, ids=lambda o: o.key)
def test_the_shell_does_what_tensorrt_will_ask(
    operator: Operator, headers: Headers, harness: Path, tmp_path: Path
) -> None:
    case, _, _ = kit.write_case(operator, kit.representative(operator), tmp_path)
    status, said = kit.run_harness(harness, compiled(operator, headers).library, case, "cpu")
    assert status == 0, said


def test_the_harness_notices_a_wrong_shape(headers: Headers, harness: Path, tmp_path: Path) -> None:
    operator = operators.choose("det", ALL)
    case, _, _ = kit.write_case(operator, kit.representative(operator), tmp_path)
    case.write_text(case.read_text().replace("out 0", "out 1"))
    status, said = kit.run_harness(harness, compiled(operator, headers).library, case, "cpu")
    assert status == 1
    assert "another type" in said


REGISTRY = """
import ctypes, json, sys
import numpy as np
import tensorrt_rtx as trt

class Log(trt.ILogger):
    lines = []
    def __init__(self):
        trt.ILogger.__init__(self)
    def log(self, severity, text):
        self.lines.append(text)

log = Log()
builder = trt.Builder(log)
registry = trt.get_plugin_registry()
library, copy, name, version, namespace, how = sys.argv[1:]
for word in how.split("+"):
    if word == "dlopen":
        ctypes.CDLL(library)
    elif word == "load":
        assert registry.load_library(library) is not None
    elif word == "load-again":
        assert registry.load_library(library) is None, "TensorRT takes a library with nothing new for an error"
    elif word == "dlopen-copy":
        ctypes.CDLL(copy)
same = [c for c in registry.all_creators if (c.name, c.plugin_version, c.plugin_namespace) == (name, version, namespace)]
creator = registry.get_creator(name, version, namespace)
fields = [field.name for field in creator.field_names]

def make(**given):
    kinds = {str: trt.PluginFieldType.CHAR, float: trt.PluginFieldType.FLOAT32}
    made = []
    for key, value in given.items():
        kind = kinds.get(type(value), trt.PluginFieldType.INT32)
        data = np.frombuffer(value.encode(), np.int8) if isinstance(value, str) else np.atleast_1d(np.array(
            value, np.float32 if isinstance(value, float) else np.int32))
        made.append(trt.PluginField(key, data, kind))
    plugin = creator.create_plugin("test", trt.PluginFieldCollection(made), trt.TensorRTPhase.BUILD)
    return plugin is not None

attributes = json.loads(sys.stdin.read())
print(json.dumps({
    "registered": len(same), "fields": fields, "made": make(**attributes), "strange": make(nonsense=1, **attributes),
    "wrong": {key: make(**{**attributes, key: 1.5 if not isinstance(value, float) else "word"})
              for key, value in attributes.items()},
    "empty": make(),
    "log": log.lines}))
"""


def registry(operator: Operator, headers: Headers, folder: Path, how: str) -> dict:
    import json
    import shutil

    from repository_builder.plugins.binding import call_attributes

    library = compiled(operator, headers).library
    copy = folder / "copy_of.so"
    shutil.copyfile(library, copy)
    case = kit.representative(operator)
    attributes = {k: v for k, v in call_attributes(operator, case.inputs, case.attributes).items() if v != []}
    done = subprocess.run(
        [sys.executable, "-c", REGISTRY, library, copy, operator.plugin, operator.version, operator.namespace, how],
        input=json.dumps(attributes), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def newest() -> Headers:
    pytest.importorskip("tensorrt_rtx", reason="the extra `tensorrt-rtx` is not installed")
    found = [headers for headers in VERSIONS if headers.major == 11]
    if not found:
        pytest.skip(kit.WITHOUT)
    return found[0]


@pytest.mark.parametrize("operator", ALL, ids=lambda o: o.key)
def test_the_real_registry_takes_the_library_and_refuses_nonsense(
    operator: Operator, newest: Headers, tmp_path: Path
) -> None:
    said = registry(operator, newest, tmp_path, "load")
    assert said["registered"] == 1
    assert said["fields"] == list(operator.attributes)
    assert said["made"]
    assert not said["strange"]
    assert not any(said["wrong"].values())
    required = {key for key, value in operator.attributes.items() if "default" not in value}
    assert said["empty"] == (not required)


@pytest.mark.parametrize("how", ["dlopen", "load", "dlopen+load", "load+load-again", "dlopen+dlopen-copy"])
def test_a_creator_is_registered_once_however_the_library_comes(how: str, newest: Headers, tmp_path: Path) -> None:
    said = registry(operators.choose("det", ALL), newest, tmp_path, how)
    assert said["registered"] == 1
    assert said["made"]
    warned = any("registered already; this copy is ignored" in line for line in said["log"])
    assert warned == ("copy" in how)


def test_a_library_of_another_major_is_not_registered(newest: Headers, tmp_path: Path) -> None:
    older = [headers for headers in VERSIONS if headers.major == 10]
    if not older:
        pytest.skip(kit.WITHOUT)
    library = compiled(operators.choose("det", ALL), older[0]).library
    code = "import ctypes, sys, tensorrt_rtx as t; t.Builder(t.Logger()); ctypes.CDLL(sys.argv[1]); " \
           "print([c.name for c in t.get_plugin_registry().all_creators])"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, library], capture_output=True, text=True, check=True)
    assert "TrbDet" not in done.stdout
    assert "no TensorRT 10 in this process" in done.stderr
