"""Resize in the modes that TensorRT lacks: cubic, antialias, crop, symmetric, other axes, scales known at run time.

Resizing is linear and works axis by axis: nearest neighbour is a Gather, every other mode a product with a matrix of
weights. The matrix comes from the coordinates of the standard; it is constant where the scales are, and TensorRT folds
it then. Shapes must be static.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from repository_builder.onnx_graph.repairs._choice import inverse, last
from repository_builder.onnx_graph.rewrite import FLOATS, Builder, Repair

_FLOAT = 1
_MOST_TAPS = 64


@dataclass(frozen=True)
class _Axis:
    """One axis that is resized."""

    axis: int
    index: int
    """Place among the resized axes: where its scale and its region stand."""
    size: int
    result: int
    scale: str
    """A FLOAT scalar."""


def rewrite(b: Builder) -> bool:
    """Replace one Resize or Upsample."""
    data, result = b.facts.static(b.input(0)), b.facts.static(b.output(0))
    mode = b.attributes.get("mode", "nearest")
    if data is None or result is None or len(data) != len(result) or b.facts.dtype(b.input(0)) not in FLOATS:
        return False
    axes = [axis % len(data) for axis in b.attributes.get("axes", range(len(data)))]
    if any(data[i] != result[i] for i in range(len(data)) if i not in axes):
        return False
    value, outside = b.input(0), []
    for axis in _axes(b, axes, data, result):
        if axis.size == axis.result and (_known_one(b, axis.index) or _only_sizes(b)):
            continue
        if _taps(b, axis, mode) > _MOST_TAPS:
            return False
        places = _coordinates(b, axis, len(axes))
        if b.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
            outside.append((axis, places))
        value = _gathered(b, value, axis, places) if mode == "nearest" else _weighed(b, value, axis, places, mode)
    b.give(_extrapolated(b, value, outside, len(data)))
    return True


def _only_sizes(b: Builder) -> bool:
    """Whether the sizes alone rule, so that equal sizes mean that nothing happens."""
    stretched = b.attributes.get("keep_aspect_ratio_policy", "stretch") == "stretch"
    plain = b.attributes.get("coordinate_transformation_mode") != "tf_crop_and_resize"
    return bool(_sizes(b)) and stretched and plain


def _sizes(b: Builder) -> str:
    return b.input(3) if b.node.op_type == "Resize" else ""


def _scales(b: Builder) -> str:
    if b.node.op_type == "Upsample" or b.facts.opset < 11:
        return b.input(1)
    return b.input(2)


def _known_one(b: Builder, index: int) -> bool:
    scales = b.facts.value(_scales(b)) if _scales(b) else None
    return scales is not None and bool(scales[index] == 1)


def _axes(b: Builder, axes: list[int], data: tuple[int, ...], result: tuple[int, ...]) -> Iterator[_Axis]:
    policy = b.attributes.get("keep_aspect_ratio_policy", "stretch")
    common = ""
    if _sizes(b) and policy != "stretch":
        ratios = b.Div(b.cast(_sizes(b), _FLOAT), b.const([data[axis] for axis in axes], _FLOAT))
        common = (b.ReduceMin if policy == "not_larger" else b.ReduceMax)(ratios, keepdims=0)
    for index, axis in enumerate(axes):
        if common:
            scale = common
        elif _sizes(b):
            scale = b.const(result[axis] / data[axis], _FLOAT)
        else:
            scale = b.Gather(_scales(b), b.const(index))
        yield _Axis(axis, index, data[axis], result[axis], scale)


def _coordinates(b: Builder, axis: _Axis, count: int) -> str:
    """Where each place of the result lies in the data: FLOAT [result]."""
    mode = b.attributes.get("coordinate_transformation_mode", "half_pixel")
    if b.node.op_type == "Upsample" or b.facts.opset < 11:
        mode = "asymmetric"
    place = b.const(list(range(axis.result)), _FLOAT)
    length = b.Mul(axis.scale, b.const(axis.size, _FLOAT))
    half = b.const(0.5, _FLOAT)
    middle = b.Sub(b.Div(b.Add(place, half), axis.scale), half)
    if mode == "asymmetric":
        return b.Div(place, axis.scale)
    if mode == "align_corners":
        return _aligned(b, place, length, axis)
    if mode == "pytorch_half_pixel":
        return b.Where(b.Equal(length, b.const(1.0, _FLOAT)), b.const(-0.5, _FLOAT), middle)
    if mode == "half_pixel_symmetric":
        adjustment = b.Sub(b.const(1.0, _FLOAT), b.Div(b.const(axis.result, _FLOAT), length))
        return b.Add(middle, b.Mul(b.const(axis.size / 2, _FLOAT), adjustment))
    if mode == "tf_crop_and_resize":
        start, end = (b.cast(b.Gather(b.input(1), b.const(axis.index + shift)), _FLOAT) for shift in (0, count))
        span = b.Sub(end, start)
        within = b.Mul(_aligned(b, place, length, axis), span)
        single = b.Mul(b.Mul(span, b.const(axis.size - 1, _FLOAT)), half)
        inside = b.Where(b.Equal(length, b.const(1.0, _FLOAT)), single, within)
        return b.Add(inside, b.Mul(start, b.const(axis.size - 1, _FLOAT)))
    return middle


def _aligned(b: Builder, place: str, length: str, axis: _Axis) -> str:
    """First and last place of the data and the result coincide."""
    one = b.const(1.0, _FLOAT)
    steps = b.Sub(length, one)
    safe = b.Where(b.Equal(steps, b.const(0.0, _FLOAT)), one, steps)
    spread = b.Div(b.Mul(place, b.const(axis.size - 1, _FLOAT)), safe)
    return b.Where(b.Equal(length, one), b.const(0.0, _FLOAT), spread)


def _clamped(b: Builder, index: str, size: int) -> str:
    return b.cast(b.Clip(index, b.const(0.0, _FLOAT), b.const(size - 1, _FLOAT)), 7)


def _gathered(b: Builder, value: str, axis: _Axis, places: str) -> str:
    """The nearest element, by the standard's ways of rounding."""
    half = b.const(0.5, _FLOAT)
    default = "floor" if b.node.op_type == "Upsample" or b.facts.opset < 11 else "round_prefer_floor"
    index = {
        "round_prefer_floor": lambda: b.Ceil(b.Sub(places, half)),
        "round_prefer_ceil": lambda: b.Floor(b.Add(places, half)),
        "floor": lambda: b.Floor(places),
        "ceil": lambda: b.Ceil(places),
    }[b.attributes.get("nearest_mode", default)]()
    return b.Gather(value, _clamped(b, index, axis.size), axis=axis.axis)


