"""Builds one engine in a process of its own: `python engine_worker.py REQUEST.json REPORT_FD`.

A program, not a module of ours: it imports the standard library and one TensorRT package (`tensorrt` from 10.12, or
`tensorrt_rtx`), so that it also runs inside a container that holds nothing else. NVIDIA's parser can end the
process; the parent survives that. Reports are JSON lines on REPORT_FD: `{"progress": text, "fraction": x}`, and at
the end `{"done": true}` or `{"failed": kind, …}`. Standard input is the leash: a line, or its end, cancels the build.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import re
import runpy
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

TRITON_NAME = {"FLOAT": "FP32", "HALF": "FP16", "FLOAT32": "FP32", "FLOAT16": "FP16"}
"""Data types that TensorRT and NumPy name differently from Triton."""

CLASS_OF = {"CONVOLUTION": "IConvolutionLayer", "DECONVOLUTION": "IDeconvolutionLayer", "CONSTANT": "IConstantLayer"}
HEAVY = {"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM", "ATTENTION_OUTPUT", "MOE"}
"""Layers in which a network spends its arithmetic: their type is the precision of the network."""
PASSING = {"SHUFFLE", "IDENTITY", "SQUEEZE", "UNSQUEEZE", "SLICE"}
"""Layers that hand values on: a quantized tensor stays quantized through them."""

DESCRIPTION_MARK = "\nI/O Tensors:"
INPUT = re.compile(r"Name: (.+?), IOMode: Input\b")
BOUNDS = re.compile(r"MinShape: \[([-\d,]*)\], OptShape: \[([-\d,]*)\], MaxShape: \[([-\d,]*)\]")


class Failure(Exception):
    """The build cannot go on; `kind` tells the parent how to explain it."""

    def __init__(self, kind: str, why: str, **details: Any) -> None:
        self.kind, self.why, self.details = kind, why, details
        super().__init__(why)


class Capabilities:
    """What the installed package can do: probed once, by name, never by version arithmetic or enum values."""

    def __init__(self, trt: Any) -> None:
        config = trt.IBuilderConfig
        self.ahead_of_time = hasattr(config, "set_compute_capability")
        """Engines for compute capabilities that are named, without a GPU."""
        self.timing_cache = not self.ahead_of_time
        """TensorRT for RTX keeps the calls but does nothing in them."""
        self.hardware_compatibility = hasattr(config, "hardware_compatibility_level") and not self.ahead_of_time
        self.builder_flags = sorted(getattr(trt.BuilderFlag, "__members__", {}))
        self.preview_features = sorted(getattr(trt.PreviewFeature, "__members__", {}))
        self.vc_plugins = hasattr(trt.OnnxParser, "get_used_vc_plugin_libraries")


def main(request_path: str, report_fd: str) -> int:
    """Build what the request asks for; 0 when `model.plan` and `engine.json` are written."""
    if report_fd == "-":  # inside a container: reports on standard output, everything else on standard error
        report, sys.stdout = sys.stdout, sys.stderr
    else:
        report = os.fdopen(int(report_fd), "w", buffering=1)
    try:
        _build(json.loads(Path(request_path).read_text(encoding="utf-8")), report)
    except Failure as failure:
        _say(report, failed=failure.kind, why=failure.why, **failure.details)
        return 1
    _say(report, done=True)
    return 0


def _build(request: dict[str, Any], report: Any) -> None:
    cancelled = threading.Event()
    threading.Thread(target=_leash, args=(cancelled,), daemon=True).start()
    _say(report, progress=f"loading {request['package']}")
    trt = _package(request["package"])
    capabilities = Capabilities(trt)
    logger = _logger(trt)
    _load_plugins(trt, logger, request["plugins"])
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    config = builder.create_builder_config()
    _say(report, progress="reading the ONNX graph")
    parser = _parser(trt, network, config, logger)
    _parse(trt, parser, logger, request)
    accepted = _add_profiles(builder, network, config, request["profiles"])
    _configure(trt, config, parser, capabilities, request)
    counts = _network_counts(trt, network)
    config.progress_monitor = _monitor(trt, report, cancelled)
    plan = _serialize(builder, network, config, logger, cancelled)
    _keep_timings(config, capabilities, request["timing_cache"])
    out = Path(request["out"])
    (out / "model.plan").write_bytes(plan)
    facts = _facts(trt, network, config, capabilities, request)
    facts["network"] = counts
    facts["engine"] = {"bytes": plan.nbytes, **_description(logger)}
    facts |= _read_back(trt, logger, plan, accepted, facts["engine"]["io"])
    (out / "engine.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _leash(cancelled: threading.Event) -> None:
    sys.stdin.readline()
    cancelled.set()


def _say(report: Any, **message: Any) -> None:
    report.write(json.dumps(message) + "\n")
    report.flush()


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise Failure("import", f"{type(error).__name__}: {error}") from error


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):
        """Everything to standard output (the kept log); errors and the engine's description are remembered."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.description = ""

        def log(self, severity: Any, message: str) -> None:
            if DESCRIPTION_MARK in message:
                self.description = message
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)
            sys.stdout.write(f"[{severity.name}] {message}\n")

    return Logger()


