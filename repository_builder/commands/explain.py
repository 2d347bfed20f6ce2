"""Print the page of a rule of the checker, or the list of all rules.

examples:
  triton-repo explain ENS022
  triton-repo explain dynamic-batching-without-batch
  triton-repo explain            (lists all rules)
"""

from __future__ import annotations

import argparse

from repository_builder.console import print_json, table
from repository_builder.errors import SpecError, nearest


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `explain`."""
    parser.add_argument("rule", nargs="?", default="", help="id or name of a rule")
    parser.add_argument("--json", action="store_true", help="for machines")


def run(options: argparse.Namespace) -> int:
    """Print one page, or the catalogue."""
    from repository_builder.check import all_rules
    from repository_builder.check.pages import as_markdown

    rules = all_rules()
    if not options.rule:
        chosen = list(rules.values())
    else:
        names = {rule.name: rule for rule in rules.values()} | dict(rules)
        key = options.rule if options.rule in names else options.rule.upper()
        if key not in names:
            raise SpecError(
                f"there is no rule `{options.rule}`{nearest(key, names)}", fix="triton-repo explain lists them"
            )
        chosen = [names[key]]
    if options.json:
        print_json([{"id": r.id, "name": r.name, "severity": str(r.severity), "page": as_markdown(r)} for r in chosen])
    elif options.rule:
        print(as_markdown(chosen[0]))
    else:
        table(("id", "severity", "name"), [(rule.id, str(rule.severity), rule.name) for rule in chosen])
    return 0
