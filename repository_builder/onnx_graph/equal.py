"""Proof by running that two graphs compute the same: random and edge inputs, tolerances by type, NaN and infinity."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repository_builder.errors import GraphError
from repository_builder.onnx_graph import execute, read, samples, walk
from repository_builder.onnx_graph.walk import STANDARD_DOMAINS

if TYPE_CHECKING:
    import onnx

Arrays = Mapping[str, Any]

TOLERANCES: dict[str, tuple[float, float]] = {
    "float64": (1e-5, 1e-6),
    "float32": (1e-4, 1e-5),
    "float16": (1e-2, 2e-3),
    "bfloat16": (2e-2, 1e-2),
}
"""NumPy type → relative and absolute tolerance; every other type must be equal."""

UNPROVEN = "not proven: no valid inputs could be generated, or nothing can run the graph"

REFERENCE_BYTES = 2**22
"""Size of a graph up to which the reference evaluator (plain NumPy, slow) is asked."""

ENOUGH, PROOF_S = 3, 60.0
"""After so many seconds, so many compared inputs are enough: large graphs take long for each."""

KINDS = ("random", "zeros", "large", "negative")


@dataclass(frozen=True)
class Comparison:
    """The result of comparing a repaired graph with the original."""

    equal: bool
    difference: float
    """Largest absolute difference of a floating-point output on finite values."""
    samples: int
    """How many inputs were compared; 0 means that nothing is proven."""
    why: str = ""


class Evaluator:
    """A graph that can be run: by ONNX Runtime, or where it lacks an operator by ONNX's reference evaluator."""

    def __init__(self, model: onnx.ModelProto, *, reference: bool = False) -> None:
        self._session = self._reference = None
        content = _within_limits(model).SerializeToString()
        try:
            self._session = None if reference else execute.session(content, name=model.graph.name)
        except GraphError:
            reference = True
        if reference:
            self._reference = _reference(content)
        self.engine = "ONNX Runtime" if self._session else "onnx.reference"

    def __call__(self, inputs: Arrays) -> dict[str, Any]:
        """Outputs by name. Raises NodeFailed where the graph does not take the inputs."""
        if self._session is not None:
            names = [value.name for value in self._session.get_outputs()]
            return execute.run(self._session, inputs, names)
        return _by_reference(self._reference, inputs)


def _reference(content: bytes) -> Any:
    from onnx.reference import ReferenceEvaluator

    try:
        return ReferenceEvaluator(content)
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError, AssertionError) as error:
        raise GraphError("nothing can run the graph here", why=str(error)[:300]) from error


def compare(
    original: onnx.ModelProto,
    repaired: onnx.ModelProto,
    given: Sequence[Arrays] = (),
    *,
    special: bool = True,
) -> Comparison:
    """Run both on `given` and generated inputs. `special` adds NaN and infinity to the inputs.

    Where ONNX Runtime sees a difference, the standard's reference evaluator decides, if the graph is small enough for
    it: some kernels of ONNX Runtime deviate from the standard. Inputs that the original refuses, or for which it
    contradicts its own declared output shapes, prove nothing and are left out. Types of inputs and outputs may have
    been widened: values are compared.
    """
    try:
        by_runtime = _compare(original, repaired, given, special=special, reference=False)
    except GraphError as error:
        return Comparison(False, 0.0, 0, f"{UNPROVEN} ({error.problems[0].why})")
    if by_runtime.equal or original.ByteSize() > REFERENCE_BYTES or _foreign(original):
        return by_runtime
    by_standard = _compare(original, repaired, given, special=special, reference=True)
    return by_standard if by_standard.equal else by_runtime


def _foreign(model: onnx.ModelProto) -> bool:
    """Whether there are operators that the reference evaluator does not have."""
    return any(node.domain not in STANDARD_DOMAINS for node in walk.nodes(model))


def _compare(
    original: onnx.ModelProto, repaired: onnx.ModelProto, given: Sequence[Arrays], *, special: bool, reference: bool
) -> Comparison:
    before, after = Evaluator(original, reference=reference), Evaluator(repaired, reference=reference)
    count, worst, start = 0, 0.0, time.monotonic()
    for inputs in _inputs(original, given, special):
        if count >= ENOUGH and time.monotonic() - start > PROOF_S:
            break
        try:
            expected = before(inputs)
        except execute.NodeFailed:
            continue
        if not _as_declared(original, expected):
            continue
        try:
            found = after(adapted(inputs, repaired))
        except execute.NodeFailed as failure:
            return Comparison(False, worst, count, f"the repaired graph fails: {failure.problems[0].why}")
        difference, why = differences(expected, found)
        if why and _meaningless(expected):
            continue
        worst = max(worst, difference)
        if why:
            return Comparison(False, worst, count, why)
        count += 1
    return Comparison(count > 0, worst, count, "" if count else UNPROVEN)


def _meaningless(outputs: Arrays) -> bool:
    """Whether generated inputs drove the original so far out that rounding decides its result."""
    import numpy as np

    floats = [a for a in outputs.values() if isinstance(a, np.ndarray) and str(a.dtype) in TOLERANCES]
    return any(
        a.size and float(np.nanmax(np.abs(a.astype(np.float64)))) > 1e12 and np.isfinite(a).any() for a in floats
    )


def differences(expected: Arrays, found: Arrays, tolerance: tuple[float, float] | None = None) -> tuple[float, str]:
    """Largest difference on finite values, and the reason if the outputs are not equal (else an empty string)."""
    worst = 0.0
    for name, array in expected.items():
        if name not in found:
            return worst, f"output `{name}` is missing"
        difference, why = _difference(name, array, found[name], tolerance)
        worst = max(worst, difference)
        if why:
            return worst, why
    return worst, ""


