"""A client of any running Triton over gRPC: NumPy arrays in and out, errors in words, every call with a time limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from repository_builder.errors import Problem, ServerError, nearest
from repository_builder.tensor import NUMPY_OF, Interface, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_LOST = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
_UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


@dataclass(frozen=True)
class Metadata:
    """What a server says about a model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    interface: Interface
    """Shapes are full: the batch is the first dimension where the model batches. Dynamic dims are called `?0`, `?1` …"""


@dataclass(frozen=True)
class ModelState:
    """A line of the server's repository index."""

    name: str
    version: str
    state: str
    """`READY`, `UNAVAILABLE`, or empty for a model that was never loaded."""
    reason: str


class Client:
    """A connection to `host:port` of a Triton's gRPC endpoint. Usable from several threads; a context manager."""

    def __init__(self, url: str, *, timeout_s: float = 60.0) -> None:
        import tritonclient.grpc as triton

        self.url = url.removeprefix("grpc://")
        self._timeout_s = timeout_s
        self._triton = triton
        self._connection = triton.InferenceServerClient(self.url, channel_args=list(_UNLIMITED))
        self._metadata: dict[tuple[str, str], Metadata] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ready(self) -> bool:
        """Whether the server answers and all of its models are loaded."""
        try:
            with self._translated("is the server ready"):
                return bool(self._connection.is_server_ready(client_timeout=self._timeout_s))
        except ServerError:
            return False

    def models(self) -> tuple[ModelState, ...]:
        """All models and versions that the server knows."""
        with self._translated("list the models"):
            index = self._connection.get_model_repository_index(client_timeout=self._timeout_s)
        return tuple(ModelState(entry.name, entry.version, entry.state, entry.reason) for entry in index.models)

    def metadata(self, model: str, version: str = "") -> Metadata:
        """Names, data types and shapes of a model's inputs and outputs; asked for once per model and version."""
        if (model, version) not in self._metadata:
            with self._translated(f"ask for model `{model}`", model):
                answer = self._connection.get_model_metadata(model, version, client_timeout=self._timeout_s)
            interface = Interface(_tensors(answer.inputs), _tensors(answer.outputs))
            self._metadata[model, version] = Metadata(answer.name, tuple(answer.versions), answer.platform, interface)
        return self._metadata[model, version]

    def config(self, model: str, version: str = "") -> Any:
        """The `ModelConfig` message that the server uses, with everything it filled in."""
        with self._translated(f"ask for the configuration of model `{model}`", model):
            return self._connection.get_model_config(model, version, client_timeout=self._timeout_s).config

    def infer(self, model: str, inputs: Mapping[str, Array], version: str = "") -> dict[str, Array]:
        """One request. Arrays have the full shape, batch included; STRING tensors are object arrays of bytes or str.

        All outputs of the model, STRING ones as object arrays of bytes. Raises `ServerError` for inputs that the model does
        not take, before anything is sent, and for whatever the server answers instead of outputs.
        """
        metadata = self.metadata(model, version)
        prepared = self._prepared(metadata, inputs)
        outputs = [self._triton.InferRequestedOutput(tensor.name) for tensor in metadata.interface.outputs]
        with self._translated(f"infer with model `{model}`", model):
            answer = self._connection.infer(model, prepared, version, outputs, client_timeout=self._timeout_s)
        return {tensor.name: answer.as_numpy(tensor.name) for tensor in metadata.interface.outputs}

    def statistics(self, model: str, version: str = "") -> Any:
        """The `ModelStatistics` message of one version: cumulative counts and nanoseconds."""
        with self._translated(f"ask for the statistics of model `{model}`", model):
            answer = self._connection.get_inference_statistics(model, version, client_timeout=self._timeout_s)
        return answer.model_stats[-1]

    def load(self, model: str, *, config: str | None = None) -> None:
        """Load or reload a model (the server must run with explicit control); `config`: JSON that replaces the file's."""
        with self._translated(f"load model `{model}`", model):
            self._connection.load_model(model, config=config, client_timeout=max(self._timeout_s, 600))
        self._forget(model)

    def unload(self, model: str) -> None:
        """Unload a model (the server must run with explicit control)."""
        with self._translated(f"unload model `{model}`", model):
            self._connection.unload_model(model, client_timeout=self._timeout_s)
        self._forget(model)

    def _forget(self, model: str) -> None:
        self._metadata = {key: value for key, value in self._metadata.items() if key[0] != model}

    def _prepared(self, metadata: Metadata, inputs: Mapping[str, Array]) -> list[Any]:
        known = {tensor.name: tensor for tensor in metadata.interface.inputs}
        problems = [*_wrong_names(metadata.name, known, inputs)]
        problems += [
            problem for name, array in inputs.items() if name in known for problem in _wrong(known[name], array)
        ]
        if problems:
            raise ServerError.many(problems)
        prepared = []
        for name, array in inputs.items():
            tensor = self._triton.InferInput(name, list(array.shape), known[name].dtype.replace("STRING", "BYTES"))
            tensor.set_data_from_numpy(array.astype(object) if array.dtype.kind in "SU" else array)
            prepared.append(tensor)
        return prepared

    @contextmanager
    def _translated(self, what: str, model: str = "") -> Iterator[None]:
        from tritonclient.utils import InferenceServerException

        try:
            yield
        except InferenceServerException as error:
            raise self._explained(what, model, error) from None

    def _explained(self, what: str, model: str, error: Any) -> ServerError:
        status, message = str(error.status()), str(error.message())
        if status == _LOST[1] or "Deadline Exceeded" in message:
            return ServerError(
                f"cannot {what}",
                where=self.url,
                why=f"no answer within {self._timeout_s:g} s",
                fix="look into the server's log; a large model may need a longer time limit",
            )
        if status == _LOST[0] and "unknown model" not in message:
            return ServerError(
                f"cannot {what}",
                where=self.url,
                why=f"no Triton answers there: {message.splitlines()[0]}",
                fix="start one: `triton-repo serve model_repository`, and give its gRPC address",
            )
        if "unknown model" in message or "is not found" in message:
            return self._unknown_model(what, model, message)
        message = "\n".join(line for line in message.splitlines() if line.strip())
        return ServerError(f"cannot {what}", where=self.url, why=message, fix="see the server's log for more")

    def _unknown_model(self, what: str, model: str, message: str) -> ServerError:
        names = sorted({state.name for state in self.models()})
        return ServerError(
            f"cannot {what}",
            where=self.url,
            why=f"{message}{nearest(model, names)}",
            fix=f"ask for one that the server has: {', '.join(names) or 'it has none'}",
        )


