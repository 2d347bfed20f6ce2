"""The rules, one folder per family. Numbers are never reused."""

from __future__ import annotations

from importlib import import_module

MODULES = (
    "cfg.syntax", "cfg.backend", "cfg.fields",
    "io.tensors", "io.reshape", "io.batch_io",
    "bat.dynamic", "bat.priority", "bat.cache",
    "seq.controls", "seq.state",
    "ins.groups", "ins.profiles", "ins.resources",
    "wrm.samples", "wrm.data",
    "ens.structure", "ens.graph", "ens.steps", "ens.tensors",
    "repo.layout", "repo.versions", "repo.files",
    "pyb.source", "pyb.parameters", "pyb.environment", "pyb.completion",
    "onx.file", "onx.tensors", "onx.accelerators",
    "trt.engine", "trt.profiles", "trt.tensors", "trt.graphs", "trt.settings", "trt.plan",
    "plg.libraries",
    "sec.files",
)  # fmt: skip


def load() -> None:
    """Import every module of rules; each registers its own."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")
