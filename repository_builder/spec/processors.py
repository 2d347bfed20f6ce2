"""Options of the generated Python models that stand before and behind the core model.

A processor is wired **by name**: what it hands to the core carries the names of the core's inputs, and what it takes
from the core carries the names of the core's outputs. Everything that is left out is found from the core's interface
(`resolve`); what cannot be found is an error that lists the candidates.

Field names equal those of the parameters in `python_backends/<entry>.py`: one vocabulary from spec to server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from repository_builder.errors import Problem, SpecError
from repository_builder.spec.files import SpecFile
from repository_builder.spec.processor import (
    Ports,
    Processor,
    StageName,
    choose,
    missing_file,
    named,
    refuse,
    wrong_float,
)
from repository_builder.tensor import Dim, Interface, Tensor

__all__ = [
    "POSTPROCESSORS",
    "PREPROCESSORS",
    "EmbeddingPool",
    "ImageDecode",
    "Ports",
    "Processor",
    "SpecFile",
    "TextTokenize",
    "TopK",
]

Finite = Annotated[float, Field(allow_inf_nan=False)]
PerChannel = Finite | tuple[Finite, Finite, Finite]
CHANNELS: dict[str, int] = {"L": 1, "RGB": 3}
DEFAULT_MAX_LENGTH = 512
"""Tokens per text where neither the spec, nor the core, nor the tokenizer file says it: what BERT was trained with."""


class ImageDecode(Processor):
    """Encoded images (PNG, JPEG, WebP) → one normalised tensor of a fixed size for the core."""

    entry: ClassVar[str] = "image_decode"
    stage: ClassVar[StageName] = "preprocess"

    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] | None = Field(
        None, description="Height and width in pixels; by default the core input's, which then must be fixed."
    )
    mode: Literal["L", "RGB"] | None = Field(
        None, description="Grey (`L`) or colour (`RGB`); by default what the core's number of channels says."
    )
    fit: Literal["stretch", "letterbox", "crop"] = Field(
        "stretch",
        description="`stretch` to the size; `letterbox`: keep the aspect ratio and pad; "
        "`crop`: keep the aspect ratio, fill the size, cut the middle out.",
    )
    pad_value: int = Field(0, ge=0, le=255, description="Grey value of the bars that `letterbox` adds (0–255).")
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        "bilinear", description="Interpolation filter; all but `nearest` also smooth when making an image smaller."
    )
    scale: Finite | None = Field(
        None, description="Factor on pixel values (0–255), before `mean` and `std`; 1/255, or 1 for UINT8 cores."
    )
    mean: PerChannel = Field(0.0, description="Subtracted after `scale`: one number, or one per channel.")
    std: PerChannel = Field(1.0, description="Divided by after `mean`: one number, or one per channel.")
    layout: Literal["NCHW", "NHWC"] | None = Field(
        None, description="Order of the tensor's axes; by default found from where the core has 1 or 3 channels."
    )
    dtype: Literal["FP32", "FP16", "UINT8"] | None = Field(
        None, description="Data type of the tensor; always the core input's."
    )
    max_pixels: int = Field(
        50_000_000, gt=0, description="Larger images are refused before they are decoded (decompression bombs)."
    )
    input: str | None = Field(None, description="The core input to feed; by default its only input of rank 4.")

    @field_validator("std")
    @classmethod
    def _no_zero(cls, std: PerChannel) -> PerChannel:
        if 0 in (std if isinstance(std, tuple) else (std,)):
            raise ValueError("must not be 0: values are divided by it")
        return std

    def resolve(self, core: Interface) -> ImageDecode:
        """See `Processor.resolve`; also checks size, channels and dtype against the core input."""
        tensor = choose(
            self, "input", self.input, core.inputs, wanted="input of rank 4", fits=lambda t: len(t.shape) == 4
        )
        layout = self.layout or self._infer_layout(tensor)
        mode = self.mode or self._infer_mode(tensor, layout)
        size = self.size or self._infer_size(tensor, layout)
        refuse(self._contradictions(tensor, layout, mode, size))
        scale = self.scale if self.scale is not None else (1.0 if tensor.dtype == "UINT8" else 1 / 255)
        found = {"layout": layout, "mode": mode, "size": size, "scale": scale}
        return self.model_copy(update=found | {"dtype": tensor.dtype, "input": tensor.name})

    def ports(self, core: Interface) -> Ports:
        """`image` STRING [batch, 1], one encoded image per item → the core input."""
        resolved = self.resolve(core)
        fed = named(core.inputs, resolved.input)
        channels = CHANNELS[resolved.mode or ""]
        size = resolved.size or ()
        image = (channels, *size) if resolved.layout == "NCHW" else (*size, channels)
        decoded = Tensor(fed.name, fed.dtype, (fed.shape[0], *image))
        return Ports((Tensor("image", "STRING", (fed.shape[0], 1)),), (decoded,))

    def _infer_layout(self, tensor: Tensor) -> Literal["NCHW", "NHWC"]:
        first, last = tensor.shape[1] in (1, 3), tensor.shape[3] in (1, 3)
        if first != last:
            return "NCHW" if first else "NHWC"
        why = f"`{tensor}` has {'two axes' if first else 'no axis'} of 1 or 3 channels"
        raise SpecError.many([self.problem("layout", "the layout cannot be found", why, "set `layout: NCHW` or NHWC")])

    def _infer_mode(self, tensor: Tensor, layout: str) -> Literal["L", "RGB"] | None:
        channels, _ = _image_axes(tensor, layout)
        return {1: "L", 3: "RGB"}.get(channels) if isinstance(channels, int) else None  # type: ignore[return-value]

    def _infer_size(self, tensor: Tensor, layout: str) -> tuple[int, int] | None:
        _, (height, width) = _image_axes(tensor, layout)
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def _contradictions(
        self, tensor: Tensor, layout: str, mode: str | None, size: tuple[int, int] | None
    ) -> Iterable[Problem]:
        channels, fixed = _image_axes(tensor, layout)
        fact = f"the core input is `{tensor}`, read as {layout}"
        if mode is None:
            what = "image_decode gives 1 (L) or 3 (RGB) channels" if isinstance(channels, int) else "the mode is open"
            yield self.problem("mode", what, fact, "set `mode: L` or `mode: RGB`, or another `input`")
        elif channels != CHANNELS[mode] and isinstance(channels, int):
            why = f"{mode} has {CHANNELS[mode]} channel(s), and {fact}"
            yield self.problem("mode", "the mode disagrees with the core", why, "change `mode` or `layout`")
        if size is None:
            yield self.problem("size", "the image size is open", fact, "set `size: [height, width]`")
        elif any(isinstance(dim, int) and dim != wanted for dim, wanted in zip(fixed, size, strict=True)):
            why = f"size is {list(size)} (height, width), and {fact}"
            yield self.problem("size", "the size disagrees with the core", why, "leave `size` out or change it")
        yield from self._dtype_contradictions(tensor, mode)

    def _dtype_contradictions(self, tensor: Tensor, mode: str | None) -> Iterable[Problem]:
        if tensor.dtype not in ("FP32", "FP16", "UINT8") or self.dtype not in (None, tensor.dtype):
            why = f"the core input is `{tensor}`; image_decode writes FP32, FP16 and UINT8"
            yield self.problem("dtype", "the data type disagrees with the core", why, "leave `dtype` out")
        elif tensor.dtype == "UINT8" and (self.scale not in (None, 1) or self.mean != 0 or self.std != 1):
            why = f"`{tensor}` takes pixel values as they are"
            yield self.problem("scale", "UINT8 cannot be normalised", why, "leave `scale`, `mean` and `std` out")
        if mode == "L" and (isinstance(self.mean, tuple) or isinstance(self.std, tuple)):
            why = "grey images have one channel"
            yield self.problem("mean", "three numbers for one channel", why, "give one number for `mean` and `std`")


class TextTokenize(Processor):
    """Texts → token ids, padded to the longest text of the batch, by the `tokenizers` library."""

    entry: ClassVar[str] = "text_tokenize"
    stage: ClassVar[StageName] = "preprocess"

    tokenizer: SpecFile = Field(description="The `tokenizer.json` of the model (format of the `tokenizers` library).")
    max_length: int | None = Field(
        None,
        gt=0,
        description="Longer texts are cut to this many tokens, special tokens included; by default the core's fixed "
        f"length, else the tokenizer file's own limit, else {DEFAULT_MAX_LENGTH}.",
    )
    pad_to: int | None = Field(
        None, gt=0, description="Pad every text to this length instead of the longest of the batch: for fixed cores."
    )
    pad_token: str | None = Field(
        None, description="Token used for padding; by default the file's own, else the first of [PAD], <pad>, </s>."
    )
    dtype: Literal["INT64", "INT32"] | None = Field(
        None, description="Data type of the tensors; always the core inputs'."
    )
    input_ids: str | None = Field(
        None, description="The core input for token ids; by default `input_ids`, or its only integer input of rank 2."
    )
    attention_mask: str | None = Field(
        None, description="The core input for the mask (1 = token, 0 = padding); by default `attention_mask`, if any."
    )
    token_type_ids: str | None = Field(
        None, description="The core input for segment ids; by default `token_type_ids`, if the core has it."
    )

    def resolve(self, core: Interface) -> TextTokenize:
        """See `Processor.resolve`; also checks the length against a fixed dimension of the core."""
        candidates = [t for t in core.inputs if len(t.shape) == 2 and t.dtype in ("INT64", "INT32")]
        default = self.input_ids or next((t.name for t in candidates if t.name == "input_ids"), None)
        ids = choose(
            self, "input_ids", default, core.inputs, wanted="integer input of rank 2", fits=candidates.__contains__
        )
        mask = self._optional("attention_mask", self.attention_mask, core)
        types = self._optional("token_type_ids", self.token_type_ids, core)
        fixed = ids.shape[1] if isinstance(ids.shape[1], int) else None
        refuse(self._contradictions([t for t in (ids, mask, types) if t], fixed))
        update: dict[str, Any] = {"dtype": ids.dtype, "input_ids": ids.name, "pad_to": self.pad_to or fixed}
        update |= {"attention_mask": mask.name if mask else None, "token_type_ids": types.name if types else None}
        own_limit = _truncation_of(self.tokenizer) or DEFAULT_MAX_LENGTH
        return self.model_copy(update=update | {"max_length": self.max_length or self.pad_to or fixed or own_limit})

    def ports(self, core: Interface) -> Ports:
        """`text` STRING [batch, 1], one UTF-8 text per item → the core inputs that take tokens."""
        resolved = self.resolve(core)
        names = [name for name in (resolved.input_ids, resolved.attention_mask, resolved.token_type_ids) if name]
        fed = tuple(named(core.inputs, name) for name in names)
        if resolved.pad_to:
            fed = tuple(Tensor(t.name, t.dtype, (t.shape[0], resolved.pad_to)) for t in fed)
        return Ports((Tensor("text", "STRING", (fed[0].shape[0], 1)),), fed)

    def _deployed(self) -> dict[str, tuple[str, Path]]:
        return {"tokenizer": ("tokenizer.json", self.tokenizer)}

    def _optional(self, option: str, name: str | None, core: Interface) -> Tensor | None:
        if name is None:
            return next((t for t in core.inputs if t.name == option), None)
        return choose(self, option, name, core.inputs, wanted="input", fits=lambda _: True)

    def _contradictions(self, fed: list[Tensor], fixed: int | None) -> Iterable[Problem]:
        yield from missing_file(self, "tokenizer", self.tokenizer)
        listed = ", ".join(f"`{t}`" for t in fed)
        if fed[0].dtype not in ("INT64", "INT32") or any(t.dtype != fed[0].dtype for t in fed):
            why = f"text_tokenize writes all INT64 or all INT32, and the core has {listed}"
            yield self.problem("dtype", "the data types of the core do not fit", why, "feed other inputs")
        elif self.dtype not in (None, fed[0].dtype):
            yield self.problem("dtype", "the data type disagrees with the core", listed, "leave `dtype` out")
        wrong = {"max_length": self.max_length, "pad_to": self.pad_to} if fixed else {}
        for option, value in wrong.items():
            if value is not None and fixed is not None and (value > fixed or (option == "pad_to" and value != fixed)):
                why = f"{option} is {value}, and the core takes {fixed} tokens ({listed})"
                yield self.problem(option, "the length disagrees with the core", why, f"leave `{option}` out")
        if self.pad_to and self.max_length and self.max_length > self.pad_to:
            why = f"max_length is {self.max_length} and pad_to is {self.pad_to}"
            yield self.problem("pad_to", "texts may be longer than they are padded to", why, "lower `max_length`")


class TopK(Processor):
    """Scores of classes → the k best, with labels."""

    entry: ClassVar[str] = "top_k"
    stage: ClassVar[StageName] = "postprocess"

    k: int = Field(5, gt=0, description="How many classes to return, best first.")
    labels: SpecFile | None = Field(
        None, description="Text file, one label per line in the order of the classes; without it labels are numbers."
    )
    softmax: bool = Field(False, description="Turn logits into probabilities first; leave off if the core does it.")
    output: str | None = Field(None, description="The core output with the scores; by default its only one of rank 2.")

    def resolve(self, core: Interface) -> TopK:
        """See `Processor.resolve`; also counts labels and k against the classes."""
        scores = choose(
            self, "output", self.output, core.outputs, wanted="output of rank 2", fits=lambda t: len(t.shape) == 2
        )
        refuse(self._contradictions(scores))
        return self.model_copy(update={"output": scores.name})

    def ports(self, core: Interface) -> Ports:
        """Scores [batch, classes] → `label` STRING, `score` FP32 and `class_id` INT32, each [batch, k]."""
        scores = named(core.outputs, self.resolve(core).output)
        best: tuple[Dim, ...] = (scores.shape[0], self.k)
        kinds = {"label": "STRING", "score": "FP32", "class_id": "INT32"}
        return Ports((scores,), tuple(Tensor(name, dtype, best) for name, dtype in kinds.items()))

    def _deployed(self) -> dict[str, tuple[str, Path]]:
        return {"labels": ("labels.txt", self.labels)} if self.labels else {}

    def _contradictions(self, scores: Tensor) -> Iterable[Problem]:
        classes = scores.shape[-1]
        yield from wrong_float(self, scores)
        if isinstance(classes, int) and self.k > classes:
            why = f"k is {self.k}, and the core output `{scores}` has {classes} classes"
            yield self.problem("k", "k is larger than the number of classes", why, f"set `k` to {classes} or less")
        if self.labels is None:
            return
        missing = tuple(missing_file(self, "labels", self.labels))
        yield from missing
        if not missing:
            yield from self._label_problems(self.labels, scores)

    def _label_problems(self, labels: Path, scores: Tensor) -> Iterable[Problem]:
        classes = scores.shape[-1]
        try:
            count = len(labels.read_text(encoding="utf-8").rstrip().splitlines())
        except UnicodeDecodeError as error:
            yield self.problem("labels", f"{labels} is not UTF-8 text", str(error), "save it as UTF-8")
            return
        if isinstance(classes, int) and count != classes:
            why = f"{labels} has {count} labels, and the core output `{scores}` has {classes} classes"
            yield self.problem("labels", "labels and classes differ in number", why, "give one label per class")


class EmbeddingPool(Processor):
    """Token vectors → one vector per text."""

    entry: ClassVar[str] = "embedding_pool"
    stage: ClassVar[StageName] = "postprocess"

    pooling: Literal["mean", "cls"] = Field(
        "mean", description="`mean` of the token vectors, padding left out; `cls`: the vector of the first token."
    )
    normalize: bool = Field(True, description="Divide the vector by its L2 norm.")
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1e-12, description="Smallest norm that is divided by, so that a zero vector stays zero."
    )
    output: str | None = Field(None, description="The core output [batch, tokens, dim]; by default its only of rank 3.")
    attention_mask: str | None = Field(
        None, description="The core input that says which tokens count; by default `attention_mask`, if it exists."
    )

    def resolve(self, core: Interface) -> EmbeddingPool:
        """See `Processor.resolve`; the mask is looked for among the core's inputs."""
        vectors = choose(
            self, "output", self.output, core.outputs, wanted="output of rank 3", fits=lambda t: len(t.shape) == 3
        )
        mask = self.attention_mask or next((t.name for t in core.inputs if t.name == "attention_mask"), None)
        if mask is not None and self.pooling == "mean":
            choose(self, "attention_mask", mask, core.inputs, wanted="input", fits=lambda _: True)
        refuse(wrong_float(self, vectors))
        return self.model_copy(update={"output": vectors.name, "attention_mask": mask})

    def ports(self, core: Interface) -> Ports:
        """Token vectors [batch, tokens, dim] (and their mask [batch, tokens]) → `embedding` FP32 [batch, dim]."""
        resolved = self.resolve(core)
        vectors = named(core.outputs, resolved.output)
        masked = resolved.attention_mask is not None and self.pooling == "mean"
        mask = (named(core.inputs, resolved.attention_mask),) if masked else ()
        return Ports((vectors, *mask), (Tensor("embedding", "FP32", (vectors.shape[0], vectors.shape[2])),))


PREPROCESSORS: dict[str, type[Processor]] = {model.entry: model for model in (ImageDecode, TextTokenize)}
POSTPROCESSORS: dict[str, type[Processor]] = {model.entry: model for model in (TopK, EmbeddingPool)}


def _image_axes(tensor: Tensor, layout: str) -> tuple[Dim, tuple[Dim, Dim]]:
    """Channels, and (height, width), of a tensor of rank 4."""
    _, a, b, c = tensor.shape
    return (a, (b, c)) if layout == "NCHW" else (c, (a, b))


def _truncation_of(tokenizer: Path) -> int | None:
    try:
        limit = (json.loads(tokenizer.read_text(encoding="utf-8")).get("truncation") or {}).get("max_length")
    except (ValueError, AttributeError) as error:
        fix = "give the `tokenizer.json` that the `tokenizers` library writes"
        raise SpecError(f"{tokenizer} is not a tokenizer file", why=str(error), fix=fix) from error
    return int(limit) if limit else None
