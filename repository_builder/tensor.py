"""Names, types and shapes of tensors: the one vocabulary that specs, graphs, configs and clients share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

Dim = int | str
"""A dimension: its size, or the name of a dynamic one (`"batch"`). Two dims of one name have one size."""

NUMPY_OF = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "STRING": "object",
}
"""Triton's data type (`TYPE_` left out) → NumPy dtype. `BF16` exists in Triton, but NumPy has no such type."""


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, data type as Triton spells it (`FP32`), and full shape, batch included."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"

    @property
    def dynamic(self) -> tuple[int, ...]:
        """Axes whose size is not known."""
        return tuple(axis for axis, dim in enumerate(self.shape) if isinstance(dim, str))

    def as_json(self) -> dict[str, Any]:
        """The tensor as plain JSON values."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of `as_json`."""
        return cls(value["name"], value["dtype"], tuple(value["shape"]))


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of a graph or of a Triton model, in order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def as_json(self) -> dict[str, Any]:
        """The interface as plain JSON values."""
        return {"inputs": [t.as_json() for t in self.inputs], "outputs": [t.as_json() for t in self.outputs]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Inverse of `as_json`."""
        return cls(tuple(map(Tensor.from_json, value["inputs"])), tuple(map(Tensor.from_json, value["outputs"])))
