"""The text of a rule's page: what `triton-repo explain` prints and docs/rules/ shows."""

from __future__ import annotations

from repository_builder.check.rule import Rule, Severity

SCOPES = {"repository": "a repository", "model": "each model", "version": "each served version"}


def as_markdown(rule: Rule) -> str:
    """Title, severity, the three sections, and Triton's own words."""
    meaning = {
        Severity.ERROR: "the server refuses it, or answers wrongly",
        Severity.WARNING: "it loads, but is slow, fragile or unsafe",
    }[rule.severity]
    lines = [f"# {rule.id} {rule.name}", "", f"**{rule.severity}**: {meaning}. Looks at {SCOPES[rule.scope]}."]
    for title, text in rule.sections.items():
        lines += ["", f"## {title}", "", text]
    if rule.triton:
        lines += ["", "## What Triton says", "", f"> {rule.triton}"]
    if rule.requires:
        lines += ["", f"Silent where {', '.join(rule.requires)} found something: this would only be a consequence."]
    return "\n".join(lines)
