"""Every bad file that `load` may meet, and what `interface` says of good ones."""

from __future__ import annotations

import os
import pickle
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from repository_builder.errors import GraphError
from repository_builder.onnx_graph import external, read

GOOD = """
<ir_version: 9, opset_import: ["" : 18]>
g (float[batch, 3] x) => (float[batch, 3] y) { z = Relu(x)  y = Identity(z) }
"""


def write(path, text):
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return path


def refusal(path, **options):
    with pytest.raises(GraphError) as caught:
        read.load(path, **options)
    for problem in caught.value.problems:
        assert problem.what, problem
        assert problem.where, problem
        assert problem.why, problem
        assert problem.fix, problem
    return str(caught.value)


def test_a_good_graph(tmp_path):
    model = read.load(write(tmp_path / "m.onnx", GOOD))
    assert [node.op_type for node in model.graph.node] == ["Relu", "Identity"]


class TestFiles:
    def test_missing_names_a_similar_file(self, tmp_path):
        write(tmp_path / "model.onnx", GOOD)
        assert "model.onnx`?" in refusal(tmp_path / "modle.onnx")

    def test_folder(self, tmp_path):
        write(tmp_path / "inner.onnx", GOOD)
        assert "inner.onnx" in refusal(tmp_path)

    def test_saved_model_folder(self, tmp_path):
        (tmp_path / "saved_model.pb").touch()
        assert "tensorflow" in refusal(tmp_path)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "empty"),
            (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, "PNG"),
            (b"hello world, I am no model\n", "text file"),
            (b'<ir_version: 9, opset_import: ["" : 18]> g () => () {}', "written as text"),
            (b"\x1f\x8b" + b"\0" * 30, "gzip"),
            (b"\x20\0\0\0TFL3" + b"\0" * 30, "TensorFlow Lite"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            (b"\xde\xad\xbe\xef" * 10, "not an ONNX file"),
            ((60).to_bytes(8, "little") + b'{"w":{}}' + b"\0" * 60, "safetensors"),
        ],
    )
    def test_foreign(self, tmp_path, content, said):
        path = tmp_path / "m.onnx"
        path.write_bytes(content)
        assert said in refusal(path)

    def test_pickle_and_zip_checkpoints_hint_at_export(self, tmp_path):
        old, new = tmp_path / "old.pt", tmp_path / "new.pt"
        old.write_bytes(pickle.dumps({"weight": [1.0, 2.0]}))
        with zipfile.ZipFile(new, "w") as archive:
            archive.writestr("new/data.pkl", b"..")
        assert "torch.onnx.export" in refusal(old)
        assert "torch.onnx.export" in refusal(new)

    def test_truncated_anywhere(self, tmp_path):
        whole = onnx.parser.parse_model(GOOD).SerializeToString()
        path = tmp_path / "m.onnx"
        for end in range(len(whole)):
            path.write_bytes(whole[:end])
            refusal(path)

    def test_an_error_of_the_file_system(self, tmp_path):
        write(tmp_path / "m.onnx", GOOD)
        assert "Not a directory" in refusal(tmp_path / "m.onnx" / "inner.onnx")

    def test_larger_than_protobuf_can_be(self, tmp_path):
        path = tmp_path / "m.onnx"
        path.touch()
        os.truncate(path, 2**31 + 5)
        assert "external data" in refusal(path)


class TestVersions:
    def test_opset_from_the_future(self, tmp_path):
        assert "opset is 99" in refusal(write(tmp_path / "m.onnx", GOOD.replace('"" : 18', '"" : 99')))

    def test_ir_from_the_future(self, tmp_path):
        assert "IR version is 99" in refusal(
            write(tmp_path / "m.onnx", GOOD.replace("ir_version: 9", "ir_version: 99"))
        )


