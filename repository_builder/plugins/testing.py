"""The proof of an operator: its reference, its arithmetic compiled for the host, its kernels, the standard's own data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from repository_builder.errors import SpecError
from repository_builder.plugins.binding import bind, call_attributes
from repository_builder.plugins.compile import compile_host, compile_plugin
from repository_builder.plugins.device import Driver, run_on_gpu
from repository_builder.plugins.library import TYPES, HostLibrary, load_reference, read_module
from repository_builder.plugins.operators import Operator
from repository_builder.plugins.toolchain import find_nvcc

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLERANCE = {"float32": 2e-5, "float16": 2e-3, "bfloat16": 1.6e-2}
"""Largest accepted error, relative to the larger of 1 and the magnitude: two roundings of the type; integers: none."""


@dataclass(frozen=True)
class Case:
    """Inputs and attributes for one call, and the outputs that the standard prescribes, if it does."""

    name: str
    inputs: Sequence[NDArray[Any] | None]
    attributes: Mapping[str, Any]
    expected: Sequence[NDArray[Any]] | None = None
    tolerance: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    case: str
    problem: str
    """Empty: the compiled arithmetic, the reference and (if given) the standard agree."""


def own_cases(operator: Operator) -> list[Case]:
    """The cases of the operator's `cases.py`: edges and random data, from a fixed seed."""
    import numpy as np

    module = read_module(operator.folder / "cases.py")
    return [Case(*case) for case in module.cases(np.random.default_rng(20261120))]


def standard_cases(operator: Operator) -> Iterator[Case]:
    """The ONNX standard's own node tests of this operator, for the types that plugins have."""
    from onnx.helper import get_attribute_value

    if operator.domain:
        return
    for test in _node_tests():
        nodes = test.model.graph.node
        if len(nodes) != 1 or nodes[0].op_type != operator.operator:
            continue
        attributes = {a.name: get_attribute_value(a) for a in nodes[0].attribute}
        for given, expected in test.data_sets:
            values = iter(given)
            inputs = [_single(next(values)) if name else None for name in nodes[0].input]
            kept, made = bind(operator, attributes, inputs, test.name)
            if all(value is None or value.dtype.name in TYPES for value in kept):
                yield Case(test.name, kept, made, [_single(value) for value in expected], test.rtol)


def check_body(operator: Operator, cases: Sequence[Case]) -> list[Outcome]:
    """Runs the function body of a user's operator in ONNX Runtime, in single precision, against the reference."""
    reference = _written(operator)
    single = [
        case for case in cases if all(v is None or v.dtype.name in ("float32", "int32", "int64") for v in case.inputs)
    ]
    return [
        Outcome(f"function body: {case.name}", differences("the reference", _run_body(operator, case), right, None))
        for case in single
        for right in [reference(*case.inputs, **case.attributes)]
    ]


def _run_body(operator: Operator, case: Case) -> list[NDArray[Any]]:
    import onnx
    import onnxruntime

    from repository_builder.plugins import cpu

    node = onnx.helper.make_node(
        operator.operator, operator.inputs, operator.outputs, domain=operator.domain, **case.attributes
    )
    given = {n: v for n, v in zip(operator.inputs, case.inputs, strict=False) if v is not None}
    types = onnx.helper.np_dtype_to_tensor_dtype
    graph = onnx.helper.make_graph(
        [node],
        "body",
        [onnx.helper.make_tensor_value_info(n, types(v.dtype), v.shape) for n, v in given.items()],
        [onnx.ValueInfoProto(name=name) for name in operator.outputs],
    )
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(operator.domain, 1)]
    model = cpu.define(onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), [operator])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[NDArray[Any]] = session.run(None, given)
    return results


def _written(operator: Operator) -> Callable[..., tuple[NDArray[Any], ...]]:
    """The reference, which says in so many words if it is still that of the scaffold."""
    reference = load_reference(operator.folder)

    def call(*inputs: Any, **attributes: Any) -> tuple[NDArray[Any], ...]:
        try:
            return reference(*inputs, **attributes)
        except NotImplementedError as error:
            raise SpecError(str(error), where=operator.folder / "reference.py", fix="it defines correct") from error

    return call


@lru_cache
def _node_tests() -> tuple[Any, ...]:
    """Every node test of the `onnx` package; collected once, since the package fills its list at the first call only."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # infinities are meant there
        return tuple(collect_testcases(None))


def prove(operator: Operator) -> list[Outcome]:
    """Every proof that a CPU allows: own cases, the standard's tests, and the function body where the user wrote one."""
    own = own_cases(operator)
    outcomes = check(operator, [*own, *standard_cases(operator)])
    return outcomes + (check_body(operator, own) if (operator.folder / "function.onnxtxt").is_file() else [])


