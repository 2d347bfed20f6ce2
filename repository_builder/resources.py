"""Where the data folders lie that ship with the package: beside it in a checkout, inside it in a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_WHEEL_DATA = _PACKAGE / "_data"


def data_folder(name: str) -> Path:
    """The folder `python_backends` or `plugins_cuda`: data that is copied or compiled, never imported."""
    return (_WHEEL_DATA if _WHEEL_DATA.is_dir() else _PACKAGE.parent) / name


def cache_folder() -> Path:
    """The user's cache folder of this tool: `$TRITON_REPO_CACHE`, else below `$XDG_CACHE_HOME` or `~/.cache`."""
    import os

    if explicit := os.environ.get("TRITON_REPO_CACHE"):
        return Path(explicit).expanduser().resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "triton-repo"
