"""What the shared `onnx_batch` wants of a session's module: here the session is an engine."""

from run_types import Array, Arrays, RunFailed

__all__ = ["Array", "Arrays", "RunFailed"]