class TestStructure:
    def test_unsorted_nodes_are_refused_or_sorted(self, tmp_path):
        path = write(tmp_path / "m.onnx", GOOD.replace("z = Relu(x)  y = Identity(z)", "y = Identity(z)  z = Relu(x)"))
        assert "repair" in refusal(path)
        assert [node.op_type for node in read.load(path, sort=True).graph.node] == ["Relu", "Identity"]

    def test_cycle(self, tmp_path):
        path = write(
            tmp_path / "m.onnx", GOOD.replace("z = Relu(x)  y = Identity(z)", "z = Add(x, y)  y = Identity(z)")
        )
        assert "cycle" in refusal(path)
        assert "cycle" in refusal(path, sort=True)

    def test_undefined_tensor(self, tmp_path):
        assert "`nowhere`" in refusal(write(tmp_path / "m.onnx", GOOD.replace("Relu(x)", "Relu(nowhere)")))

    def test_tensor_computed_twice(self, tmp_path):
        path = write(tmp_path / "m.onnx", GOOD.replace("z = Relu(x)", "z = Relu(x) z = Neg(x)"))
        assert "computed twice" in refusal(path)

    def test_two_inputs_of_one_name(self, tmp_path):
        path = write(tmp_path / "m.onnx", GOOD.replace("(float[batch, 3] x)", "(float[batch, 3] x, float[2] x)"))
        assert "two inputs are named `x`" in refusal(path)

    def test_wrong_operator_signature_names_the_node(self, tmp_path):
        model = onnx.parser.parse_model(GOOD)
        model.graph.node[0].name = "first"
        model.graph.node[0].attribute.append(helper.make_attribute("beta", 1.0))
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        said = refusal(tmp_path / "m.onnx")
        assert "Relu has no attribute `beta`" in said
        assert "node `first` (Relu)" in said

    def test_too_many_inputs(self, tmp_path):
        assert "inputs" in refusal(write(tmp_path / "m.onnx", GOOD.replace("Relu(x)", "Relu(x, x, x)")))

    def test_operator_of_another_opset(self, tmp_path):
        path = write(tmp_path / "m.onnx", GOOD.replace("Relu(x)", "Gelu(x)"))
        assert "Gelu does not exist in opset 18" in refusal(path)

    def test_initializer_with_too_few_bytes(self, tmp_path):
        model = onnx.parser.parse_model(GOOD)
        model.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[4], raw_data=b"12"))
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        assert "needs 16 bytes, but 2 are stored" in refusal(tmp_path / "m.onnx")

    def test_initializer_with_too_few_values(self, tmp_path):
        model = onnx.parser.parse_model(GOOD)
        model.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[4], float_data=[1.0]))
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        assert "number of stored values" in refusal(tmp_path / "m.onnx")

    def test_fault_in_a_subgraph(self, tmp_path):
        text = """
        <ir_version: 9, opset_import: ["" : 18]>
        g (bool c, float[3] x) => (float[3] y) {
          y = If (c) <then_branch = t () => (float[3] a) { a = Relu(x) a = Neg(x) },
                      else_branch = e () => (float[3] b) { b = Neg(x) }>
        }"""
        assert "then_branch" in refusal(write(tmp_path / "m.onnx", text))

    def test_custom_operators_are_no_structural_fault(self, tmp_path):
        read.load(write(tmp_path / "a.onnx", GOOD.replace("Relu", "EfficientNMS_TRT")))
        text = GOOD.replace('["" : 18]', '["" : 18, "mine" : 1]').replace("Relu", "mine.Fancy")
        read.load(write(tmp_path / "b.onnx", text))


def with_external(tmp_path, location="m.data", values=b"\0" * 16, **entries):
    """A graph whose only weight lies in another file."""
    model = onnx.parser.parse_model(GOOD.replace("Relu(x)", "Add(x, w)"))
    weight = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=str(value))
    model.graph.initializer.append(weight)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    if values is not None:
        (folder / "m.data").write_bytes(values)
    return folder / "m.onnx"


