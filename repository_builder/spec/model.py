"""What a user may write in a spec. The only source of the JSON schema and of the reference page.

Every field is described; units live in the names; unknown keys are refused.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from repository_builder.spec.files import SpecFile
from repository_builder.spec.plugins import Plugins
from repository_builder.spec.precision import Precision, TensorrtOptions
from repository_builder.spec.processors import EmbeddingPool, ImageDecode, TextTokenize, TopK

TARGET_NAMES = ("auto", "tensorrt_plan", "tensorrt_rtx", "onnxruntime_onnx")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class SpecModel(BaseModel):
    """Base of everything in a spec: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True)


def _valid_name(name: str) -> str:
    if not NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            "Triton takes the folder's name as the model's name: use letters, digits, `_`, `-` and `.`, "
            "at most 128, not starting with `-` or `.`"
        )
    return name


ModelName = Annotated[str, AfterValidator(_valid_name)]
Count = Annotated[int, Field(ge=1)]
Shape = Annotated[tuple[Count, ...], Field(min_length=1)]
"""A full shape, batch included."""


class OneOf(SpecModel):
    """Base of mappings in which exactly one key may be given."""

    choice_of: ClassVar[str]

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            names = ", ".join(f"`{name}`" for name in type(self).model_fields)
            found = " and ".join(f"`{name}`" for name in given) or "none"
            raise ValueError(f"{self.choice_of} needs exactly one of {names}; found {found}")
        return self

    @property
    def chosen(self) -> str:
        """The name of the one key that was given."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)


class ExampleInput(SpecModel):
    """An input of a PyTorch module: how `export` calls it."""

    dtype: Literal["FP32", "FP16", "INT64", "INT32", "BOOL", "UINT8"] = "FP32"
    """Data type of the input."""
    shape: Annotated[tuple[int | str, ...], Field(min_length=1)]
    """Full shape: a number for a fixed dimension, a name for a dynamic one, e.g. `[batch, sequence]`."""
    example: Shape
    """Shape of the example with which the module is traced: same rank, every dynamic dimension at least 2."""

    @model_validator(mode="after")
    def _same_rank(self) -> Self:
        if len(self.shape) != len(self.example):
            raise ValueError(f"`shape` has {len(self.shape)} dimensions but `example` has {len(self.example)}")
        return self


FACTORY = r"^[^:]+\.py:[A-Za-z_]\w*$"


class Factory(SpecModel):
    """A function in a Python file; written `file.py:function`."""

    file: SpecFile
    """The Python file."""
    function: str
    """Takes no arguments and returns the module."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if not re.fullmatch(FACTORY, value):
            raise ValueError("write `file.py:function`")
        file, _, function = value.rpartition(":")
        return {"file": file, "function": function}


class PytorchSource(SpecModel):
    """A PyTorch module, exported to ONNX by the build."""

    factory: Annotated[Factory, WithJsonSchema({"type": "string", "pattern": FACTORY})]
    """`file.py:function`, relative to the spec; the function takes no arguments and returns the module."""
    inputs: dict[str, ExampleInput]
    """Inputs of `forward`, in order."""
    outputs: dict[str, tuple[int | str, ...]]
    """Outputs of `forward`, in order, with their full shapes."""
    opset: Annotated[int, Field(ge=17, le=23)] = 20
    """ONNX opset of the export; pinned, so that a newer exporter does not change the result."""
    files: tuple[SpecFile, ...] = ()
    """Other files that the factory reads, such as weights: when their content changes, the module is exported again.
    `package:name/file` is a file inside an installed Python package."""


class Source(OneOf):
    """Where the network comes from."""

    choice_of = "a source"
    onnx: SpecFile | None = None
    """An ONNX file (external data beside it is taken along)."""
    pytorch: PytorchSource | None = None
    """A PyTorch module (needs the extra `pytorch`)."""


class ShapeRange(SpecModel):
    """Smallest, most common and largest full shape of one input in an optimization profile."""

    min: Shape
    """Smallest shape, batch included."""
    opt: Shape
    """The shape that the engine is tuned for."""
    max: Shape
    """Largest shape, batch included."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not len(self.min) == len(self.opt) == len(self.max):
            raise ValueError(f"min, opt and max differ in rank: {self.min}, {self.opt}, {self.max}")
        for axis, (low, best, high) in enumerate(zip(self.min, self.opt, self.max, strict=True)):
            if not low <= best <= high:
                raise ValueError(f"min ≤ opt ≤ max does not hold in dimension {axis}: {low}, {best}, {high}")
        return self


Profile = dict[str, ShapeRange]


class Preprocess(OneOf):
    """The Python model that turns what clients send into the network's inputs."""

    choice_of = "preprocess"
    image_decode: ImageDecode | None = None
    """Encoded images to a normalised tensor."""
    text_tokenize: TextTokenize | None = None
    """Texts to token ids."""


class Postprocess(OneOf):
    """The Python model that turns the network's outputs into what clients want."""

    choice_of = "postprocess"
    top_k: TopK | None = None
    """Class scores to the best labels."""
    embedding_pool: EmbeddingPool | None = None
    """Token embeddings to one vector per text."""


