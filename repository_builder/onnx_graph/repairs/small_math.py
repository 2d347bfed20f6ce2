"""Small operators that TensorRT lacks for some types or sizes: Mod of floats, Det, reductions of BOOL, and others."""

from __future__ import annotations

from repository_builder.onnx_graph.rewrite import FLOATS, Builder, Repair

_BOOL, _INT32 = 9, 6


def rewrite(b: Builder) -> bool:
    """Replace one operator."""
    return {
        "Mod": _mod,
        "Det": _det,
        "ReduceMax": _bool_reduction,
        "ReduceMin": _bool_reduction,
        "Celu": _celu,
        "Split": _split,
        "MatMul": _vector_matmul,
        "Binarizer": _binarizer,
        "ArrayFeatureExtractor": _feature_extractor,
    }[b.node.op_type](b)


def _mod(b: Builder) -> bool:
    """Floating-point remainder with the divisor's sign, from the one with the dividend's, as NumPy does it."""
    if b.facts.dtype(b.input(0)) not in FLOATS or b.attributes.get("fmod", 0):
        return False
    x, y = b.input(0), b.input(1)
    zero = b.like(0, x)
    rest = b.Mod(x, y, fmod=1)
    turned = b.Xor(b.Less(rest, zero), b.Less(y, zero))
    b.give(b.Where(b.And(turned, b.Not(b.Equal(rest, zero))), b.Add(rest, y), rest))
    return True


def _det(b: Builder) -> bool:
    """Determinants of 1×1 to 3×3 matrices, written out."""
    shape = b.facts.shape(b.input(0))
    size = shape[-1] if shape else None
    if not isinstance(size, int) or not 1 <= size <= 3:
        return False
    rows = [b.Gather(b.input(0), b.const(i), axis=-2) for i in range(size)]
    m = [[b.Gather(row, b.const(j), axis=-1) for j in range(size)] for row in rows]

    def minor(i: int, j: int, k: int, l: int) -> str:
        return b.Sub(b.Mul(m[i][j], m[k][l]), b.Mul(m[i][l], m[k][j]))

    if size == 1:
        b.give(m[0][0])
    elif size == 2:
        b.give(minor(0, 0, 1, 1))
    else:
        parts = [
            b.Mul(m[0][0], minor(1, 1, 2, 2)),
            b.Mul(m[0][1], minor(1, 0, 2, 2)),
            b.Mul(m[0][2], minor(1, 0, 2, 1)),
        ]
        b.give(b.Add(b.Sub(parts[0], parts[1]), parts[2]))
    return True


def _bool_reduction(b: Builder) -> bool:
    if b.facts.dtype(b.input(0)) != _BOOL:
        return False
    inputs = [b.cast(b.input(0), _INT32), *b.node.input[1:]]
    b.give(b.cast(b.op(b.node.op_type, inputs, **b.attributes)[0], _BOOL))
    return True


def _celu(b: Builder) -> bool:
    """Celu(x) = max(0, x) + min(0, alpha (exp(x / alpha) - 1)), where the parser mishandles FLOAT16."""
    x, zero = b.input(0), b.like(0, b.input(0))
    alpha = b.like(b.attributes.get("alpha", 1.0), x)
    low = b.Mul(alpha, b.Sub(b.Exp(b.Div(x, alpha)), b.like(1, x)))
    b.give(b.Add(b.Max(zero, x), b.Min(zero, low)))
    return True


def _split(b: Builder) -> bool:
    """Explicit sizes instead of a number of parts."""
    axis, parts = int(b.attributes.get("axis", 0)), len(b.node.output)
    shape = b.facts.shape(b.input(0))
    size = shape[axis] if shape else None
    if not isinstance(size, int) or b.input(1):
        return False
    known = [b.facts.shape(name) for name in b.node.output]
    chunk = -(-size // parts)
    sizes = [s[axis] if s and isinstance(s[axis], int) else None for s in known]
    if any(s is None for s in sizes) or sum(s for s in sizes if isinstance(s, int)) != size:
        sizes = [max(0, min(chunk, size - chunk * i)) for i in range(parts)]
    starts = [sum(s for s in sizes[:i] if isinstance(s, int)) for i in range(parts)]
    for index, (start, length) in enumerate(zip(starts, sizes, strict=True)):
        assert isinstance(length, int)  # noqa: S101
        b.give(b.Slice(b.input(0), b.const([start]), b.const([start + length]), b.const([axis])), index)
    return True


def _vector_matmul(b: Builder) -> bool:
    """A vector times a stack of matrices, as a matrix with one row."""
    left, right = b.facts.rank(b.input(0)), b.facts.rank(b.input(1))
    if left != 1 or right is None or right < 2:
        return False
    row = b.Unsqueeze(b.input(0), b.const([0]))
    b.give(b.Squeeze(b.MatMul(row, b.input(1)), b.const([-2])))
    return True


def _binarizer(b: Builder) -> bool:
    threshold = b.like(b.attributes.get("threshold", 0.0), b.input(0))
    b.give(b.cast(b.Greater(b.input(0), threshold), b.facts.dtype(b.input(0))))
    return True


def _feature_extractor(b: Builder) -> bool:
    b.give(b.Gather(b.input(0), b.input(1), axis=-1))
    return True


REPAIR = Repair(
    "small_math",
    "write small operators for types and sizes that TensorRT lacks",
    ("Mod", "Det", "ReduceMax", "ReduceMin", "Celu", "Split", "MatMul", "Binarizer", "ArrayFeatureExtractor"),
    rewrite,
)
