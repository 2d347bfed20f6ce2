"""The flow of tensors inside an ensemble, and circles among ensembles. Linear in the number of steps and models."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Flow:
    """Who writes and reads each ensemble tensor, by field path."""

    writers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    readers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    order: list[int] = field(default_factory=list)
    """Steps that can run, in an order in which they can."""
    ready: set[str] = field(default_factory=set)
    """Tensors that exist in the end: inputs of the ensemble, and outputs of the steps in `order`."""
    sources: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Tensor → what the steps that write it read."""


def flow(config: Any) -> Flow:
    """The walk of Triton's `ValidateEnsembleSchedulingConfig`: a step runs when all of its inputs are ready."""
    result = Flow()
    steps = config.ensemble_scheduling.step
    unmet: list[int] = []
    waiting: dict[str, list[int]] = defaultdict(list)
    for index, step in enumerate(steps):
        path = f"ensemble_scheduling.step[{index}]"
        for key, tensor in step.output_map.items():
            result.writers[tensor].append(f'{path}.output_map["{key}"]')
            result.sources[tensor] += step.input_map.values()
        for key, tensor in step.input_map.items():
            result.readers[tensor].append(f'{path}.input_map["{key}"]')
        needed = set(step.input_map.values())
        unmet.append(len(needed))
        for tensor in needed:
            waiting[tensor].append(index)
    fresh = deque(dict.fromkeys(tensor.name for tensor in config.input))
    result.ready = set(fresh)
    able = deque(index for index, count in enumerate(unmet) if count == 0)
    while fresh or able:
        if fresh:
            for index in waiting[fresh.popleft()]:
                unmet[index] -= 1
                if unmet[index] == 0:
                    able.append(index)
            continue
        index = able.popleft()
        result.order.append(index)
        for tensor in steps[index].output_map.values():
            if tensor not in result.ready:
                result.ready.add(tensor)
                fresh.append(tensor)
    return result


def circles(edges: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Node → number of its circle, for the nodes that lie on one (Tarjan's algorithm, without recursion)."""
    search = _Search(edges)
    for root in edges:
        if root not in search.index:
            search.visit(root)
    return search.found


class _Search:
    def __init__(self, edges: Mapping[str, Sequence[str]]) -> None:
        self.edges = edges
        self.index: dict[str, int] = {}
        self.low: dict[str, int] = {}
        """Of the nodes on the stack: the lowest index that can be reached."""
        self.stack: list[str] = []
        self.found: dict[str, int] = {}

    def visit(self, root: str) -> None:
        """Go through everything that can be reached and is new."""
        work = [self._enter(root)]
        while work:
            node, successors = work[-1]
            for target in successors:
                if target in self.edges and target not in self.index:
                    work.append(self._enter(target))
                    break
                if target in self.low:
                    self.low[node] = min(self.low[node], self.low[target])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    self.low[parent] = min(self.low[parent], self.low[node])
                if self.low[node] == self.index[node]:
                    self._close(node)

    def _enter(self, node: str) -> tuple[str, Iterator[str]]:
        self.index[node] = self.low[node] = len(self.index)
        self.stack.append(node)
        return node, iter(self.edges[node])

    def _close(self, node: str) -> None:
        """Take a finished component off the stack; it is a circle if it has several nodes, or one that leads to itself."""
        members: list[str] = []
        while not members or members[-1] != node:
            members.append(self.stack.pop())
            del self.low[members[-1]]
        if len(members) > 1 or node in self.edges[node]:
            self.found |= dict.fromkeys(members, self.index[node])
