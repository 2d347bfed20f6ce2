"""examples/plugins: compiled from a clean cache, proven on the CPU, served by the real Triton, wired for the container."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from repository_builder.cli import main
from repository_builder.plugins import operators, testing
from repository_builder.plugins.library import load_reference
from repository_builder.repository import golden
from repository_builder.serving.client import Client
from repository_builder.serving.server import serve
from tests import plugin_kit as kit
from tests.conftest import ROOT

pytestmark = [pytest.mark.server, pytest.mark.slow]
EXAMPLE = ROOT / "examples" / "plugins"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with TensorRT's headers where they are at hand, else as the example stands: kernels without shells."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copytree(EXAMPLE, folder / "example")
    spec = folder / "example" / "deploy.yaml"
    if found := kit.headers_at_hand():
        spec.write_text(spec.read_text().replace("tensorrt_headers: none ", f"tensorrt_headers: {found[0].folder} "))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_REPO_CACHE", str(folder / "cache"))
        assert main(["build", str(spec), "--output", str(folder / "repository")]) == 0
    return folder / "repository"


def test_the_recorded_reference_is_that_of_numpy(repository: Path) -> None:
    """ONNX Runtime recorded the golden outputs; the operators' NumPy references must give the same."""
    model = onnx.load(repository / "volume_warp" / "1" / "model.onnx")
    del model.functions[:]
    known = operators.find([ROOT / "plugins_cuda", EXAMPLE / "soft_clip"])
    ours = [testing.reference_op(operators.choose(name, known)) for name in ("grid_sample", "soft_clip")]
    recorded = golden.read(repository / "volume_warp" / golden.FILENAME)
    (right,) = ReferenceEvaluator(model, new_ops=ours).run(None, dict(recorded.inputs))
    np.testing.assert_allclose(recorded.outputs["warped"], right, rtol=1e-5, atol=1e-6)
    assert np.abs(right).max() > 0


def test_the_real_triton_serves_it(repository: Path) -> None:
    recorded = golden.read(repository / "volume_warp" / golden.FILENAME)
    with serve(repository, graceful=False) as running, Client(running.grpc) as client:
        answer = client.infer("volume_warp", dict(recorded.inputs))["warped"]
    np.testing.assert_allclose(answer, recorded.outputs["warped"], rtol=1e-6, atol=1e-6)


def test_the_container_is_told_of_the_libraries(repository: Path) -> None:
    manifest = json.loads((repository / "manifest.json").read_text())
    stored = manifest["pipelines"]["volume_warp"]["notes"]["plugins"]["libraries"]
    assert set(stored) == {"libtrb_grid_sample.so", "libtrb_soft_clip.so"}
    scripts = [(repository / name).read_text() for name in ("run.sh", "compose.yaml", "kubernetes.yaml")]
    if not kit.headers_at_hand():
        assert not any("plugins=" in script for script in scripts), "a library without a shell is nothing for a server"
        return
    folder = "/models/volume_warp"
    line = f"--backend-config=tensorrt,plugins={folder}/libtrb_grid_sample.so;{folder}/libtrb_soft_clip.so"
    assert all(line in script for script in scripts)
    for name, facts in stored.items():
        assert manifest["files"][f"volume_warp/{name}"]["sha256"] == facts["sha256"]


def test_an_operator_that_does_not_do_what_it_says_stops_the_build(tmp_path: Path, fresh_cache: Path) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "example")
    math = tmp_path / "example" / "soft_clip" / "soft_clip_math.h"
    math.write_text(math.read_text().replace("tanhf", "sinhf"))
    spec = tmp_path / "example" / "deploy.yaml"
    spec.write_text(spec.read_text().replace("volume_warp.onnx", "volume_warp.onnx"))
    assert main(["build", str(spec), "--output", str(tmp_path / "repository")]) == 4
    assert not (tmp_path / "repository").exists()


def test_an_operator_newer_than_onnx_runtime_is_served(tmp_path: Path, fresh_cache: Path) -> None:
    """LinearAttention of opset 27: ONNX Runtime reads 26, the standard's own function body makes up for it."""
    model = onnx.parser.parse_model("""<ir_version: 12, opset_import: ["" : 27]>
        g (float[b,t,8] q, float[b,t,8] k, float[b,t,8] v) => (float[b,t,8] y, float[b,2,4,4] s)
        { y, s = LinearAttention <q_num_heads = 2, kv_num_heads = 2, update_rule = "linear"> (q, k, v) }""")
    onnx.save(model, tmp_path / "attention.onnx")
    (tmp_path / "deploy.yaml").write_text(
        "models:\n  attention:\n    source: {onnx: attention.onnx}\n    target: onnxruntime_onnx\n    plugins: {}\n"
    )
    repository = tmp_path / "repository"
    assert main(["build", str(tmp_path / "deploy.yaml"), "--output", str(repository)]) == 0
    rng = np.random.default_rng(1)
    inputs = {name: rng.normal(size=(1, 3, 8)).astype(np.float32) for name in "qkv"}
    reference = load_reference(ROOT / "plugins_cuda" / "linear_attention")
    right, state = reference(*inputs.values(), q_num_heads=2, kv_num_heads=2, update_rule="linear")
    with serve(repository, graceful=False) as running, Client(running.grpc) as client:
        answer = client.infer("attention", inputs)
    np.testing.assert_allclose(answer["y"], right, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answer["s"], state, rtol=1e-4, atol=1e-5)
