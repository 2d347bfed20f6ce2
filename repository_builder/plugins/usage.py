"""Registers, spills and shared memory of every kernel, read from what `ptxas -v` says during the build."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

_ENTRY = re.compile(r"Compiling entry function '([^']+)' for 'sm_(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


@dataclass(frozen=True)
class Usage:
    """One kernel on one architecture."""

    kernel: str
    architecture: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


def usages(report: str) -> list[Usage]:
    """Every kernel that `report` (the output of `nvcc -Xptxas -v`) tells of, names demangled where c++filt is found."""
    found = list(_parsed(report))
    names = _demangled([usage.kernel for usage in found])
    return [Usage(name, *list(vars(usage).values())[1:]) for name, usage in zip(names, found, strict=True)]


def usage_table(report: str) -> str:
    """A Markdown table, kernels in alphabetical order, one line per architecture."""
    lines = [
        "| kernel | sm | registers | stack | spill stores | spill loads | shared |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for u in sorted(usages(report), key=lambda u: (u.kernel, int(u.architecture.rstrip("abcdef") or 0))):
        name = u.kernel.replace("|", "\\|")
        lines.append(
            f"| `{name}` | {u.architecture} | {u.registers} | {u.stack} | {u.spill_stores} | {u.spill_loads} "
            f"| {u.shared} |"
        )
    return "\n".join(lines) + "\n"


def _parsed(report: str) -> Iterator[Usage]:
    kernel, architecture, stack = "", "", (0, 0, 0)
    for line in report.splitlines():
        if match := _ENTRY.search(line):
            kernel, architecture, stack = match[1], match[2], (0, 0, 0)
        elif match := _STACK.search(line):
            stack = (int(match[1]), int(match[2]), int(match[3]))
        elif (match := _USED.search(line)) and kernel:
            yield Usage(kernel, architecture, int(match[1]), *stack, int(match[2] or 0))
            kernel = ""


def _demangled(names: list[str]) -> list[str]:
    program = shutil.which("c++filt")
    if not program or not names:
        return names
    done = subprocess.run([program, "-p"], input="\n".join(names), capture_output=True, text=True, check=False)
    shown = done.stdout.splitlines()
    return [_short(name) for name in shown] if len(shown) == len(names) else names


def _short(name: str) -> str:
    """The kernel without our namespace and with integers of template arguments as plain numbers."""
    return re.sub(r"\((?:int|trb::\w+)\)", "", name).replace("void ", "").replace("trb::", "")