class TestExternalData:
    def test_read_only_on_request(self, tmp_path):
        path = with_external(tmp_path, values=np.arange(4, dtype="f4").tobytes())
        assert external.is_external(read.load(path).graph.initializer[0])
        loaded = numpy_helper.to_array(read.load(path, weights=True).graph.initializer[0])
        assert loaded.tolist() == [0, 1, 2, 3]

    def test_missing(self, tmp_path):
        assert "no such file" in refusal(with_external(tmp_path, values=None))

    @pytest.mark.parametrize("location", ["/etc/hostname", "C:\\w.data"])
    def test_absolute(self, tmp_path, location):
        assert "absolute" in refusal(with_external(tmp_path, location))

    @pytest.mark.parametrize("location", ["../w.data", "sub/../../w.data", "..\\w.data"])
    def test_outside(self, tmp_path, location):
        (tmp_path / "w.data").write_bytes(b"\0" * 16)
        assert "leads out" in refusal(with_external(tmp_path, location))

    def test_symbolic_link(self, tmp_path):
        path = with_external(tmp_path, "link")
        (path.parent / "link").symlink_to("m.data")
        assert "symbolic link" in refusal(path)

    def test_symbolic_link_of_a_folder(self, tmp_path):
        path = with_external(tmp_path, "sub/w.data")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "w.data").write_bytes(b"\0" * 16)
        (path.parent / "sub").symlink_to(tmp_path / "other")
        assert "symbolic link" in refusal(path)

    def test_hard_link_outside_is_refused_inside_allowed(self, tmp_path):
        path = with_external(tmp_path)
        os.link(path.parent / "m.data", path.parent / "copy")
        read.load(path)
        os.link(path.parent / "m.data", tmp_path / "secret")
        assert "hard link" in refusal(path)

    @pytest.mark.parametrize("entries", [{"offset": 8}, {"offset": 999}, {"length": 999}, {"offset": -1}])
    def test_beyond_the_file(self, tmp_path, entries):
        assert "are wanted" in refusal(with_external(tmp_path, **entries))

    def test_wrong_length(self, tmp_path):
        assert "needs 16 bytes" in refusal(with_external(tmp_path, length=8))

    def test_offset_that_is_no_number(self, tmp_path):
        assert "not a number" in refusal(with_external(tmp_path, offset="x"))

    def test_tensors_in_subgraphs_are_walked(self, tmp_path):
        text = """
        <ir_version: 9, opset_import: ["" : 18]>
        g (bool c, float[3] x) => (float[3] y) {
          y = If (c) <then_branch = t () => (float[3] a) { a = Relu(x) },
                      else_branch = e () => (float[3] b) { b = Constant <value = float[3] {1, 2, 3}> () }>
        }"""
        model = onnx.parser.parse_model(text)
        branch = next(a.g for a in model.graph.node[0].attribute if a.name == "else_branch")
        hidden = branch.node[0].attribute[0].t
        hidden.Clear()
        hidden.dims.append(3)
        hidden.data_type, hidden.data_location = 1, TensorProto.EXTERNAL
        hidden.external_data.add(key="location", value="/etc/passwd")
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        assert "absolute" in refusal(tmp_path / "m.onnx")

    def test_three_gigabytes_beside_the_graph(self, tmp_path):
        path = with_external(tmp_path, values=None)
        model = onnx.load(path, load_external_data=False)
        model.graph.initializer[0].dims[:] = [3, 2**28]
        path.write_bytes(model.SerializeToString())
        (path.parent / "m.data").touch()
        os.truncate(path.parent / "m.data", 3 * 2**30)
        assert external.size(read.load(path)) == 3 * 2**30


class TestInterface:
    def described(self, text):
        return read.interface(onnx.parser.parse_model(text))

    def test_symbols_are_kept(self):
        described = self.described(GOOD)
        assert str(described.inputs[0]) == "x: FP32[batch, 3]"
        assert str(described.outputs[0]) == "y: FP32[batch, 3]"

    def test_unnamed_dims_get_unique_names_and_outputs_are_inferred(self):
        described = self.described(
            GOOD.replace("[batch, 3] x", "[?, ?] x").replace("float[batch, 3] y", "float[?, ?] y")
        )
        assert described.inputs[0].shape == ("x_dim0", "x_dim1")
        assert described.outputs[0].shape == ("x_dim0", "x_dim1")

    def test_outputs_without_a_shape_are_inferred(self):
        model = onnx.parser.parse_model(GOOD)
        model.graph.output[0].type.tensor_type.ClearField("shape")
        assert read.interface(model).outputs[0].shape == ("batch", 3)

    @pytest.mark.parametrize("ir", [3, 9])
    def test_initializers_are_no_inputs(self, ir, tmp_path):
        model = onnx.parser.parse_model(GOOD.replace("Relu(x)", "Add(x, w)"))
        model.ir_version = ir
        model.graph.initializer.append(numpy_helper.from_array(np.ones(3, "f4"), "w"))
        if ir == 9:
            model.graph.input.append(helper.make_tensor_value_info("w", 1, [3]))
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        assert [tensor.name for tensor in read.interface(read.load(tmp_path / "m.onnx")).inputs] == ["x"]

    def test_minus_one_is_dynamic_and_zero_is_zero(self):
        model = onnx.parser.parse_model(GOOD)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 0
        assert read.interface(model).inputs[0].shape == ("x_dim0", 0)

    def test_sequences_are_refused(self):
        with pytest.raises(GraphError, match="`s` cannot be an input"):
            self.described(
                '<ir_version: 9, opset_import: ["" : 18]> g (seq(float[2]) s) => (int64 n) { n = SequenceLength(s) }'
            )

    def test_unknown_rank_is_refused(self):
        model = onnx.parser.parse_model(GOOD)
        model.graph.input[0].type.tensor_type.ClearField("shape")
        model.graph.output[0].type.tensor_type.ClearField("shape")
        with pytest.raises(GraphError, match="shape of `x` is unknown"):
            read.interface(model)
