"""`make demo`: build examples/digits, serve it with the real Triton, ask it, verify it, tune it, say where everything is.

Types the commands that a user would type, and shows them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPOSITORY = "model_repository"
REPORT = Path("out/demo/sweep.html")
SAMPLES = [f"examples/digits/samples/{name}" for name in ("3_0.png", "7_0.png")]
STEPS = (
    ["build", "examples/digits/deploy.yaml"],
    ["check", REPOSITORY, "--image", "26.07"],
    ["infer", "digits", *SAMPLES, "--repository", REPOSITORY],
    ["verify", REPOSITORY],
    ["sweep", REPOSITORY, "digits", "--budget", "15s", "--html", str(REPORT)],
)


def main() -> int:
    """Run the steps; returns the first exit code that is not 0."""
    os.chdir(ROOT)
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    for arguments in STEPS:
        print(f"\n$ triton-repo {' '.join(arguments)}", flush=True)
        if code := subprocess.run([sys.executable, "-m", "repository_builder", *arguments], check=False).returncode:
            return code
    print(f"\nrepository  {REPOSITORY}/\nreport      {REPORT}\nserve it    .venv/bin/triton-repo serve {REPOSITORY}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
