"""`make demo`: build examples/digits, serve it with the real Triton, ask it, verify it, measure it, say where everything is.

Types the commands that a user would type, and shows them. The measurement is a plain concurrency sweep with the real
perf_analyzer; its report goes to `out/demo/`.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

from repository_builder import console
from repository_builder.errors import RepositoryBuilderError

ROOT = Path(__file__).parent.parent
REPOSITORY = Path("model_repository")
REPORT = Path("out/demo/concurrency.csv")


def main() -> int:
    """Run the demo; returns the first exit code that is not 0."""
    os.chdir(ROOT)
    samples = [f"examples/digits/samples/{name}" for name in ("3_0.png", "7_0.png")]
    steps = (
        ["build", "examples/digits/deploy.yaml"],
        ["infer", "digits", *samples, "--repository", str(REPOSITORY)],
        ["verify", str(REPOSITORY)],
    )
    for arguments in steps:
        print(f"\n$ triton-repo {' '.join(arguments)}", flush=True)
        if code := subprocess.run([sys.executable, "-m", "repository_builder", *arguments], check=False).returncode:
            return code
    try:
        measure()
    except RepositoryBuilderError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"\nrepository  {REPOSITORY}/\nreport      {REPORT}\nserve it    .venv/bin/triton-repo serve {REPOSITORY}")
    return 0


def measure() -> None:
    """A short concurrency sweep of the public model, with its golden inputs."""
    from repository_builder.serving.perf_analyzer import PerfAnalyzer, sweep
    from repository_builder.serving.server import serve

    print("\nhow fast is it here? perf_analyzer, golden inputs, gRPC")
    with console.progress("sweep") as progress:
        analyzer = PerfAnalyzer.find(progress)
        with serve(REPOSITORY, progress=progress) as server:
            points = sweep(analyzer, server, "digits", REPOSITORY, levels=(1, 4, 16), seconds=2.0, progress=progress)
    header = ("concurrency", "images/s", "p50 ms", "p95 ms", "p99 ms")
    latencies = [[f"{us / 1000:.1f}" for us in (p.p50_us, p.p95_us, p.p99_us)] for p in points]
    rows = [(p.concurrency, f"{p.inferences_per_s:.0f}", *ms) for p, ms in zip(points, latencies, strict=True)]
    console.table(header, rows)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    with REPORT.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


if __name__ == "__main__":
    sys.exit(main())