def check(operator: Operator, cases: Sequence[Case]) -> list[Outcome]:
    """Runs every case through the reference and through the arithmetic compiled for the host."""
    reference = _written(operator)
    compiled = HostLibrary(compile_host(operator), len(operator.outputs))
    return [Outcome(case.name, _compare(operator, reference, compiled, case)) for case in cases]


def prove_on_gpu(operator: Operator, driver: Driver) -> list[Outcome]:
    """Own cases and the standard's, through the kernels."""
    return check_on_gpu(operator, driver, [*own_cases(operator), *standard_cases(operator)])


def check_on_gpu(operator: Operator, driver: Driver, cases: Sequence[Case]) -> list[Outcome]:
    """Runs every case that has one answer through the kernels, compiled for this GPU; memory is poisoned before each."""
    reference = _written(operator)
    library = compile_plugin(operator, find_nvcc(), [driver.capability], None).library
    outcomes = []
    for case in cases:
        if any_write_may_win(case):
            continue
        right = reference(*case.inputs, **case.attributes)
        present = [value for value in case.inputs if value is not None]
        got = run_on_gpu(driver, library, present, call_attributes(operator, case.inputs, case.attributes), right)
        problem = differences("the reference", got, right, tolerance_on_gpu(case, right))
        outcomes.append(Outcome(f"GPU: {case.name}", problem))
    return outcomes


def any_write_may_win(case: Case) -> bool:
    """Repeated indices without a reduction: the standard leaves open which write stays; its own tests repeat none."""
    attributes = case.attributes
    return attributes.get("reduction") == "none" and case.expected is None and not attributes.get("deterministic")


def tolerance_on_gpu(case: Case, right: Sequence[NDArray[Any]]) -> float:
    """Twice two roundings: a GPU may add in another order."""
    return max(case.tolerance or 0.0, 4 * TOLERANCE.get(right[0].dtype.name, 0.0))


def _single(value: NDArray[Any]) -> NDArray[Any]:
    """Double precision is no type of ours: such tests run in single precision."""
    return value.astype("float32") if value.dtype.name == "float64" else value


def reference_op(operator: Operator) -> type:
    """The operator for `onnx.reference.ReferenceEvaluator(model, new_ops=[reference_op(operator)])`."""
    from onnx.reference.op_run import OpRun

    reference = load_reference(operator.folder)

    def run(self: Any, *inputs: NDArray[Any] | None, **attributes: Any) -> tuple[NDArray[Any], ...]:  # noqa: ARG001
        given = {name: value for name, value in attributes.items() if value is not None}
        kept, made = bind(operator, given, inputs)
        return reference(*kept, **made)

    return type(operator.operator, (OpRun,), {"op_domain": operator.domain, "_run": run})


def _compare(operator: Operator, reference: Callable[..., Any], compiled: HostLibrary, case: Case) -> str:
    right = reference(*case.inputs, **case.attributes)
    present = [value for value in case.inputs if value is not None]
    got = compiled(present, call_attributes(operator, case.inputs, case.attributes))
    problem = differences("the reference", got, right, case.tolerance)
    if not problem and case.expected is not None:
        problem = differences("the standard", right, case.expected, case.tolerance)
    return problem


def differences(what: str, got: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]], tolerance: float | None) -> str:
    if len(got) != len(right):
        return f"{len(got)} outputs, {what} gives {len(right)}"
    for index, (mine, theirs) in enumerate(zip(got, right, strict=True)):
        if problem := _difference(mine, theirs, tolerance):
            return f"output {index} differs from {what}: {problem}"
    return ""


def _difference(got: NDArray[Any], right: NDArray[Any], tolerance: float | None) -> str:
    import numpy as np

    if got.dtype != right.dtype or got.shape != right.shape:
        return f"{got.dtype}{list(got.shape)} instead of {right.dtype}{list(right.shape)}"
    if got.dtype.kind in "iu":
        wrong = int(np.count_nonzero(got != right))
        return f"{wrong} of {got.size} numbers" if wrong else ""
    allowed = max(tolerance or 0.0, TOLERANCE[got.dtype.name])
    a, b = got.astype(np.float64), right.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(same, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b)))
    error = np.where(np.isnan(error), np.inf, error)
    worst = float(error.max(initial=0.0))
    if worst <= allowed:
        return ""
    place = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    return f"error {worst:.3g} (allowed {allowed:.3g}) at {place}: {got[place]} instead of {right[place]}"
