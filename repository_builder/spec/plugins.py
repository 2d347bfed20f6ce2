"""What a spec may say about CUDA plugins."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from repository_builder.spec.files import SpecFile

Architecture = Annotated[str, Field(pattern=r"^\d{2,3}$")]


class Plugins(BaseModel):
    """Operators that TensorRT lacks, compiled from CUDA. Their mere mention (`plugins: {}`) makes the build look for them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folders: tuple[SpecFile, ...] = ()
    """Your own operators, in addition to those of the toolkit (`triton-repo plugin new` writes such a folder)."""
    compile: Literal["for_tensorrt", "always"] = "for_tensorrt"
    """`always` compiles them for other targets too: a repository built without a GPU then brings its libraries along."""
    architectures: tuple[Architecture, ...] = ()
    """Compute capabilities such as `"90"`; default: every one that the toolkit supports and the compiler knows."""
    tensorrt_headers: Literal["auto", "none"] | SpecFile = "auto"
    """Folder of TensorRT's headers; `auto`: found on this machine, else an error; `none`: kernels without TensorRT's shell,
    which a server cannot use: for machines that only prove the kernels."""
    ahead_of_time: tuple[str, ...] = ()
    """Operators whose PTX goes into the plan instead of a library (see docs/plugins.md for the limits)."""
