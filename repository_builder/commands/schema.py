"""Print the JSON schema of the spec, for editors, or its reference page.

examples:
  triton-repo schema > triton-repo.schema.json
  # first line of a spec, for editors with the YAML language server:
  #   # yaml-language-server: $schema=./triton-repo.schema.json
"""

from __future__ import annotations

import argparse

from repository_builder import console


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `schema`."""
    parser.add_argument("--markdown", action="store_true", help="print the reference page (docs/spec.md) instead")


def run(options: argparse.Namespace) -> int:
    """Print the schema."""
    from repository_builder.spec import schema

    if options.markdown:
        print(schema.reference_page())
    else:
        console.print_json(schema.json_schema())
    return 0
