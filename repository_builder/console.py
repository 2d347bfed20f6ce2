"""What commands print: tables and progress for people, JSON for machines. Loaded lazily; `rich` only when used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Says how far a long task is: `fraction` from 0 to 1, or None where the end is not known."""

    def __call__(self, message: str, fraction: float | None = None) -> None: ...


def silent(message: str, fraction: float | None = None) -> None:
    """A `Progress` that shows nothing."""


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def note(text: str) -> None:
    """A line for the reader on standard error, so that standard output stays clean for results."""
    print(text, file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A readable table; columns whose cells are all numbers are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    cells = [[str(cell) for cell in row] for row in rows]
    view = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(_looks_numeric(row[index]) for row in cells)
        view.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        view.add_row(*row)
    Console(highlight=False, markup=False, emoji=False).print(view)


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Progress]:
    """A live progress bar on standard error; on a pipe one plain line per message; nothing when `quiet`."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        yield from _live_bar(title)
    else:
        yield _Lines(title)


def live(title: str) -> Progress:
    """Progress on one line that is overwritten: for tasks whose end is shown by other means. Silent on a pipe."""
    if not sys.stderr.isatty():
        return silent

    def update(message: str, fraction: float | None = None) -> None:
        share = "" if fraction is None else f" {fraction:4.0%}"
        print(f"\r\033[K  {title:<40} {message}{share}", end="\r", file=sys.stderr, flush=True)

    return update


class _Lines:
    """Progress for logs: each message once."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last = ""

    def __call__(self, message: str, fraction: float | None = None) -> None:  # noqa: ARG002
        if message != self._last:
            note(f"{self._title}: {message}")
            self._last = message


def _live_bar(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, title=title)

        def update(message: str, fraction: float | None = None) -> None:
            bar.update(
                task, description=message, total=1.0 if fraction is not None else None, completed=fraction or 0.0
            )

        yield update


def _looks_numeric(text: str) -> bool:
    return bool(text) and text[0] in "+-.0123456789"
