"""What runs of any engine have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


class RunFailed(Exception):
    """A run failed; the message is the engine's."""
