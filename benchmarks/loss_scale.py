"""How large each classification loss is beside binary cross-entropy on the same batches.

    python benchmarks/loss_scale.py DATA.yaml MODEL NAME

It takes augmented training batches of the data and compares the losses that `train(cls_loss=...)`
knows, and their gradients by the class scores: as the model starts from scratch and, if MODEL is a
checkpoint, with its weights. Beside them stands the mean of the targets of positives, around which
slide loss is built here, and that of their overlaps, around which its paper builds it. The result
goes to results/loss_scale_NAME.json.

The parity gates: binary cross-entropy put into the slot is what the network computes by itself, and
focal loss is that of torchvision.
"""

import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
import ultralytics
from record import write_result
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss
from ultralytics.utils.metrics import bbox_iou

from mlla.losses import focal_loss, mean_of_positives
from mlla.yolo import YOLO
from mlla.yolo.cls_loss import CLASS_LOSSES

NUM_BATCHES, BATCH, IMGSZ = 8, 16, 160
# the gain that Ultralytics puts before the loss
STOCK_GAIN = 0.5


class MeasuredError(Exception):
    """Ends a training that has not begun."""


def main() -> None:
    data, model, name = sys.argv[1:]
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    scores, targets = torch.randn(100), torch.rand(100)
    torch.testing.assert_close(
        focal_loss(scores, targets), sigmoid_focal_loss(scores, targets, alpha=0.25, gamma=1.5)
    )
    starts = {"from scratch": YOLO(model)}
    if model.endswith(".pt"):
        starts["trained"] = starts["from scratch"]
        starts["from scratch"] = YOLO(Path(starts["trained"].model.yaml["yaml_file"]).name)
    states = {}
    for state, start in starts.items():
        states[state] = measured(data, start)
        print(state, states[state]["mean target"], states[state]["mean overlap"])
        for loss, row in states[state]["losses"].items():
            print(f"  {loss:14}", *(f"{key}={value}" for key, value in row.items()))
    conditions = {"batches": NUM_BATCHES, "batch": BATCH, "imgsz": IMGSZ}
    print(
        write_result(
            f"loss_scale_{name}", {**conditions, **states}, ultralytics=ultralytics.__version__
        )
    )


def measured(data: str, model: YOLO) -> dict[str, Any]:
    """Return loss and gradient of each over the same batches, and what positives are like."""
    result: dict[str, Any] = {}

    def measure(trainer: Any) -> None:
        result.update(compared(trainer))
        raise MeasuredError

    model.add_callback("on_train_start", measure)
    try:
        model.train(
            data=data, imgsz=IMGSZ, batch=BATCH, workers=0, device="cpu", plots=False, seed=0
        )
    except MeasuredError:
        return result
    raise RuntimeError("the training was over before it began")


def compared(trainer: Any) -> dict[str, Any]:
    """Compare the losses on the first batches of a training."""
    means: list[tuple[float, float]] = []
    network = trainer.model.train()
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    losses = {name: kind(reduction="none") for name, kind in CLASS_LOSSES.items()}
    for number, batch in enumerate(trainer.train_loader):
        if number == NUM_BATCHES:
            break
        batch = trainer.preprocess_batch(batch)
        with torch.no_grad():
            predictions = network(batch["img"])
            own = network.init_criterion()(predictions, batch)[1]["cls_loss"]
        for name, loss in losses.items():
            value, slope, targets, overlap = class_loss(network, batch, predictions, loss)
            sums[name][0] += value
            sums[name][1] += slope
            if name == "bce":
                torch.testing.assert_close(value, own.item())
                means.append((mean_of_positives(targets).item(), overlap))
    plain = sums["bce"]
    return {
        "mean target": round(sum(target for target, _ in means) / NUM_BATCHES, 3),
        "mean overlap": round(sum(overlap for _, overlap in means) / NUM_BATCHES, 3),
        "losses": {
            name: {
                "loss": round(value / NUM_BATCHES, 4),
                "loss_over_bce": round(value / plain[0], 4),
                "gradient_over_bce": round(slope / plain[1], 4),
                "cls_for_the_loss_of_bce": round(STOCK_GAIN * plain[0] / value, 2),
            }
            for name, (value, slope) in sums.items()
        },
    }


def class_loss(
    network: Any, batch: dict[str, Any], predictions: dict[str, Any], loss: nn.Module
) -> tuple[float, float, Tensor, float]:
    """Return the loss, the sum of |its gradient| by the scores, its targets, and the overlap."""
    criterion = network.init_criterion()
    seen: list[Tensor] = []

    def slot(scores: Tensor, targets: Tensor) -> Tensor:
        seen.append(targets)
        return loss(scores, targets)

    criterion.bce = slot
    scores = predictions["scores"].clone().requires_grad_()
    assigned, parts, items = criterion.get_assigned_targets_and_loss(
        {**predictions, "scores": scores}, batch
    )
    (slope,) = torch.autograd.grad(parts[1], scores)
    positive, _, boxes, anchors, strides = assigned
    found = criterion.bbox_decode(anchors, predictions["boxes"].permute(0, 2, 1).contiguous())
    overlap = bbox_iou((found * strides)[positive], boxes[positive], xywh=False).mean()
    return items["cls_loss"].item(), slope.abs().sum().item(), seen[0], overlap.item()


if __name__ == "__main__":
    main()