def adapted(inputs: Arrays, model: onnx.ModelProto) -> dict[str, Any]:
    """The inputs in the types that the graph declares (a repair may have widened integers), spare ones left out."""
    import numpy as np
    from onnx import helper

    wanted = {}
    for value in model.graph.input:
        if value.type.HasField("tensor_type") and value.name in inputs:
            array = np.asarray(inputs[value.name])
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
            wanted[value.name] = (
                array if array.dtype in (dtype, object) or array.dtype.kind in "SU" else array.astype(dtype)
            )
        elif value.name in inputs:
            wanted[value.name] = inputs[value.name]
    return wanted


def _difference(name: str, expected: Any, found: Any, tolerance: tuple[float, float] | None) -> tuple[float, str]:
    import numpy as np

    if isinstance(expected, list) or isinstance(found, list):
        return _sequence_difference(name, expected, found, tolerance)
    if expected is None or found is None:
        return 0.0, "" if expected is found else f"output `{name}` is empty in one of them"
    expected, found = np.asarray(expected), np.asarray(found)
    if expected.shape != found.shape:
        return 0.0, f"output `{name}` has the shape {list(found.shape)} instead of {list(expected.shape)}"
    bounds = tolerance or TOLERANCES.get(str(expected.dtype))
    if bounds is not None and found.dtype != expected.dtype:  # lowered with the user's leave
        bounds = max(bounds, TOLERANCES.get(str(found.dtype), bounds))
    if bounds is None:
        same = np.array_equal(expected.astype(found.dtype), found)
        return 0.0, "" if same else f"output `{name}` ({expected.dtype}) is not equal"
    a, b = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    worst = float(np.max(np.abs(np.where(finite, a, 0) - np.where(finite, b, 0)), initial=0.0))
    size = float(np.max(np.abs(a), where=finite, initial=0.0))
    if not np.allclose(b, a, rtol=bounds[0], atol=bounds[1] + bounds[0] * size / 10, equal_nan=True):
        where = "" if np.array_equal(np.isfinite(a), np.isfinite(b)) else " (NaN or infinity in one of them)"
        return worst, f"output `{name}` differs by up to {worst:.3g}{where}"
    return worst, ""


def _sequence_difference(
    name: str, expected: Any, found: Any, tolerance: tuple[float, float] | None
) -> tuple[float, str]:
    if not isinstance(found, list) or not isinstance(expected, list) or len(found) != len(expected):
        return 0.0, f"output `{name}` is a sequence of another length"
    results = [_difference(name, a, b, tolerance) for a, b in zip(expected, found, strict=True)]
    return max((d for d, _ in results), default=0.0), next((why for _, why in results if why), "")


def _inputs(model: onnx.ModelProto, given: Sequence[Arrays], special: bool) -> Iterator[Arrays]:
    yield from given
    try:
        interface = read.interface(model)
    except GraphError:
        interface = None
    if interface is not None:
        symbols = samples.symbols(interface)
        for size in (3, 16) if symbols else (0,):
            for kind in KINDS:
                yield samples.generate(interface, dict.fromkeys(symbols, size), kind=kind)
    for inputs in given:
        yield from _variations(inputs, special)


def _variations(inputs: Arrays, special: bool) -> Iterator[Arrays]:
    """Inputs like given ones: other values of floating-point tensors, extreme ones, NaN and infinity."""
    import numpy as np

    random = np.random.default_rng(1)
    names = [n for n, array in inputs.items() if isinstance(array, np.ndarray) and str(array.dtype) in TOLERANCES]
    if not names:
        return
    for scale in (1.0, 5.0):
        yield {n: _scaled(random, a, scale) if n in names else a for n, a in inputs.items()}
    if special:
        yield {n: _with_specials(a) if n in names else a for n, a in inputs.items()}


def _scaled(random: Any, array: Any, scale: float) -> Any:
    return (random.standard_normal(array.shape) * scale).astype(array.dtype)


def _with_specials(array: Any) -> Any:
    import numpy as np

    changed = array.copy()
    values = np.array([np.nan, np.inf, -np.inf], np.float64).astype(array.dtype)
    flat = changed.reshape(-1)
    flat[: min(3, flat.size)] = values[: min(3, flat.size)]
    return changed


def _as_declared(model: onnx.ModelProto, outputs: Arrays) -> bool:
    for value in model.graph.output:
        array: Any = outputs.get(value.name)
        described = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not described.HasField("shape") or not hasattr(array, "shape"):
            continue
        dims = described.shape.dim
        if len(dims) != len(array.shape):
            return False
        if any(d.HasField("dim_value") and d.dim_value != size for d, size in zip(dims, array.shape, strict=True)):
            return False
    return True


def _by_reference(evaluator: Any, inputs: Arrays) -> dict[str, Any]:
    import numpy as np

    try:
        with np.errstate(all="ignore"):
            results = evaluator.run(None, dict(inputs))
    except (RuntimeError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        raise execute.NodeFailed("the reference evaluator does not take the inputs", why=str(error)[:300]) from error
    return dict(zip(evaluator.output_names, results, strict=True))


def _within_limits(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime refuses an IR version that is newer than its own though the content is the same."""
    if model.ir_version <= RUNTIME_IR:
        return model
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = RUNTIME_IR
    return copy


RUNTIME_IR = 11
"""IR versions up to this are read by every ONNX Runtime of the last two years."""
