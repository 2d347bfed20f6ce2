"""Bitwise operators on integers, which TensorRT lacks, in integer arithmetic on the single bits."""

from __future__ import annotations

from repository_builder.onnx_graph.rewrite import Builder, Repair

INTEGERS: dict[int, tuple[int, bool]] = {
    2: (8, False), 3: (8, True), 4: (16, False), 5: (16, True), 6: (32, True), 7: (64, True), 12: (32, False),
    13: (64, False),
}  # fmt: skip
"""TensorProto.DataType → bits, signed."""

_INT64 = 7
_LOW = 2**63
_HALF = 2**32


def rewrite(b: Builder) -> bool:
    """Write the operator in Mul, Div and Mod."""
    dtype = b.facts.dtype(b.input(0))
    if dtype not in INTEGERS:
        return False
    bits, signed = INTEGERS[dtype]
    operands = [_wide(b, index) for index in range(len(b.node.input))]
    if b.node.op_type == "BitwiseNot":
        value = b.Sub(b.const(-1), operands[0])
    elif b.node.op_type == "BitShift":
        value = _shifted(b, operands[0], operands[1], bits, signed)
    elif bits == 64:
        value = _in_halves(b, operands)
    else:
        value = _combined(b, [b.Mod(x, b.const(2**bits)) for x in operands], bits)
    value = value if bits == 64 else _wrapped(b, value, bits, signed)
    b.give(value if dtype == _INT64 else b.cast(value, dtype))
    return True


def _wide(b: Builder, index: int) -> str:
    return b.input(index) if b.facts.dtype(b.input(index)) == _INT64 else b.cast(b.input(index), _INT64)


def _wrapped(b: Builder, value: str, bits: int, signed: bool) -> str:
    """The value modulo 2^bits, in the range of the type."""
    if not signed:
        return b.Mod(value, b.const(2**bits))
    half = b.const(2 ** (bits - 1))
    return b.Sub(b.Mod(b.Add(value, half), b.const(2**bits)), half)


def _in_halves(b: Builder, operands: list[str]) -> str:
    """64 bits as two times 32, since 2^63 does not fit the arithmetic."""
    low = [b.Mod(x, b.const(_HALF)) for x in operands]
    high = [b.Mod(_floor_div(b, x, b.const(_HALF)), b.const(_HALF)) for x in operands]
    upper = b.Mul(_combined(b, high, 32), b.const(_HALF))
    return b.Add(upper, _combined(b, low, 32))


def _floor_div(b: Builder, value: str, divisor: str) -> str:
    return b.Div(b.Sub(value, b.Mod(value, divisor)), divisor)


def _combined(b: Builder, operands: list[str], bits: int) -> str:
    """The operator on non-negative numbers, bit by bit along a new last axis."""
    powers = b.const([2**bit for bit in range(bits)])
    x, y = (b.Mod(b.Div(b.Unsqueeze(v, b.const([-1])), powers), b.const(2)) for v in operands)
    both = b.Mul(x, y)
    digit = {
        "BitwiseAnd": lambda: both,
        "BitwiseOr": lambda: b.Sub(b.Add(x, y), both),
        "BitwiseXor": lambda: b.Sub(b.Add(x, y), b.Add(both, both)),
    }[b.node.op_type]()
    return b.ReduceSum(b.Mul(digit, powers), b.const([-1]), keepdims=0)


def _shifted(b: Builder, value: str, amount: str, bits: int, signed: bool) -> str:
    """Amounts outside the width shift everything out."""
    zero, most = b.const(0), b.const(bits - 1)
    inside = b.Min(b.Max(amount, zero), most)
    outside = b.Or(b.Less(amount, zero), b.Greater(amount, most))
    if b.attributes["direction"] == "LEFT":
        powers = [2**bit if bit < 63 else -_LOW for bit in range(bits)]
        return b.Where(outside, zero, b.Mul(value, b.Gather(b.const(powers), inside)))
    if bits == 64 and not signed:
        return b.Where(outside, zero, _logical_right(b, value, inside))
    inside = b.Min(inside, b.const(62))  # 2^63 does not fit; by 62 nothing but the sign is left of a smaller type
    divisors = b.Gather(b.const([2**bit for bit in range(63)]), inside)
    gone = b.Where(b.Less(value, zero), b.const(-1), zero) if signed else zero
    return b.Where(b.Or(outside, b.Greater(amount, b.const(62))), gone, _floor_div(b, value, divisors))


def _logical_right(b: Builder, value: str, amount: str) -> str:
    """Of 64 unsigned bits held in INT64: once by hand, which frees the sign bit, then by division."""
    once = _floor_div(b, value, b.const(2))
    once = b.Where(b.Less(value, b.const(0)), b.Add(once, b.const(-_LOW)), once)
    rest = b.Max(b.Sub(amount, b.const(1)), b.const(0))
    powers = b.Gather(b.const([2**bit for bit in range(63)]), rest)
    return b.Where(b.Equal(amount, b.const(0)), value, b.Div(once, powers))


REPAIR = Repair(
    "bitwise",
    "write bitwise operators and shifts in integer arithmetic",
    ("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift"),
    rewrite,
)
