"""Col2Im as multiplication with a constant matrix of zeros and ones, or several where the block is known at run time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from repository_builder.onnx_graph.repairs._choice import by_vector
from repository_builder.onnx_graph.rewrite import Builder, Repair

_MOST = 2**24
"""Elements of the matrix."""


def rewrite(b: Builder) -> bool:
    """Sum every column's elements into their places."""
    data, result = b.facts.static(b.input(0)), b.facts.static(b.output(0))
    if data is None or result is None:
        return False
    image = result[2:]
    known = b.facts.value(b.input(2))
    area = data[1] // result[1]
    blocks = [tuple(int(k) for k in known)] if known is not None else list(_blocks(b, image, area, data[2]))
    if not blocks or area * data[2] * prod(image) > _MOST:
        return False
    columns = b.Reshape(b.input(0), b.const([data[0], result[1], area * data[2]]))
    b.give(by_vector(b, b.input(2), blocks, lambda block: _summed(b, columns, image, block, result)))
    return True


def _summed(b: Builder, columns: str, image: tuple[int, ...], block: Sequence[int], result: tuple[int, ...]) -> str:
    return b.Reshape(b.MatMul(columns, b.like(_matrix(b, image, block), b.input(0))), b.const(list(result)))


def _blocks(b: Builder, image: tuple[int, ...], area: int, steps: int) -> Iterator[tuple[int, ...]]:
    """Blocks that fit the declared shapes."""
    for block in product(range(1, area + 1), repeat=len(image)):
        if prod(block) == area and prod(map(len, _starts(b, image, block))) == steps:
            yield block


def _starts(b: Builder, image: tuple[int, ...], block: Sequence[int]) -> list[range]:
    rank = len(image)
    strides = b.attributes.get("strides", [1] * rank)
    dilations = b.attributes.get("dilations", [1] * rank)
    pads = b.attributes.get("pads", [0] * 2 * rank)
    found = []
    for axis in range(rank):
        last = image[axis] + pads[axis + rank] - dilations[axis] * (block[axis] - 1) - 1
        found.append(range(-pads[axis], max(last + 1, -pads[axis]), strides[axis]))
    return found


def _matrix(b: Builder, image: tuple[int, ...], block: Sequence[int]) -> Any:
    """[block elements × positions, pixels]: 1 where the element lands on the pixel."""
    import numpy as np

    dilations = b.attributes.get("dilations", [1] * len(image))
    positions = list(product(*_starts(b, image, block)))
    matrix = np.zeros((prod(block), len(positions), *image))
    for element, offset in enumerate(product(*map(range, block))):
        for index, start in enumerate(positions):
            pixel = tuple(s + o * d for s, o, d in zip(start, offset, dilations, strict=True))
            if all(0 <= p < size for p, size in zip(pixel, image, strict=True)):
                matrix[(element, index, *pixel)] = 1
    return matrix.reshape(prod(block) * len(positions), prod(image))


REPAIR = Repair(
    "col2im",
    "write Col2Im as multiplication with a constant matrix",
    ("Col2Im",),
    rewrite,
    exact_on_special_values=False,
)
