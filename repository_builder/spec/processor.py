"""What all processors share: their base class, their ports, and the search for the core tensors they belong to."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

from repository_builder.errors import Problem, SpecError
from repository_builder.tensor import Interface, Tensor

StageName = Literal["preprocess", "postprocess"]
FLOATS = ("FP16", "FP32", "FP64")


@dataclass(frozen=True)
class Ports:
    """Inputs and outputs of a processor's Triton model, with full shapes (batch included)."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Processor(BaseModel):
    """What all processors have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry: ClassVar[str]
    """Name in the spec, and of the file `python_backends/<entry>.py`."""
    stage: ClassVar[StageName]

    @abstractmethod
    def resolve(self, core: Interface) -> Self:
        """The same options with everything filled in that was left to the core's interface.

        Raises SpecError, with all problems at once, where the options and the core contradict each other, where
        the core leaves a choice open, or where a file is missing.
        """

    @abstractmethod
    def ports(self, core: Interface) -> Ports:
        """Inputs and outputs of this processor for that core; raises as `resolve` does."""

    def parameters(self, core: Interface) -> dict[str, str]:
        """The `parameters` of the model's config.pbtxt, each value in JSON; files by their deployed names."""
        plain = self.resolve(core).model_dump(mode="json")
        deployed = {field: json.dumps(name) for field, (name, _) in self._deployed().items()}
        return {field: json.dumps(value) for field, value in plain.items()} | deployed

    def files(self) -> dict[str, Path]:
        """Files to be copied into the version folder: deployed name → source."""
        return dict(self._deployed().values())

    def _deployed(self) -> dict[str, tuple[str, Path]]:
        """Field → deployed name and source."""
        return {}

    def problem(self, option: str, what: str, why: str, fix: str) -> Problem:
        """A problem with one of the options."""
        return Problem(what, f"{self.stage}.{self.entry}.{option}", why, fix)


def choose(
    processor: Processor,
    option: str,
    name: str | None,
    tensors: Iterable[Tensor],
    *,
    wanted: str,
    fits: Callable[[Tensor], bool],
) -> Tensor:
    """The tensor that the user named, or the only one that fits."""
    fitting = [t for t in tensors if fits(t)]
    chosen = [t for t in fitting if t.name == name] if name else fitting
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(f"`{t}`" for t in fitting) or "none"
    what = f"the core has no {wanted} called `{name}`" if name else f"the core has {len(fitting)} x {wanted}, not one"
    fix = f"set `{option}:` to one of these" if fitting else "use another processor, or none, for this core"
    raise SpecError.many([processor.problem(option, what, f"candidates: {listed}", fix)])


def named(tensors: Iterable[Tensor], name: str | None) -> Tensor:
    """The tensor of that name, which `resolve` has already found."""
    return next(t for t in tensors if t.name == name)


def wrong_float(processor: Processor, tensor: Tensor) -> Iterable[Problem]:
    """A problem if the core output is no floating-point tensor that NumPy knows."""
    if tensor.dtype not in FLOATS:
        why = f"`{tensor}` is not one of {', '.join(FLOATS)}"
        yield processor.problem("output", "the core output has a data type that cannot be read", why, "name another")


def missing_file(processor: Processor, option: str, path: Path) -> Iterable[Problem]:
    """A problem if the file that an option names is not there."""
    if not path.is_file():
        fix = "correct the path: it is relative to the spec's folder"
        yield processor.problem(option, f"there is no file {path}", "", fix)


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one SpecError for all problems, if there are any."""
    if found := list(problems):
        raise SpecError.many(found)