def _load_plugins(trt: Any, logger: Any, libraries: list[str]) -> None:
    initialise = getattr(trt, "init_libnvinfer_plugins", None)
    if initialise is not None:
        initialise(logger, "")
    for module in (path for path in libraries if path.endswith(".py")):
        runpy.run_path(module)  # written by our own stage: registers an ahead-of-time plugin
    libraries = [path for path in libraries if not path.endswith(".py")]
    if libraries:
        registry = trt.get_plugin_registry()
        for library in libraries:
            if registry.load_library(library) is None:
                raise Failure("plugin", f"{library} could not be loaded: {_last(logger)}", library=library)


def _parser(trt: Any, network: Any, config: Any, logger: Any) -> Any:
    parser = trt.OnnxParser(network, logger)
    if hasattr(parser, "set_builder_config"):
        parser.set_builder_config(config)
    return parser


def _parse(trt: Any, parser: Any, logger: Any, request: dict[str, Any]) -> None:
    flags = getattr(trt, "OnnxParserFlag", None)
    if request["plugins"] and hasattr(flags, "ENABLE_PLUGIN_OVERRIDE"):
        parser.set_flag(trt.OnnxParserFlag.ENABLE_PLUGIN_OVERRIDE)
    if not parser.parse_from_file(request["onnx"]):
        nodes = [_node_error(parser.get_error(index)) for index in range(parser.num_errors)]
        raise Failure("parse", nodes[0]["why"] if nodes else _last(logger), nodes=nodes)


def _node_error(error: Any) -> dict[str, str]:
    return {
        "node": error.node_name(),
        "operator": error.node_operator(),
        "why": error.desc(),
        "code": str(error.code()),
    }


