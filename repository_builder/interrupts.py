"""Ctrl-C: noticed wherever it comes, and held back where foreign code cannot bear it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class CtrlC:
    """Remembers that Ctrl-C was pressed: extension modules that are being imported turn it into errors of their own."""

    def __init__(self) -> None:
        self.pressed = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        signal.default_int_handler(number, frame)


@contextmanager
def held() -> Iterator[None]:
    """Ctrl-C waits until the block ends: onnxruntime, interrupted while its library initialises, may end the process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
