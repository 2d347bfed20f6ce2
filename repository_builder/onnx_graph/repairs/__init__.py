"""The repairs, one per file, in the order in which they are tried. A new one is a file and a line here."""

from __future__ import annotations

from repository_builder.onnx_graph.repairs import (
    bitwise,
    clean_up,
    col2im,
    contrib,
    convert_opset,
    cumulative_product,
    declared_shape,
    double_as_float,
    drop_training,
    fold_batchnorm,
    fold_constants,
    fourier,
    inline_function,
    inline_local_functions,
    modern_ir,
    pooling,
    quantized,
    reduce_axes,
    resize,
    scatter_reduction,
    selection,
    small_math,
    widen_integers,
)
from repository_builder.onnx_graph.rewrite import GraphRepair, Repair

NODE_REPAIRS: tuple[Repair, ...] = (
    contrib.REPAIR,
    reduce_axes.REPAIR,
    declared_shape.REPAIR,
    bitwise.REPAIR,
    small_math.REPAIR,
    quantized.REPAIR,
    pooling.REPAIR,
    resize.REPAIR,
    fourier.REPAIR,
    cumulative_product.REPAIR,
    selection.REPAIR,
    scatter_reduction.REPAIR,
    col2im.REPAIR,
    inline_function.REPAIR,  # last: the standard's own definition, where nothing better is known
)
GRAPH_REPAIRS: tuple[GraphRepair, ...] = (
    drop_training.REPAIR,
    modern_ir.REPAIR,
    inline_local_functions.REPAIR,
    convert_opset.REPAIR,
    fold_constants.REPAIR,
    widen_integers.REPAIR,
    double_as_float.REPAIR,
    fold_batchnorm.REPAIR,
    clean_up.REPAIR,
)
