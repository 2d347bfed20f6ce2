"""Which files a Python model consists of: its entry file, renamed, and the siblings that it reaches."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from repository_builder.errors import RepositoryError
from repository_builder.resources import data_folder

ENTRY = "model.py"


def deployed_files(entry: str) -> dict[str, Path]:
    """Deployed name → source file of `python_backends/<entry>.py` and its siblings (relative imports, followed)."""
    folder = data_folder("python_backends")
    source = folder / f"{entry}.py"
    if not source.is_file():
        raise RepositoryError(
            f"there is no Python model `{entry}`", where=source, why="the file is missing", fix="reinstall the package"
        )
    siblings = _reached(source, folder)
    return {ENTRY: source} | {name: folder / name for name in sorted(siblings)}


def _reached(source: Path, folder: Path) -> set[str]:
    found: set[str] = set()
    waiting = [source]
    while waiting:
        for name in _relative_imports(waiting.pop()):
            if name not in found and (folder / name).is_file():
                found.add(name)
                waiting.append(folder / name)
    return found


@cache
def _relative_imports(source: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"), filename=str(source))):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            names |= {f"{module.partition('.')[0]}.py" for module in modules}
    return frozenset(names)
