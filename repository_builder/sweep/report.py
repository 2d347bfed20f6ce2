"""The report: one HTML file with everything in it, which opens without a network."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repository_builder.errors import RepositoryError

_ASSETS = Path(__file__).with_name("assets")


def render(document: Mapping[str, Any]) -> str:
    """The page of a sweep's document (see `document.py`)."""
    page = (_ASSETS / "report.html").read_text(encoding="utf-8")
    # `</` would end the script element, `<!--` would hide its end; both are the same string in JSON when escaped
    data = json.dumps(document).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(f"Sweep of {document['model']}"),
        "STYLE": (_ASSETS / "report.css").read_text(encoding="utf-8"),
        "SCRIPT": "\n".join((_ASSETS / name).read_text(encoding="utf-8") for name in ("plot.js", "report.js")),
        "DATA": data,
    }
    for name, text in parts.items():
        page = page.replace(f"@@{name}@@", text)
    return page


def write(document: Mapping[str, Any], file: Path) -> None:
    """Write the page. Raises RepositoryError where that is not possible."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render(document), encoding="utf-8")
    except OSError as error:
        raise RepositoryError(
            "cannot write the report", where=file, why=error.strerror or str(error), fix="name another file with --html"
        ) from error
