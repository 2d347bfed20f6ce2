"""What a limit on Triton's queue costs: `python -m benchmarks.queue_policy`. The reason for rule BAT008 and for our default.

The 10 ms network of the sweep's benchmark on one instance, asked over gRPC by 1 and by 8 clients in a closed loop: as we build
it, and with `max_queue_size` alone. A stall is an answer that took longer than 400 ms.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks import sweep_models
from repository_builder.serving.client import Client
from repository_builder.serving.server import serve

REQUESTS = 200
LIMIT = "dynamic_batching { default_queue_policy { max_queue_size: 1024 } }"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="triton-repo-queue-") as work:
        repository = sweep_models.build("mlp", Path(work))
        config = repository / "mlp" / "config.pbtxt"
        built = config.read_text()
        print(f"{'queue':<16}{'clients':>8}{'per s':>8}{'median ms':>11}{'p99 ms':>9}{'stalls':>8}")
        for label, text in (("no limit", built), ("max_queue_size", _limited(built))):
            config.write_text(text)
            with serve(repository, graceful=False) as server:
                for clients in (1, 8):
                    seconds, wall = _ask(server.grpc, clients)
                    p99 = np.percentile(seconds, 99) * 1e3
                    print(
                        f"{label:<16}{clients:>8}{len(seconds) / wall:>8.0f}{np.median(seconds) * 1e3:>11.1f}"
                        f"{p99:>9.1f}{int((seconds > 0.4).sum()):>8}"
                    )


def _limited(config: str) -> str:
    limited = config.replace("dynamic_batching { }", LIMIT)
    if limited == config:
        raise SystemExit("the configuration that we build looks otherwise than this benchmark expects")
    return limited


def _ask(url: str, clients: int) -> tuple[np.ndarray, float]:
    """Seconds of each answer, and of the whole."""
    x = np.random.default_rng(0).random((1, sweep_models.MLP[0]), dtype=np.float32)
    seconds: list[float] = []

    def loop() -> None:
        client = Client(url)
        for _ in range(REQUESTS // clients):
            began = time.perf_counter()
            client.infer("mlp", {"x": x})
            seconds.append(time.perf_counter() - began)

    Client(url).infer("mlp", {"x": x})
    threads = [threading.Thread(target=loop) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.array(seconds), time.perf_counter() - began


if __name__ == "__main__":
    main()
