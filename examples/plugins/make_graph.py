"""Writes volume_warp.onnx: a volume is sampled along a displacement field (3-D GridSample), then softly clipped.

`acme::SoftClip` is an operator that nobody but this example knows: its plugin lies in `soft_clip/`, made by
`triton-repo plugin new acme::SoftClip --like volume_warp.onnx --out .` and then filled in.
"""

from pathlib import Path

import onnx
import onnx.parser

GRAPH = """
<ir_version: 9, opset_import: ["" : 20, "acme" : 1]>
volume_warp (float[batch, 2, 6, 8, 8] volume, float[batch, 4, 4, 4, 3] grid) => (float[batch, 2, 4, 4, 4] warped)
{
    sampled = GridSample <mode = "linear", padding_mode = "border", align_corners = 1> (volume, grid)
    warped = acme.SoftClip <limit = 1.5> (sampled)
}
"""

if __name__ == "__main__":
    onnx.save(onnx.parser.parse_model(GRAPH), Path(__file__).with_name("volume_warp.onnx"))