def _tensors(entries: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            entry.name,
            entry.datatype.replace("BYTES", "STRING"),
            tuple(dim if dim >= 0 else f"?{axis}" for axis, dim in enumerate(entry.shape)),
        )
        for entry in entries
    )


def _wrong_names(model: str, known: Mapping[str, Tensor], given: Mapping[str, Array]) -> Iterator[Problem]:
    for name in given:
        if name not in known:
            yield Problem(
                f"model `{model}` has no input `{name}`{nearest(name, known)}",
                fix=f"give {', '.join(map(str, known.values()))}",
            )
    # An input may be optional, which metadata does not say: that one is left to the server.


def _wrong(tensor: Tensor, array: Array) -> Iterator[Problem]:
    """What keeps the array from being sent as that input; the first dimension may differ where it is the batch."""
    dtype = "STRING" if array.dtype.kind in "OSU" else _triton_name(array)
    if tensor.dtype != dtype and not (tensor.dtype == "BF16" and dtype == "FP32"):
        yield Problem(
            f"input `{tensor.name}` has the wrong type",
            why=f"the model takes {tensor.dtype}, and the array is {dtype or array.dtype}",
            fix=f"convert it: array.astype('{NUMPY_OF.get(tensor.dtype, 'float32')}')",
        )
    fits = len(array.shape) == len(tensor.shape) and all(
        isinstance(wanted, str) or wanted == got for wanted, got in zip(tensor.shape, array.shape, strict=True)
    )
    if not fits:
        yield Problem(
            f"input `{tensor.name}` has the wrong shape",
            why=f"the model takes {tensor}, and the array has shape {list(array.shape)}",
            fix="the first dimension is the batch where the model batches",
        )


def _triton_name(array: Array) -> str:
    return next((name for name, numpy_name in NUMPY_OF.items() if array.dtype.name == numpy_name), "")
