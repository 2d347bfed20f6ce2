"""What a Triton log says: which models are loaded, and why a server did not come up, in words that help.

Known causes come from logs of Triton 2.51; each is proven by a test that starts the real server on the broken
repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from repository_builder.errors import Problem

_HARMLESS = re.compile(
    r"CudaDriverHelper|pinned_memory_manager|DCGM unable|Failed to initialize NVML|unable to create stream"
)
_ENTRY = re.compile(r"^(?P<level>[IWEF])\d{4} [\d:.]+ \d+ (?P<source>[\w.]+:\d+)\] (?P<text>.*)$")
_FAILED = re.compile(r"failed to load '(?P<model>[^']+)' version (?P<version>\d+): (?P<why>.*)$")
_POLL = re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<why>.*)$")
_FAILED_MODEL = re.compile(r"failed to load model '(?P<model>[^']+)': (?P<why>.*)$")
_LOADING = re.compile(r"^loading: (?P<model>.+:\d+)$")
_LOADED = re.compile(r"^successfully loaded '(?P<model>[^']+)'(?: version (?P<version>\d+))?$")
_KIND = re.compile(r"^(Invalid argument|Internal|Not found|Unavailable|Unsupported|Already exists|Unknown): ")


@dataclass(frozen=True)
class Cause:
    """A message known to mean something, and what the user can do about it."""

    pattern: re.Pattern[str]
    fix: str
    why: str = ""
    """Replaces Triton's own words where those mislead."""
    fatal: bool = False
    """The server never comes up after this line, and does not end by itself."""


def _cause(pattern: str, fix: str, why: str = "", *, fatal: bool = False) -> Cause:
    return Cause(re.compile(pattern), fix, why, fatal)


CAUSES = (
    _cause(
        r"Python model file not found in '(?P<path>.*)'",
        "put `model.py` into that version folder, or name the file in `default_model_filename`",
        "{path} does not exist; Triton would wait for it for ever",
        fatal=True,
    ),
    _cause(
        r"what\(\): +stol",
        "rename the model's folder: letters, digits, `_` and `-`",
        "a model's name has a space, which the Python backend cannot pass to its process; Triton would wait for ever",
        fatal=True,
    ),
    _cause(
        r"kind KIND_GPU but no GPUs are available|specifies invalid or unsupported gpu id",
        "serve it on a machine with a GPU, or try it here with `triton-repo serve --rehearse`; "
        "a model for the CPU says `instance_group [{ kind: KIND_CPU }]`",
    ),
    _cause(
        r"unable to find backend library for backend '(?P<backend>[^']+)'",
        "serve the repository with the NGC container, which has that backend",
        "the embedded server has no backend `{backend}` (it has python and our Python-based ones)",
    ),
    _cause(
        r"No module named '(?P<module>[^']+)'",
        "import only what the embedded environment has (numpy, onnxruntime, pillow, tokenizers) and files "
        "beside model.py, or serve in a container that has the package",
    ),
    _cause(
        r"failed to open text file for read .*config\.pbtxt",
        "write the file, or let the backend fill it in: `triton-repo serve --auto-complete`",
        "the model has no config.pbtxt",
    ),
    _cause(r"failed to read text proto", "correct the file: `triton-repo check` shows line and nearest field"),
    _cause(
        r"at least one version must be available",
        "give the model a folder `1/`, or a `version_policy` that names a version it has",
    ),
    _cause(
        r"Stub process '.*' is not healthy",
        "look into the log for the last words of that model's process",
        "the process of the Python model ended while it was loading (a crash, or out of memory)",
    ),
    _cause(r"already in use", "leave the port options out: free ports are then chosen", "a port is in use"),
    _cause(
        r"(shared memory|shm).*(No space left|Unable to initialize|increase|--shm-size)",
        "make /dev/shm larger (`docker run --shm-size`), or lower the count of Python instances",
    ),
    _cause(
        r"must specify 'max_batch_size'|must specify .* for model|auto-completion|autofill|model configuration must",
        "complete the config.pbtxt, or try `triton-repo serve --auto-complete`",
    ),
    _cause(
        r"output tensor shape does not match size of output|Expected \d+, got 0",
        "remove NumPy 2 from the server's environment: its Python backend needs NumPy 1.x",
    ),
)