def _taps(b: Builder, axis: _Axis, mode: str) -> int:
    return 1 if mode == "nearest" else len(_reach(b, axis, mode))


def _reach(b: Builder, axis: _Axis, mode: str) -> range:
    """Offsets from the floor of the coordinate whose weights may not be zero."""
    support = 2 if mode == "cubic" else 1
    if b.attributes.get("antialias", 0) and axis.result < axis.size:
        support = -(-support * axis.size // axis.result) + 1
    return range(1 - support, support + 1)


def _weighed(b: Builder, value: str, axis: _Axis, places: str, mode: str) -> str:
    """The product with the matrix of weights [data, result] along the axis."""
    offsets = b.const([list(_reach(b, axis, mode))], _FLOAT)
    floor = b.Floor(places)
    ratio = b.Unsqueeze(b.Sub(places, floor), b.const([1]))
    distance = b.Sub(offsets, ratio)
    if b.attributes.get("antialias", 0):
        distance = b.Mul(distance, b.Min(axis.scale, b.const(1.0, _FLOAT)))
    weights = _cubic(b, distance) if mode == "cubic" else _triangle(b, distance)
    index = b.Add(b.Unsqueeze(floor, b.const([1])), offsets)
    if b.attributes.get("exclude_outside", 0):
        low, high = b.const(-0.5, _FLOAT), b.const(axis.size - 0.5, _FLOAT)
        inside = b.And(b.Greater(index, low), b.Less(index, high))
        weights = b.Where(inside, weights, b.const(0.0, _FLOAT))
    if b.attributes.get("exclude_outside", 0) or b.attributes.get("antialias", 0):
        weights = b.Div(weights, b.ReduceSum(weights, b.const([1])))
    chosen = b.Unsqueeze(_clamped(b, index, axis.size), b.const([2]))
    hits = b.cast(b.Equal(chosen, b.const([[list(range(axis.size))]])), _FLOAT)
    matrix = b.ReduceSum(b.Mul(b.Unsqueeze(weights, b.const([2])), hits), b.const([1]), keepdims=0)
    typed = b.cast(b.Transpose(matrix, perm=[1, 0]), b.facts.dtype(b.input(0)))
    order = last(axis.axis, len(b.facts.static(b.input(0)) or ()))
    return b.Transpose(b.MatMul(b.Transpose(value, perm=order), typed), perm=inverse(order))


def _triangle(b: Builder, distance: str) -> str:
    return b.Max(b.Sub(b.const(1.0, _FLOAT), b.Abs(distance)), b.const(0.0, _FLOAT))


def _cubic(b: Builder, distance: str) -> str:
    """The cubic convolution kernel with parameter `cubic_coeff_a`."""
    a = float(b.attributes.get("cubic_coeff_a", -0.75))
    x = b.Abs(distance)

    def polynomial(*coefficients: float) -> str:
        value = b.const(coefficients[0], _FLOAT)
        for coefficient in coefficients[1:]:
            value = b.Add(b.Mul(value, x), b.const(coefficient, _FLOAT))
        return value

    near, far = polynomial(a + 2, -(a + 3), 0.0, 1.0), polynomial(a, -5 * a, 8 * a, -4 * a)
    one, two = b.const(1.0, _FLOAT), b.const(2.0, _FLOAT)
    return b.Where(b.LessOrEqual(x, one), near, b.Where(b.Less(x, two), far, b.const(0.0, _FLOAT)))


def _extrapolated(b: Builder, value: str, outside: list[tuple[_Axis, str]], rank: int) -> str:
    """The constant wherever a coordinate of `tf_crop_and_resize` leaves the data."""
    filler = b.like(b.attributes.get("extrapolation_value", 0.0), b.input(0))
    for axis, places in outside:
        beyond = b.Or(b.Less(places, b.const(0.0, _FLOAT)), b.Greater(places, b.const(axis.size - 1, _FLOAT)))
        shape = [1] * rank
        shape[axis.axis] = axis.result
        value = b.Where(b.Reshape(beyond, b.const(shape)), filler, value)
    return value


REPAIR = Repair(
    "resize",
    "write Resize as a Gather or a product with a matrix of weights, for modes that TensorRT lacks",
    ("Resize", "Upsample"),
    rewrite,
    exact_on_special_values=False,
)
