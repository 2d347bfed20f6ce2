"""A real SavedModel, converted and compared, in the environment that the first use installs."""

from __future__ import annotations

import subprocess

import onnx
import pytest

from repository_builder.errors import SpecError, StageFailed
from repository_builder.stages import tensorflow_export

MODEL = """
import sys
import tensorflow as tf

class Net(tf.Module):
    def __init__(self):
        self.weight = tf.Variable(tf.random.stateless_normal([8, 3], seed=[1, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None, 8], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": tf.nn.softmax(tf.matmul(x, self.weight))}

net = Net()
tf.saved_model.save(net, sys.argv[1], signatures={"serving_default": net.__call__})
"""


def silent(message, fraction=None):
    pass


@pytest.mark.slow
def test_a_real_saved_model(tmp_path, cli):
    python = tensorflow_export.ENVIRONMENT.ensure()
    subprocess.run([str(python), "-c", MODEL, str(tmp_path / "saved")], check=True, capture_output=True)
    done = cli("export", "saved", "--trust", "--check", "-o", "m.onnx", timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    model = onnx.load(tmp_path / "m.onnx")
    assert [value.name for value in model.graph.input] == ["x"]
    assert "accepted by" in done.stdout.replace("\n", " ")
    with pytest.raises(StageFailed, match="cannot be exported"):
        tensorflow_export.export(
            tmp_path / "saved", tmp_path / "n.onnx", opset=18, signature="no_such", progress=silent
        )


def test_what_is_no_saved_model(tmp_path):
    with pytest.raises(SpecError, match="no SavedModel"):
        tensorflow_export.export(tmp_path, tmp_path / "m.onnx", opset=18, signature="serving_default", progress=silent)


def test_an_opset_that_tf2onnx_does_not_write(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(SpecError, match="up to opset 18"):
        tensorflow_export.export(tmp_path, tmp_path / "m.onnx", opset=20, signature="serving_default", progress=silent)


def test_a_saved_model_is_refused_without_trust(tmp_path, cli):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    done = cli("export", "saved", "--check")
    assert done.returncode == 2
    assert "--trust" in done.stderr
