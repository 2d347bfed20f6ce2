"""Which judge answers: the parser of the wanted product where it is installed, the table otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from repository_builder.errors import SpecError, ToolMissing, nearest
from repository_builder.onnx_graph import parser, tables
from repository_builder.onnx_graph.table_judge import TableJudge
from repository_builder.onnx_graph.verdict import Judge

DEFAULT_TENSORRT = "11.1"
"""The version that the table describes."""


@contextmanager
def judge_for(wanted: str | None) -> Iterator[Judge]:
    """A judge for `tensorrt=11.1`, `image=26.07`, `rtx`, or (None) the best one that is installed.

    Raises SpecError for a wish that makes no sense and ToolMissing where only a parser can answer.
    """
    kind, version = _parsed(wanted)
    installed = parser.available()
    if kind == "rtx":
        if "tensorrt_rtx" not in installed:
            raise ToolMissing(
                "no verdict for TensorRT for RTX",
                why="its parser is not installed, and there is no table of its operators",
                fix="`pip install 'triton-repo-builder[tensorrt-rtx]'` (no GPU is needed)",
            )
        with parser.ParserJudge("tensorrt_rtx") as judge:
            yield judge
    elif kind == "tensorrt":
        with _tensorrt(version, installed) as judge:
            yield judge
    elif installed:
        with parser.ParserJudge(installed[0]) as judge:
            yield judge
    else:
        yield TableJudge(DEFAULT_TENSORRT)


@contextmanager
def _tensorrt(version: str, installed: tuple[str, ...]) -> Iterator[Judge]:
    """TensorRT's own parser if that very version is installed, else the table."""
    from importlib import metadata

    if "tensorrt" in installed and metadata.version("tensorrt").startswith(f"{version}."):
        with parser.ParserJudge("tensorrt") as judge:
            yield judge
    else:
        yield TableJudge(version)


def _parsed(wanted: str | None) -> tuple[str, str]:
    """Kind and TensorRT version of a `--for` value."""
    if wanted is None:
        return "", ""
    kind, _, version = wanted.partition("=")
    if kind == "rtx" and not version:
        return "rtx", ""
    if kind == "tensorrt":
        return "tensorrt", _version(version or DEFAULT_TENSORRT, wanted)
    if kind == "image":
        found = tables.tensorrt_of_image(version)
        if found is None:
            known = sorted(tables.read("images"))
            raise SpecError(
                f"no image `{version}` is known{nearest(version, known)}",
                where=f"--for {wanted}",
                why=f"known releases: {known[0]} to {known[-1]}",
                fix="name a release, or the version of TensorRT: `--for tensorrt=11.1`",
            )
        return "tensorrt", found
    raise SpecError(
        f"`{wanted}` is no deployment",
        where="--for",
        why=f"it is not known what `{kind}` means{nearest(kind, ('tensorrt', 'image', 'rtx'))}",
        fix="write `tensorrt=11.1`, `image=26.07` or `rtx`",
    )


def _version(text: str, wanted: str) -> str:
    parts = text.split(".")
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        raise SpecError(
            f"`{text}` is no version of TensorRT", where=f"--for {wanted}", fix="write it as `tensorrt=11.1`"
        )
    return ".".join(parts[:2])
