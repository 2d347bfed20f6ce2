"""Trains the digits network and writes `digits.onnx`, `labels.txt` and `samples/`: what this example commits.

    python train.py            # half a minute on two cores; needs torch, onnxscript, scikit-learn and pillow

The data are scikit-learn's `load_digits`: 1,797 scanned handwritten digits of 8 x 8 pixels with 17 grey values. The split
into training and held-out digits is fixed by `heldout.py`, which the tests use too: they measure the accuracy of the
*served* model on PNG files made of the held-out digits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from heldout import TO_PIXELS, digits, png
from torch import nn

FOLDER = Path(__file__).parent
SEED = 7
EPOCHS = 60


def network() -> nn.Sequential:
    """8 x 8 grey values → 10 logits; 19,000 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(32 * 4 * 4, 10),
    )


def shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The batch, moved by up to one pixel in each direction."""
    dx, dy = (int(torch.randint(-1, 2, (1,), generator=generator)) for _ in range(2))
    return nn.functional.pad(images, (1, 1, 1, 1))[:, :, 1 + dy : 9 + dy, 1 + dx : 9 + dx]


def train(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """The network after EPOCHS passes; the same on every run of one version of torch."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(SEED)
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-2, epochs=EPOCHS, steps_per_epoch=-(-len(images) // 64)
    )
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images), generator=generator).split(64):
            loss = nn.functional.cross_entropy(
                model(shifted(images[chosen], generator)), labels[chosen], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def tensors(images: np.ndarray) -> torch.Tensor:
    """Grey values 0–16 as the served model gets them: out of 8-bit pixels, times 1/255."""
    return torch.from_numpy((images * TO_PIXELS).astype(np.float32) / 255).unsqueeze(1)


def main() -> None:
    (images, labels), (held_images, held_labels) = digits()
    model = train(tensors(images), torch.from_numpy(labels))
    with torch.no_grad():
        right = model(tensors(held_images)).argmax(1).numpy() == held_labels
    print(f"held-out accuracy {right.mean():.4f} ({right.sum()} of {len(right)})")
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=20,
        dynamo=True,
        optimize=True,
        verbose=False,
    )
    save(program.model_proto)
    (FOLDER / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    for digit in range(10):
        for number, image in enumerate(held_images[held_labels == digit][: 2 if digit < 2 else 1]):
            (FOLDER / "samples" / f"{digit}_{number}.png").write_bytes(png(image))


def save(model: onnx.ModelProto) -> None:
    """Write the graph without the exporter's notes, which name files of the machine it ran on."""
    model.graph.ClearField("metadata_props")
    for entry in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, FOLDER / "digits.onnx")


if __name__ == "__main__":
    main()
