"""Stage: a PyTorch module becomes `model.onnx`, in a child process, by the exporter of `torch.onnx`.

The factory is the user's own code beside the spec: it is run. The module is put into `eval()`, traced with the example
shapes, exported with the pinned opset, and the result is compared with the module itself at two sizes.

Result: `model.onnx` (with `model.onnx.data` above 2 GB).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from repository_builder.build.stage import StageContext
from repository_builder.console import Progress
from repository_builder.errors import RepositoryBuilderError, SpecError, StageFailed, ToolMissing
from repository_builder.resources import cache_folder

WORKER = "repository_builder.stages.export_worker"
MODEL = "model.onnx"


def run(context: StageContext) -> None:
    """Export; parameters `function`, `inputs`, `outputs` and `opset` as in `PytorchSource`.

    `any_file` lets the factory read what it likes: for exports whose result is not cached. `checkpoint` names weights to
    load into the module.

    Sources: `code`, the factory's file, and `file/0`, `file/1` …: others that it may read.
    """
    code = context.sources["code"]
    files = [str(path) for role, path in context.sources.items() if role != "code"]
    wanted = dict(context.params) | {"code": str(code), "files": files, "out": str(context.out / MODEL)}
    log = _log_file()
    answer = _work(wanted, code, log, context.progress)
    if not answer.get("done"):
        raise _explain(answer, f"{code}:{context.params['function']}", log)
    log.unlink()


def _log_file() -> Path:
    logs = cache_folder() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix="export-", suffix=".log", dir=logs)
    os.close(handle)
    return Path(name)


def _work(wanted: Mapping[str, Any], code: Path, log: Path, progress: Progress) -> dict[str, Any]:
    """Run the worker; its last message. The child does not outlive this call."""
    read_fd, write_fd = os.pipe()
    package_root = str(Path(__file__).parents[2])
    paths = [str(code.parent), package_root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    with tempfile.TemporaryDirectory(prefix="triton-repo-export-") as scratch, log.open("wb") as output:
        request = Path(scratch, "request.json")
        request.write_text(json.dumps(wanted), encoding="utf-8")
        child = subprocess.Popen(
            [sys.executable, "-m", WORKER, str(request), str(write_fd)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(write_fd,),
            cwd=code.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        os.close(write_fd)
        try:
            with os.fdopen(read_fd) as reports:
                last = _follow(reports, progress)
            child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    return {"code": child.returncode} | last


def _follow(reports: IO[str], progress: Progress) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for line in reports:
        last = json.loads(line)
        if "progress" in last:
            progress(last["progress"])
    return last


def _explain(answer: Mapping[str, Any], where: str, log: Path) -> RepositoryBuilderError:
    kind = answer.get("failed")
    if kind is None:
        doing, code = answer.get("progress", "starting"), answer["code"]
        death = f"killed by signal {-code} (out of memory?)" if code < 0 else f"exit code {code}"
        why = f"it was {doing}: {death}\n{_tail(log)}".strip()
        return StageFailed("the export process died", where=where, why=why, fix="see the log", log=log)
    what, why, fix = (str(answer[key]) for key in ("what", "why", "fix"))
    if kind == "tool":
        return ToolMissing(what, where=where, why=why, fix=fix)
    error = SpecError if kind == "spec" else StageFailed
    return error(what, where=answer.get("where", where), why=why, fix=fix, log=log)


def _tail(log: Path, lines: int = 4) -> str:
    return "\n".join(line[:300] for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