class Batching(SpecModel):
    """Triton's dynamic batcher."""

    max_queue_delay_us: Annotated[int, Field(ge=0)] = 0
    """How long a request may wait for others, in microseconds."""
    max_queue_size: Annotated[int, Field(ge=0)] = 0
    """Requests that may wait, more are rejected at once; 0: no limit. Any limit costs latency: rule BAT008."""
    timeout_us: Annotated[int, Field(ge=0)] = 0
    """How long a request may stay in the queue before it is rejected, in microseconds; 0: no limit. Rule BAT008 as well."""


class Instances(SpecModel):
    """How many copies of each model run, and where the network runs."""

    core: Count = 1
    """Copies of the network."""
    preprocess: Count = 1
    """Copies (processes) of the pre-processing model."""
    postprocess: Count = 1
    """Copies (processes) of the post-processing model."""
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """GPUs of the network, by number; none: the CPU for ONNX Runtime, every GPU for TensorRT."""


class RoleTuning(SpecModel):
    """What was found best for one model of the pipeline; each value replaces the general one."""

    max_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Largest batch that this model runs; at most what it was built for."""
    max_queue_delay_us: Annotated[int, Field(ge=0)] | None = None
    """How long a request may wait for others, in microseconds."""
    preferred_batch_size: tuple[Count, ...] | None = None
    """Batches to form at once; only useful with several profiles, and then with the maximum among them."""
    threads: Count | None = None
    """Threads of each copy in ONNX Runtime on the CPU; default: the runtime's choice."""


class Tuning(SpecModel):
    """Knobs of the single models; `triton-repo sweep --apply` writes them."""

    core: RoleTuning = RoleTuning()
    """The network."""
    preprocess: RoleTuning = RoleTuning()
    """The pre-processing model."""
    postprocess: RoleTuning = RoleTuning()
    """The post-processing model."""


class GoldenSpec(SpecModel):
    """Recorded inputs and reference outputs, replayed by `triton-repo verify`."""

    inputs: SpecFile | None = None
    """A folder of files (one per image), a `.txt` (one text per line) or a `.npz` (arrays by input name).
    Without it, random inputs with a fixed seed are used, and the manifest says so."""
    count: Count = 8
    """At most so many samples."""
    atol: Annotated[float, Field(ge=0)] = 1e-4
    """Absolute tolerance of floating-point outputs."""
    rtol: Annotated[float, Field(ge=0)] = 1e-3
    """Relative tolerance of floating-point outputs."""


class ModelSpec(SpecModel):
    """One public model: its network, how it is built, and what surrounds it."""

    source: Source
    """Where the network comes from: an ONNX file or a PyTorch module."""
    target: Literal["auto", "tensorrt_plan", "tensorrt_rtx", "onnxruntime_onnx"] = "auto"
    """What is built. `auto`: TensorRT where a GPU and the package are found, else ONNX Runtime; the choice is shown."""
    max_batch_size: Annotated[int, Field(ge=0)] | None = None
    """Largest batch; 0: no batching. Default: the largest batch of the profiles, else 8 (0 for a fixed-batch graph)."""
    profiles: dict[str, Profile] = {}
    """Optimization profiles by name: for each input its smallest, best and largest full shape."""
    precision: Precision = Precision()
    """Precision of the network, behind an accuracy gate."""
    tensorrt: TensorrtOptions = TensorrtOptions()
    """How engines are built and served."""
    plugins: Plugins | None = None
    """CUDA plugins for operators that TensorRT lacks, and their definition for the CPU; `{}` takes the toolkit's own."""
    preprocess: Preprocess | None = None
    """What happens before the network."""
    postprocess: Postprocess | None = None
    """What happens after the network."""
    batching: Batching = Batching()
    """How requests are joined into batches and queued."""
    instances: Instances = Instances()
    """How many copies run, and where."""
    tuning: Tuning = Tuning()
    """Knobs of the single models, as a sweep has found them."""
    golden: GoldenSpec = GoldenSpec()
    """What is recorded for `triton-repo verify`."""
    version: Annotated[int, Field(ge=1)] = 1
    """Triton's version number of what is built."""


class Spec(SpecModel):
    """A spec: the models that one build makes."""

    models: Annotated[dict[ModelName, ModelSpec], Field(min_length=1)]
    """Public models by name."""

    @model_validator(mode="after")
    def _no_clashes(self) -> Self:
        owners: dict[str, str] = {}
        for name, model in self.models.items():
            for triton_name in triton_names(name, model):
                if triton_name in owners:
                    raise ValueError(f"`{name}` and `{owners[triton_name]}` would both make the model `{triton_name}`")
                owners[triton_name] = name
        return self


def triton_names(name: str, model: ModelSpec) -> tuple[str, ...]:
    """Names of the Triton models that are made for one public model; the public one first."""
    if model.preprocess is None and model.postprocess is None:
        return (name,)
    before = (f"{name}_preprocess",) if model.preprocess else ()
    after = (f"{name}_postprocess",) if model.postprocess else ()
    return (name, *before, f"{name}_core", *after)
