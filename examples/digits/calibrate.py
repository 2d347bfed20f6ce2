"""Writes `calibration.npz` and `calibration_labels.txt`: 256 digits of the training split, as the network takes them.

    python calibrate.py        # needs scikit-learn

They set the scales of INT8 and are what the accuracy gate compares on; the held-out digits stay unseen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from heldout import TO_PIXELS, digits

FOLDER = Path(__file__).parent
COUNT = 256


def main() -> None:
    (images, labels), _ = digits()
    pixels = (images[:COUNT, None] * TO_PIXELS).astype(np.float32) / 255
    np.savez_compressed(FOLDER / "calibration.npz", pixels=pixels)
    (FOLDER / "calibration_labels.txt").write_text("".join(f"{label}\n" for label in labels[:COUNT]))


if __name__ == "__main__":
    main()