@dataclass
class LoadState:
    """What the log has said so far about loading."""

    loading: set[str] = field(default_factory=set)
    """`model:version`"""
    loaded: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    listening: int = 0
    """Endpoints started: HTTP, gRPC, metrics."""
    hopeless: str = ""
    """A line after which the server hangs."""

    def read(self, line: str) -> None:
        """Take in one line."""
        entry = _ENTRY.match(line)
        text = _unquoted(entry["text"]) if entry else line.strip()
        if match := _LOADING.match(text):
            self.loading.add(match["model"])
        elif match := _LOADED.match(text):
            self.loaded |= {name for name in self.loading if name.rpartition(":")[0] == match["model"]}
        elif match := _FAILED.search(text):
            self.failed.add(f"{match['model']}:{match['version']}")
        elif text.startswith(("Started GRPCInferenceService", "Started HTTPService", "Started Metrics Service")):
            self.listening += 1
        elif any(cause.fatal and cause.pattern.search(text) for cause in CAUSES):
            self.hopeless = text

    def __str__(self) -> str:
        waiting = sorted(self.loading - self.loaded - self.failed)
        count = f"{len(self.loaded)} of {len(self.loading)} models loaded"
        return f"{count}, loading {', '.join(waiting[:3])}{' …' if len(waiting) > 3 else ''}" if waiting else count


def problems(lines: Iterable[str], repository: Path) -> list[Problem]:
    """Why the server did not come up: one problem per model that failed, else what the log's last words are."""
    lines = list(lines)
    entries = [_unquoted(match["text"]) if (match := _ENTRY.match(line)) else line.strip() for line in lines]
    found: dict[str, Problem] = {}
    for text in entries:
        for pattern in (_FAILED, _POLL, _FAILED_MODEL):
            if match := pattern.search(text):
                reason = "; ".join([match["why"], *_parser_error(entries, match["why"])])
                found.setdefault(
                    match["model"],
                    _explained(f"model `{match['model']}` did not load", reason, repository / match["model"]),
                )
                break
    if found:
        return list(found.values())
    for text in entries:
        if any(cause.pattern.search(text) for cause in CAUSES):
            return [_explained("the server did not come up", text, repository)]
    last = errors(lines) or [line.strip() for line in lines if line.strip()][-5:]
    why = "\n".join(last) or "it wrote no log"
    return [Problem("the server did not come up", str(repository), why, "see the log")]


def errors(lines: Iterable[str]) -> list[str]:
    """The last five lines that report an error; those that every machine without a GPU sees are left out."""
    return [line.strip() for line in lines if _is_error(line)][-5:]


def _explained(what: str, text: str, where: Path) -> Problem:
    text = _KIND.sub("", text.replace("\\n", "\n").strip())
    for cause in CAUSES:
        if match := cause.pattern.search(text):
            return Problem(what, str(where), cause.why.format(**match.groupdict()) or _shortened(text), cause.fix)
    return Problem(what, str(where), _shortened(text), "see the log for what came before")


def _parser_error(entries: list[str], why: str) -> list[str]:
    """Protobuf's own message, which stands on a line before the one that names the file."""
    if "failed to read text proto" not in why:
        return []
    return [text.rpartition("ModelConfig: ")[2] for text in entries if "libprotobuf ERROR" in text][:1]


def _is_error(line: str) -> bool:
    if _HARMLESS.search(line):
        return False
    entry = _ENTRY.match(line)
    return entry["level"] in "EF" if entry else line.startswith(("error:", "terminate called", "  what()"))


def _shortened(text: str) -> str:
    """Without the frames of importlib and blank lines of a Python traceback."""
    kept = [line for line in text.splitlines() if line.strip() and "<frozen importlib" not in line]
    return "\n".join(kept[:12])


def _unquoted(text: str) -> str:
    return text[1:-1].replace('\\"', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text
