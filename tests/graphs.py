"""Small ONNX graphs, written as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DIGITS = """<ir_version: 10, opset_import: ["" : 17]>
digits (float[batch,1,8,8] image) => (float[batch,10] logits)
{
  flat = Flatten<axis=1>(image)
  first = Constant<value = int64[1] {0}>()
  last = Constant<value = int64[1] {10}>()
  axis = Constant<value = int64[1] {1}>()
  logits = Slice(flat, first, last, axis)
}"""
"""An 8x8 grey image → its first ten pixels as scores: simple enough to know every answer."""

FIXED_BATCH = DIGITS.replace("float[batch,", "float[4,")

TWO_BATCHES = """<ir_version: 10, opset_import: ["" : 17]>
pair (float[queries,3] a, float[documents,3] b) => (float[queries,documents] score)
{
  t = Transpose<perm=[1,0]>(b)
  score = MatMul(a, t)
}"""

BAKED_BATCH = """<ir_version: 10, opset_import: ["" : 17]>
baked (float[batch,4] x) => (float[batch,2,2] y)
{
  shape = Constant<value = int64[3] {8, 2, 2}>()
  y = Reshape(x, shape)
}"""

SPARE_ENDS = """<ir_version: 10, opset_import: ["" : 17]>
spare (float[batch,1,8,8] pixels, float[batch,1] temperature) => (float[batch,64] scores, float[batch,64] features)
{
  features = Flatten<axis=1>(pixels)
  scores = Div(features, temperature)
}"""


def save(text: str, path: Path) -> Path:
    """Write a graph that is given as text to an ONNX file."""
    import onnx

    onnx.save(model(text), str(path))
    return path


def model(text: str) -> Any:
    """The checked message of a graph."""
    import onnx
    from onnx import parser

    parsed = parser.parse_model(text)
    onnx.checker.check_model(parsed)
    return parsed
