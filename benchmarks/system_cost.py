"""What every detector costs beside yolov8n: inference at 640 pixels and a training step.

    python benchmarks/system_cost.py [NAME ...]

The parity gate: linear attention and the selective scan equal their references.
"""

import json
import sys
from functools import partial
from typing import Any

import torch
import ultralytics
from record import RESULTS, interleaved_ms, write_result
from torch import nn

from mlla.ops import (
    linear_attention,
    linear_attention_reference,
    selective_scan,
    selective_scan_reference,
)
from mlla.yolo import RTDETR, YOLO
from mlla.yolo.facts import model_facts

BASELINE = "yolov8n"
SIZE_PX, TRAIN_SIZE_PX, TRAIN_BATCH = 640, 320, 2
# one of every system, at its smallest scale
SYSTEMS = [
    "yolov8n-mlla",
    "yolov8n-c2f-mlla",
    "yolov8n-mlla-backbone",
    "yolov8n-mlla-tiny",
    "yolov8n-multiscale-attention",
    "mamba-yolo-t",
    "yolo11n",
    "yolo11n-mlla",
    "yolo11n-c3k2-mlla",
    "yolo11n-c2psa-mlla",
    "yolo11n-mlla-tiny",
    "yolo11n-c3k2-vss",
    "yolo11n-c2psa-vss",
    "yolo11n-multiscale-attention",
    "yolo11-mamba-t",
    "yolo12n",
    "yolo12n-mlla",
    "yolo26n",
    "yolo26n-mlla",
    "rtdetr-l",
    "rtdetr-l-mlla",
    "rtdetr-l-mlla-aifi",
    "rtdetr-resnet50",
    "rtdetr-resnet50-mlla",
]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    check_parity()
    names = sys.argv[1:] or SYSTEMS
    file = RESULTS / "system_cost.json"
    # systems measured in an earlier run stay, each with its ratio to the baseline of that run
    rows: dict[str, Any] = json.loads(file.read_text())["systems"] if file.exists() else {}
    for name in names:
        rows[name] = cost(name)
        print(name, rows[name], flush=True)
        write_result("system_cost", {"systems": rows}, ultralytics=ultralytics.__version__)


def check_parity() -> None:
    grids = torch.rand(3, 1, 20, 20, 64).unbind()
    torch.testing.assert_close(
        linear_attention(*grids, num_heads=2), linear_attention_reference(*grids, num_heads=2)
    )
    x, delta = torch.randn(1, 4, 400, 32), torch.rand(1, 4, 400, 32)
    b, c = torch.randn(2, 1, 4, 400, 16).unbind()
    scan = (x, delta, -torch.rand(4, 32, 16), b, c, torch.ones(4, 32))
    torch.testing.assert_close(
        selective_scan(*scan), selective_scan_reference(*scan), rtol=1e-4, atol=1e-4
    )


def cost(name: str) -> dict[str, float]:
    """Measure one system and the baseline in turns."""
    facts = model_facts(f"{name}.yaml")
    inference = interleaved_ms({n: prediction(n) for n in (BASELINE, name)}, rounds=5)
    training = interleaved_ms({n: training_step(n) for n in (BASELINE, name)}, rounds=5)
    return {
        "parameters": facts["parameters"],
        "gflops": facts["gflops"],
        "inference_over_yolov8n": round(inference[name] / inference[BASELINE], 2),
        "training_over_yolov8n": round(training[name] / training[BASELINE], 2),
    }


def network(name: str) -> nn.Module:
    return (RTDETR if name.startswith("rtdetr") else YOLO)(f"{name}.yaml").model


def prediction(name: str) -> Any:
    model = network(name).eval().fuse(verbose=False)
    return partial(torch.inference_mode()(model), torch.rand(1, 3, SIZE_PX, SIZE_PX))


def training_step(name: str) -> Any:
    model = network(name).train()
    # as the trainer sets them
    model.nc = model.yaml["nc"]
    model.args = ultralytics.utils.IterableSimpleNamespace(**model.args)
    model.requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    batch = {
        "img": torch.rand(TRAIN_BATCH, 3, TRAIN_SIZE_PX, TRAIN_SIZE_PX),
        "batch_idx": torch.arange(TRAIN_BATCH).repeat_interleave(4),
        "cls": torch.randint(80, (4 * TRAIN_BATCH, 1)).float(),
        "bboxes": 0.25 + 0.25 * torch.rand(4 * TRAIN_BATCH, 4),
    }

    def step() -> None:
        optimizer.zero_grad()
        model.loss(batch)[0].sum().backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