def _add_profiles(builder: Any, network: Any, config: Any, profiles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hand the profiles to the builder; what comes back is read from the profile objects that it accepted."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    accepted = []
    for wanted in profiles:
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            if tensor.is_shape_tensor:
                why = f"the values of input {tensor.name} are sizes (a shape tensor), and a profile would have to bound them"
                raise Failure("shape_tensor", why)
            bounds = wanted["shapes"][tensor.name]
            profile.set_shape(tensor.name, bounds["min"], bounds["opt"], bounds["max"])
        if config.add_optimization_profile(profile) < 0:
            raise Failure("profile", f"the builder refuses profile `{wanted['name']}`", profile=wanted["name"])
        shapes = {}
        for tensor in inputs:
            low, opt, high = (list(shape) for shape in profile.get_shape(tensor.name))
            shapes[tensor.name] = {"min": low, "opt": opt, "max": high}
        accepted.append({"name": wanted["name"], "shapes": shapes})
    return accepted


def _configure(trt: Any, config: Any, parser: Any, capabilities: Capabilities, request: dict[str, Any]) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request["workspace_mib"]:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_mib"] << 20)
    if request["optimization_level"] is not None:
        config.builder_optimization_level = request["optimization_level"]
    for name in request["flags"]:
        config.set_flag(_member(trt.BuilderFlag, name, "builder flag"))
    if request["compute_capabilities"]:
        _set_compute_capabilities(trt, config, capabilities, request["compute_capabilities"])
    if request["hardware_compatibility"] != "NONE":
        if not capabilities.hardware_compatibility:
            raise Failure("capability", f"{trt.__name__} has no hardware compatibility; name compute capabilities")
        config.hardware_compatibility_level = _member(
            trt.HardwareCompatibilityLevel, request["hardware_compatibility"], "hardware compatibility level"
        )
    if "VERSION_COMPATIBLE" in request["flags"] and capabilities.vc_plugins:
        config.plugins_to_serialize = [
            *parser.get_used_vc_plugin_libraries(),
            *(path for path in request["plugins"] if not path.endswith(".py")),
        ]
    if capabilities.timing_cache and request["timing_cache"]:
        known = Path(request["timing_cache"])
        cache = config.create_timing_cache(known.read_bytes() if known.is_file() else b"")
        config.set_timing_cache(cache, ignore_mismatch=False)


def _set_compute_capabilities(trt: Any, config: Any, capabilities: Capabilities, wanted: list[str]) -> None:
    if not capabilities.ahead_of_time:
        raise Failure("capability", f"{trt.__name__} builds only for the GPU in this machine")
    config.num_compute_capabilities = len(wanted)
    for index, number in enumerate(wanted):
        value = _member(trt.ComputeCapability, f"SM{number.replace('.', '')}", "compute capability")
        if not config.set_compute_capability(value, index):
            raise Failure("capability", f"the builder refuses compute capability {number}")


def _member(enum: Any, name: str, kind: str) -> Any:
    members = enum.__members__
    if name not in members:
        raise Failure("capability", f"this package has no {kind} {name}; it has {', '.join(members)}")
    return members[name]


def _monitor(trt: Any, report: Any, cancelled: threading.Event) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Turns nested phases into one fraction, and ends the build when the leash is pulled."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, list[int]] = {}
            self.parents: dict[str, str | None] = {}
            self.shown = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases[phase_name] = [0, max(num_steps, 1)]
            self.parents[phase_name] = parent_phase
            self.show(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.phases:
                self.phases[phase_name][0] = step + 1
                self.show(phase_name)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self.phases.pop(phase_name, None)

        def show(self, phase: str) -> None:
            fraction, name = 0.0, phase
            while name in self.phases:
                done, steps = self.phases[name]
                fraction = min((done + fraction) / steps, 1.0)
                name = self.parents.get(name) or ""
            if fraction >= self.shown + 0.01:
                self.shown = fraction
                _say(report, progress=phase.lower(), fraction=round(fraction, 3))

    return Monitor()


def _serialize(builder: Any, network: Any, config: Any, logger: Any, cancelled: threading.Event) -> Any:
    before = len(logger.errors)
    plan = builder.build_serialized_network(network, config)
    sys.stdout.flush()
    if plan is not None:
        return plan
    if cancelled.is_set():
        raise Failure("cancelled", "the build was cancelled")
    errors = logger.errors[before:] or logger.errors
    raise Failure("build", "\n".join(errors[:4]) or "the builder gives no reason")


def _keep_timings(config: Any, capabilities: Capabilities, path: str | None) -> None:
    """Merge this build's timings into the file, under a lock: builds may run side by side."""
    if not capabilities.timing_cache or not path:
        return
    cache = config.get_timing_cache()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if Path(path).is_file():
            cache.combine(config.create_timing_cache(Path(path).read_bytes()), ignore_mismatch=True)
        fresh = Path(f"{path}.{os.getpid()}")
        fresh.write_bytes(cache.serialize())
        fresh.replace(path)


def _facts(trt: Any, network: Any, config: Any, capabilities: Capabilities, request: dict[str, Any]) -> dict[str, Any]:
    flags = getattr(trt.BuilderFlag, "__members__", {})
    return {
        "builder": {"package": trt.__name__, "version": trt.__version__},
        "compute_capabilities": request["compute_capabilities"],
        "hardware_compatibility": request["hardware_compatibility"],
        "flags": sorted(name for name, flag in flags.items() if config.get_flag(flag)),
        "capabilities": {name: value for name, value in vars(capabilities).items() if isinstance(value, bool)},
        "inputs": [_tensor(network.get_input(index)) for index in range(network.num_inputs)],
        "outputs": [_tensor(network.get_output(index)) for index in range(network.num_outputs)],
        "plugins": request["plugins"],
    }


def _tensor(tensor: Any) -> dict[str, Any]:
    shape = [
        size if size >= 0 else tensor.get_dimension_name(axis) or f"{tensor.name}_{axis}"
        for axis, size in enumerate(tensor.shape)
    ]
    return {"name": tensor.name, "dtype": _dtype(tensor.dtype), "shape": shape, "shape_tensor": tensor.is_shape_tensor}


def _dtype(dtype: Any) -> str:
    name = str(dtype.name).upper()
    return TRITON_NAME.get(name, name)


def _network_counts(trt: Any, network: Any) -> dict[str, Any]:
    """Tensors, weights and bytes per data type of the typed network, and how each heavy layer computes."""
    tensors: Counter[str] = Counter()
    weights: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    heavy, source = [], {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        for output in (layer.get_output(i) for i in range(layer.num_outputs)):
            source[output.name] = layer
            tensors[_dtype(output.dtype)] += 1
        own = 0
        for value in _weights(trt, layer, kind):
            weights[_dtype(value.dtype)] += value.size
            sizes[_dtype(value.dtype)] += value.nbytes
            own += value.size
        if kind in HEAVY and layer.num_outputs:
            heavy.append({"name": layer.name, "type": kind, "dtype": _computes_in(layer, source), "weights": own})
    return {"layers": network.num_layers, "tensors": tensors, "weights": weights, "bytes": sizes, "heavy": heavy}


def _weights(trt: Any, layer: Any, kind: str) -> list[Any]:
    if kind not in CLASS_OF:
        return []
    layer.__class__ = getattr(trt, CLASS_OF[kind])  # the bindings' own way from ILayer to the concrete layer
    found = [layer.weights] if kind == "CONSTANT" else [layer.kernel, layer.bias]
    return [value for value in found if value.size]


def _computes_in(layer: Any, source: dict[str, Any]) -> str:
    """The type of the layer's arithmetic: that of its quantized inputs if both are, else that of its output."""
    quantized = [_quantized(layer.get_input(i), source) for i in range(min(layer.num_inputs, 2))]
    if layer.type.name in ("CONVOLUTION", "DECONVOLUTION") and layer.num_inputs == 1:
        quantized.append(None)
    if len(quantized) > 1 and all(quantized):
        return str(quantized[0])
    return _dtype(layer.get_output(0).dtype)


def _quantized(tensor: Any, source: dict[str, Any]) -> str | None:
    while tensor is not None and tensor.name in source:
        layer = source[tensor.name]
        if layer.type.name == "DEQUANTIZE":
            return _dtype(layer.get_input(0).dtype)
        if layer.type.name not in PASSING:
            return None
        tensor = layer.get_input(0)
    return None


def _description(logger: Any) -> dict[str, Any]:
    """What the builder prints about the finished engine: layers per data type of their first output."""
    layers, _, tensors = logger.description.partition(DESCRIPTION_MARK)
    lines = [line for line in layers.splitlines() if line.startswith("Name: ")]
    types = Counter(
        output.partition("Datatype: ")[2].partition(",")[0].upper()
        for output in (line.partition("Outputs: [")[2] for line in lines)
        if "Datatype: " in output
    )
    named = {TRITON_NAME.get(name, name): count for name, count in types.items()}
    return {"layers": len(lines), "layer_outputs": named, "io": tensors.partition("\n\n")[0].strip().splitlines()}


def _reported_profiles(lines: list[str], accepted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The profiles in the builder's description of the finished engine; empty if it gives none."""
    shapes = [dict[str, Any]() for _ in accepted]
    for line in lines:
        if name := INPUT.search(line):
            for index, bounds in enumerate(BOUNDS.findall(line)[: len(shapes)]):
                low, opt, high = ([int(size) for size in text.split(",") if size] for text in bounds)
                shapes[index][name[1]] = {"min": low, "opt": opt, "max": high}
    profiles = [{"name": wanted["name"], "shapes": found} for wanted, found in zip(accepted, shapes, strict=True)]
    return profiles if all(shapes) else []


def _read_back(
    trt: Any, logger: Any, plan: Any, accepted: list[dict[str, Any]], described: list[str]
) -> dict[str, Any]:
    """Profiles from the engine where this machine can load it, else as the builder reported or accepted them, and why."""
    sys.stdout.write("[INFO] reading the engine back (fails where no GPU can load it, which is recorded)\n")
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan) if runtime is not None else None
    if engine is None:
        why = f"{'the engine does not load' if runtime else 'there is no runtime'} here: {_last(logger)}"
        reported = _reported_profiles(described, accepted)
        _same_profiles("builder's report of the engine", reported or accepted, accepted)
        return {"profiles_from": "report" if reported else "builder", "profiles": accepted, "not_loaded": why}
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    profiles = []
    for index in range(engine.num_optimization_profiles):
        shapes = {}
        for name in inputs:
            low, opt, high = (list(shape) for shape in engine.get_tensor_profile_shape(name, index))
            shapes[name] = {"min": low, "opt": opt, "max": high}
        profiles.append({"name": accepted[index]["name"], "shapes": shapes})
    _same_profiles("engine", profiles, accepted)
    return {"profiles_from": "engine", "profiles": profiles, "not_loaded": ""}


def _same_profiles(what: str, found: list[dict[str, Any]], accepted: list[dict[str, Any]]) -> None:
    if found != accepted:
        raise Failure("readback", f"the {what} has the profiles {found}, but the builder accepted {accepted}")


def _last(logger: Any) -> str:
    return logger.errors[-1] if logger.errors else "the package gives no reason"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
