"""What is tried and what is seen: settings of a model, a candidate under a load, and the sample of one window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

from repository_builder.sweep.latency import Latencies


@dataclass(frozen=True, order=True)
class Setting:
    """The knobs of one Triton model."""

    instances: int = 1
    max_batch: int = 0
    """0: the model does not batch."""
    delay_us: int = 0
    """`max_queue_delay_microseconds`"""
    preferred: tuple[int, ...] = ()
    """Preferred batch sizes; none means Triton's default, the maximum."""
    threads: int = 0
    """`intra_op_thread_count` of ONNX Runtime on the CPU; 0: the backend's own choice."""

    def __str__(self) -> str:
        parts = [f"{self.instances}×"]
        parts += [f"{self.threads}thr"] if self.threads else []
        parts += [f"b{self.max_batch}"] if self.max_batch else ["unbatched"]
        parts += [f"{self.delay_us / 1000:g}ms"] if self.delay_us else []
        parts += [f"pref{list(self.preferred)}"] if self.preferred else []
        return " ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"preferred": list(self.preferred)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Setting:
        """Inverse of `as_json`."""
        return cls(**{**value, "preferred": tuple(value["preferred"])})


@dataclass(frozen=True, order=True)
class Load:
    """What clients do: a number of them that each wait for their answer, or arrivals per second."""

    value: float
    kind: Literal["concurrency", "rate"] = "concurrency"
    """`rate`: Poisson arrivals, whatever the server does."""

    def __str__(self) -> str:
        return f"c={self.value:g}" if self.kind == "concurrency" else f"{self.value:g}/s"


@dataclass(frozen=True, order=True)
class Candidate:
    """The setting of the model that is being varied, under a load."""

    setting: Setting
    load: Load

    def __str__(self) -> str:
        return f"{self.setting}, {self.load}"

    def at(self, value: float) -> Candidate:
        """The same setting under another load of the same kind."""
        return replace(self, load=replace(self.load, value=value))


@dataclass(frozen=True)
class BatchCount:
    """Executions of one batch size in a window, from Triton's `batch_stats`."""

    size: int
    count: int
    seconds: float
    """Time in the backend (input, infer and output), summed over the executions."""


@dataclass(frozen=True)
class ModelTimes:
    """One Triton model's share of a window: seconds summed over its requests."""

    requests: int
    executions: int
    queue_s: float
    input_s: float
    infer_s: float
    output_s: float
    batches: tuple[BatchCount, ...] = ()

    @property
    def mean_batch(self) -> float:
        """Inferences per execution; 0 where nothing ran."""
        return self.requests / self.executions if self.executions else 0.0

    @property
    def queue_per_request(self) -> float:
        """Mean seconds in the queue."""
        return self.queue_s / self.requests if self.requests else 0.0

    @property
    def compute_per_request(self) -> float:
        """Mean seconds in the backend."""
        return (self.input_s + self.infer_s + self.output_s) / self.requests if self.requests else 0.0


@dataclass(frozen=True)
class Sample:
    """One measured window."""

    throughput: float
    """Inferences per second that clients got."""
    latencies: Latencies
    """As clients saw them."""
    seconds: float
    """Length of the window."""
    models: Mapping[str, ModelTimes]
    """Triton model → its statistics in the window."""
    foreign_cores: float = 0.0
    """Cores that other processes of the machine used meanwhile."""
    loader_cores: float = 0.0
    """Cores that the load generator itself used."""
    errors: int = 0
    """Requests that the server answered with an error."""
    client: Mapping[str, float] = field(default_factory=dict)
    """Mean seconds that the client spent: `send`, `receive`, and `network` (with the server's own sending and receiving)."""
    began: float = 0.0
    """Seconds from the start of the sweep."""

    @cached_property
    def p99(self) -> float:
        """99th percentile of the latency, in seconds."""
        return self.latencies.quantile(0.99)

    def times(self, model: str) -> ModelTimes:
        """Statistics of one model."""
        return self.models[model]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"latencies": self.latencies.as_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sample:
        """Inverse of `as_json`."""
        models = {
            name: ModelTimes(**{**times, "batches": tuple(BatchCount(**batch) for batch in times["batches"])})
            for name, times in value["models"].items()
        }
        return cls(**{**value, "models": models, "latencies": Latencies.from_json(value["latencies"])})


@dataclass(frozen=True)
class Refused:
    """A candidate that the server does not take, or that fails under load."""

    why: str


class Measure(Protocol):
    """Measures a window of a candidate; loads its setting first if it is not the one that is loaded, or `reload`."""

    def __call__(self, candidate: Candidate, seconds: float, *, reload: bool = False) -> Sample | Refused: ...

    def clock(self) -> float:
        """Seconds since some start."""
        ...
