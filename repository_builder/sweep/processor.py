"""Who used the processor in a window: what we started, and everybody else (from /proc)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Processor seconds so far."""

    at: float
    machine: float
    """All processes of the machine, on the cores that we may use."""
    ours: float
    """This process, its ended children, and the trees that were named."""
    children: float
    """Ended children of this process: the load generator."""

    @classmethod
    def now(cls, *roots: int) -> Usage:
        """Look; `roots` are processes whose whole tree is ours."""
        own = os.times()
        ended = own.children_user + own.children_system
        trees = _trees(roots)
        return cls(time.monotonic(), _machine(), own.user + own.system + ended + trees, ended)

    def foreign_cores(self, later: Usage) -> float:
        """Cores that others used between two looks."""
        elapsed = later.at - self.at
        return max(0.0, (later.machine - self.machine) - (later.ours - self.ours)) / elapsed if elapsed > 0 else 0.0

    def loader_cores(self, later: Usage) -> float:
        """Cores that the load generator used between two looks."""
        elapsed = later.at - self.at
        return (later.children - self.children) / elapsed if elapsed > 0 else 0.0


def _machine() -> float:
    """User, nice, system, irq, softirq and steal seconds: what the hypervisor gave to others is foreign too.

    Only of the cores that this process may use, and so its server and its load: work on the others takes nothing from them.
    """
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    return sum(int(fields[index]) for fields in lines if fields[0] in names for index in (1, 2, 3, 6, 7, 8)) / _TICK


def _trees(roots: tuple[int, ...]) -> float:
    parents: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    if not roots:
        return 0.0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            fields = text[text.rindex(")") + 2 :].split()
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            # its own time and that of its ended children: a stub that ends in the window takes its past along otherwise
            seconds[int(entry.name)] = sum(map(int, fields[11:15])) / _TICK
    total, waiting = 0.0, list(roots)
    while waiting:
        process = waiting.pop()
        total += seconds.get(process, 0.0)
        waiting += parents.get(process, [])
    return total
