"""What a spec says about precision and TensorRT."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from repository_builder.spec.files import SpecFile

Level = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
NEEDS_CALIBRATION = ("int8", "fp8")


class Precision(BaseModel):
    """Precisions to try, in order, and the gate that one must pass: `{try: [fp16, fp32]}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)

    levels: Annotated[tuple[Level, ...], Field(alias="try", min_length=1)] = ("fp32",)
    """Precisions in the order in which they are tried; the first that passes the gate is taken. Where a GPU of this machine
    can run the engines, all are tried, and the fastest that passes is taken."""
    calibration: Literal["golden"] | SpecFile | None = None
    """Real samples: a folder of files, a `.txt` (one text per line), a `.npz` (arrays by input name), or `golden`
    for the golden inputs. Needed for `int8` and `fp8`; never replaced by random data."""
    count: Annotated[int, Field(ge=1)] = 512
    """At most so many samples."""
    method: Literal["entropy", "max"] = "entropy"
    """How scales are found from the samples."""
    metric: str = "cosine"
    """`top1`, `cosine`, `max_abs`, `snr_db`, or `file.py:function` (reference and candidate outputs by name → score)."""
    threshold: float | None = None
    """The score that passes: share of equal top-1 (default 0.99), smallest cosine (0.999), negated largest
    difference (-0.01), decibels (30). A metric of your own has no default."""
    min_agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """The same as `threshold`, for `top1`."""
    output: str | None = None
    """The output that is compared; default: the first."""
    labels: SpecFile | None = None
    """A text file with one class number per sample: `top1` then compares accuracies, not agreement."""
    rescue: bool = True
    """When a precision fails: find the few layers that must stay in FP32, and try again."""
    max_kept: Annotated[int, Field(ge=1)] = 8
    """At most so many layers are kept."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        hungry = [level for level in self.levels if level in NEEDS_CALIBRATION]
        if hungry and self.calibration is None:
            raise ValueError(
                f"{' and '.join(hungry)} needs calibration data: real samples (`calibration: folder/`), never random ones"
            )
        if self.labels is not None and self.metric != "top1":
            raise ValueError("`labels` are compared with `metric: top1` only")
        if self.min_agreement is not None and (self.metric != "top1" or self.threshold is not None):
            raise ValueError("`min_agreement` is the threshold of `metric: top1`; write only one of the two")
        known = ("top1", "cosine", "max_abs", "snr_db")
        if self.metric not in known and ".py:" not in self.metric:
            raise ValueError(f"metric `{self.metric}` is none of {', '.join(known)} and not `file.py:function`")
        return self

    @property
    def lowers(self) -> bool:
        """Whether anything but FP32 is tried."""
        return self.levels != ("fp32",)

    @property
    def needed(self) -> float | None:
        """The score that passes, if the spec says it."""
        return self.min_agreement if self.min_agreement is not None else self.threshold


class TensorrtOptions(BaseModel):
    """How TensorRT engines are built and served."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    compute_capabilities: tuple[Annotated[str, Field(pattern=r"^\d{1,2}\.\d$")], ...] = ()
    """GPU architectures of a `tensorrt_rtx` engine; default: 8.6, 8.9 and 12.0 (RTX 30, 40 and 50)."""
    bounds: dict[str, tuple[int, int, int]] = {}
    """Smallest, usual and largest size of dynamic dimensions, by name, for profiles that are inferred."""
    workspace_mib: Annotated[int, Field(ge=1)] | None = None
    """Memory that tactics may use while the engine is built and run; default: all of the GPU's."""
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = None
    """How long the builder searches: 0 fastest, 5 longest; default: TensorRT's own (3)."""
    hardware_compatibility: Literal["NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"] = "NONE"
    """Whether the plan runs on other GPUs than the one it was built on (`tensorrt_plan` only)."""
    version_compatible: bool = False
    """A plan that newer TensorRT releases can load. It carries code that the server then runs."""
    cuda_graphs: bool = False
    """Capture CUDA graphs at min, opt and max of each profile; only where every other dimension is fixed."""
    rehearsal: bool = True
    """Put the FP32 graph beside the plan, so that `serve --rehearse` works on a machine without a GPU."""
    warmup: bool = True
    """One warm-up request per profile before the model is ready."""
    context_memory: Literal["STATIC", "ON_PROFILE_CHANGE"] = "STATIC"
    """`ON_PROFILE_CHANGE` gives each context only what its profile needs; needs Triton 25.05."""
    plugins: tuple[SpecFile, ...] = ()
    """Plugin libraries (`.so`) that the graph needs."""
