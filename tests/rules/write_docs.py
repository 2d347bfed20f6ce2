"""Writes docs/rules/ from the rules and their pages: `python -m tests.rules.write_docs`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from repository_builder.check import Rule, all_rules
from repository_builder.check.pages import as_markdown
from tests.rules import pages

DOCS = Path(__file__).parents[2] / "docs" / "rules"

FAMILIES = {
    "BAT": "batching, queues, cache",
    "CFG": "fields, platform, syntax",
    "ENS": "ensembles",
    "FILE": "files",
    "INS": "instance groups",
    "IO": "inputs and outputs",
    "ONX": "ONNX graphs",
    "PLG": "plugin libraries",
    "PYB": "Python models",
    "REPO": "layout",
    "SEC": "safety",
    "SEQ": "sequences",
    "TRT": "TensorRT engines",
    "VER": "versions",
    "WRM": "warm-up",
}

_SERVER = "The embedded Triton 2.51.0 (24.10)"
PROOF = {
    "refuses": f"{_SERVER} refuses the bad example, and loads and answers the good one.",
    "loads": f"{_SERVER} loads both examples, and answers the good one.",
    "answers wrongly": f"{_SERVER} loads the bad example and answers its requests with errors; it answers the good one.",
    "ends": f"{_SERVER} ends at the bad example, and serves the good one.",
    "refuses or ends": f"{_SERVER} refuses the bad example or ends at it, and serves the good one.",
    "ends when asked": f"{_SERVER} loads the bad example and ends at the first request; it serves the good one.",
}
"""What the tests show on each run (tests/server/test_rules.py)."""


def contents() -> dict[str, str]:
    """File name → text of everything in docs/rules/."""
    rules, found = all_rules(), pages.read_all()
    return {f"{id_}.md": _page(rule, found[id_]) for id_, rule in rules.items()} | {"README.md": _index(rules.values())}


def _page(rule: Rule, page: pages.Page) -> str:
    proof = PROOF.get(page.server, f"Not shown against a server: {page.server.removeprefix('not shown: ')}.")
    command = f"triton-repo check repository {' '.join(page.options)}".strip()
    changed = {path: entry for path, entry in page.good.items() if page.bad.get(path) != entry}
    removed = [path for path in page.bad if path not in page.good]
    lines = [as_markdown(rule), "", "## A bad repository", "", *_files(page.bad)]
    lines += [
        f"`{command}` says:",
        "",
        *(f"- `{place}`" + (f" `{field}`" if field else "") for place, field in page.finds),
    ]
    lines += ["", "## A good one", "", *(f"Without `{path}`.\n" for path in removed), *_files(changed)]
    lines += ["## Proof", "", proof]
    return "\n".join(lines) + "\n"


_WORDS = {
    "stock": "any file that does what the configuration promises",
    "folder": "an empty folder",
    "empty": "an empty file",
    "bytes": "a file of {} bytes",
    "plan": "a plan built by TensorRT {}",
    "elf": "a library that needs {}",
    "link": "a link to {}",
    "mode": "permissions {}",
}


def _files(entries: dict[str, pages.Entry]) -> Iterable[str]:
    for path, entry in entries.items():
        name = path.removesuffix("#mode")
        if entry.kind in ("text", "onnx"):
            language = {".pbtxt": "pbtxt", ".py": "python", ".json": "json"}.get(Path(path).suffix, "")
            yield f"`{name}`\n\n```{language}\n{entry.text}```\n"
        else:
            yield f"`{name}`: {_WORDS[entry.kind].format(entry.text)}\n"


def _index(rules: Iterable[Rule]) -> str:
    rules = list(rules)
    errors = sum(rule.severity == "error" for rule in rules)
    lines = [
        "# Rules of `triton-repo check`",
        "",
        f"{len(rules)} rules, {errors} of them errors: the server refuses the repository, or answers wrongly. Others are",
        "warnings: it loads, but is slow, fragile or unsafe. Each page holds a bad and a good repository; tests check both and",
        "show most to a real server. `triton-repo explain ENS022` prints a page.",
    ]
    for family, title in FAMILIES.items():
        lines += ["", f"## {family}: {title}", "", "| rule | severity | name |", "|---|---|---|"]
        lines += [f"| [{r.id}]({r.id}.md) | {r.severity} | {r.name} |" for r in rules if r.family == family]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all pages, and remove those of rules that are gone."""
    DOCS.mkdir(parents=True, exist_ok=True)
    texts = contents()
    for path in DOCS.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (DOCS / name).write_text(text)


if __name__ == "__main__":
    main()
