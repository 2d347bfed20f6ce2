"""`triton-repo`: arguments, errors and exit codes. Each command is a module of `commands`, loaded when it is called."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence

from repository_builder import __version__
from repository_builder.errors import RepositoryBuilderError
from repository_builder.interrupts import CtrlC

COMMANDS: dict[str, str] = {
    "build": "build a model repository from a spec or an ONNX file",
    "plan": "show what a build would run, what is cached, and why",
    "schema": "print the JSON schema of the spec, for editors",
    "serve": "serve a model repository with the embedded Triton until Ctrl-C",
    "infer": "ask a model that is being served, and print its answer",
    "verify": "replay the golden inputs through a server and compare with the reference",
    "sweep": "find better batching and instance settings by measuring, prove them, and write them back",
    "export": "export a PyTorch module to ONNX, and check that the graph keeps its contract",
    "inspect": "say what of an ONNX graph will not convert, why, and how to fix it",
    "repair": "rewrite what TensorRT refuses, and prove that results are equal",
    "cache": "show or clean the cache of build stages",
    "doctor": "compare this machine, a repository and a container; say what will not load",
    "profiles": "choose optimization profiles from recorded requests",
    "plugin": "list, compile, test and start CUDA plugins for TensorRT",
    "check": "find what would fail or hurt in a model repository, without a server",
    "explain": "print the page of a rule of the checker",
    "profile": "measure engines on this GPU, shape by shape, and compare with a baseline",
    "upgrade": "build again with one component changed, into a folder beside, and show the difference",
    "completion": "print a shell completion script",
}
"""Command → one line of help; the command's module in `commands` has the same name (`-` becomes `_`)."""

EPILOG = """examples:
  triton-repo build examples/digits/deploy.yaml
  triton-repo serve model_repository
  triton-repo infer digits image.png

`triton-repo COMMAND --help` explains one command.

exit codes: 0 done, 1 findings or a bug of ours, 2 wrong spec or usage, 3 target unavailable, 4 stage failed,
5 check or gate failed, 6 cache, 7 ONNX graph, 8 repository, 9 server, 10 tool missing, 130 interrupted."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. The only place that turns errors into exit codes."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _answered(arguments)
    except BrokenPipeError:  # the reader of our output has gone, which is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _answered(arguments: list[str]) -> int:
    ctrl_c = CtrlC()
    try:
        return _run(arguments)
    except RepositoryBuilderError as error:
        _report(error, as_json="--json" in arguments)
        return error.exit_code
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, Exception) as error:
        if not (isinstance(error, KeyboardInterrupt) or ctrl_c.pressed):
            raise
        print("interrupted", file=sys.stderr)
        return 130


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The argument parser: with the options of one `command`, of every command (`"*"`), or of none."""
    top = argparse.ArgumentParser(
        prog="triton-repo",
        description="From a trained model to a served one on NVIDIA Triton.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"triton-repo {__version__}")
    subparsers = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, help_line in COMMANDS.items():
        sub = subparsers.add_parser(name, help=help_line, formatter_class=argparse.RawDescriptionHelpFormatter)
        if command in (name, "*"):
            module = _module(name)
            sub.description = module.__doc__
            module.configure(sub)
    return top


def _run(arguments: list[str]) -> int:
    command = next((word for word in arguments if not word.startswith("-")), None)
    options = parser(command).parse_args(arguments)
    status: int = _module(options.command).run(options)
    return status


def _module(command: str):  # type: ignore[no-untyped-def]  # noqa: ANN202  (modules satisfy a convention, not a type)
    return importlib.import_module(f"repository_builder.commands.{command.replace('-', '_')}")


def _report(error: RepositoryBuilderError, *, as_json: bool) -> None:
    print(error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
    if as_json:
        print(json.dumps({"errors": [problem.as_json() for problem in error.problems]}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
