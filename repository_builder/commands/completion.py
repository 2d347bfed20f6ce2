"""Print a completion script for a shell.

examples:
  triton-repo completion bash > ~/.local/share/bash-completion/completions/triton-repo
  triton-repo completion zsh  > ~/.zfunc/_triton-repo
"""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `completion`."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from repository_builder.cli import parser

    print(shtab.complete(parser("*"), shell=options.shell))
    return 0
